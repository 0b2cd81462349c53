"""Losses of boxes that say which boxes count: by a power of the overlap, or by how usual it is.

Letters as in boxes.py: intersection I, union U, enclosing box C (diagonal c), centre distance rho.
"""

from typing import Literal

from lossbench.components.boxes import (
    centre_share,
    empty_share,
    shape_penalty,
    squared_centre_distance,
    squared_diagonal,
)
from lossbench.components.boxes import iou as overlap
from lossbench.components.declarations import Identity
from lossbench.components.losses._probabilities import power
from lossbench.components.losses.boxes import eiou
from lossbench.components.vocabulary import NonNegative, Positive, Probability, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

NEGLIGIBLE = 1e-15
"""An eps that changes no digit, to compare losses in which it stands in different places."""


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    detached="the weight (I / U)^gamma carries no gradient",
    identities=(Identity("eiou", when={"gamma": 0.0}),),
)
def focal_eiou(
    prediction: Tensor,
    target: Tensor,
    *,
    gamma: NonNegative = 0.5,
    normalise: bool = False,
    eps: Positive = 1e-7,
) -> Tensor | Terms:
    """EIoU that listens to the good boxes: weighted by a power of their overlap.

    Formula:    (I / U)^gamma eiou
    Derivative: (I / U)^gamma times that of eiou, the weight held fast
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 4]
    Knobs:
        gamma: how strongly poor boxes are turned down; 0 is eiou.
        normalise: divide the sum by the sum of the weights instead of the number of boxes.
        eps: added to denominators.
    Reference:  Zhang et al., Focal and Efficient IOU Loss for Accurate Bounding Box Regression,
                2022.
    """
    # x^0 is 1 also at 0, and no gradient goes through the weight: a plain power will do.
    weight = overlap(prediction, target, eps).detach() ** gamma
    values = weight * eiou(prediction, target, eps=eps)
    if not normalise:
        return values
    # Where no box meets its target, the mean is 0 and not 0 / 0.
    return Terms(values, weight.clamp(min=torch.finfo(weight.dtype).tiny))


def _as(base: str) -> Identity:
    """Claim that with alpha = 1 the power of a base is that base."""
    return Identity(
        base,
        when={"alpha": 1.0, "base": base, "eps": NEGLIGIBLE},
        knobs={"eps": NEGLIGIBLE},
    )


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    detached="the weight a of ciou's penalty for the shape carries no gradient",
    identities=tuple(_as(base) for base in ("iou", "giou", "diou", "ciou")),
)
def alpha_iou(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Positive = 3.0,
    base: Literal["iou", "giou", "diou", "ciou"] = "iou",
    eps: Positive = 1e-7,
) -> Tensor:
    """A power of the overlap and of each penalty: above 1, the last bit of overlap counts most.

    Formula:    1 - (I / U)^alpha + p^alpha + ..., with the penalties p of the base: none for iou,
                (C - U) / C for giou, rho^2 / c^2 for diou, and a v besides for ciou
    Derivative: -alpha (I / U)^(alpha - 1) (I / U)' + alpha p^(alpha - 1) p' + ...; 0 where the
                overlap is below eps
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 3]
    Knobs:
        alpha: the power; 1 is the base itself.
        base: whose penalties are added: iou, giou, diou or ciou.
        eps: added to denominators; the least overlap.
    Reference:  He et al., Alpha-IoU: A Family of Power Intersection over Union Losses, 2021.
    """
    values = 1 - overlap(prediction, target, eps).clamp(min=eps) ** alpha
    if base == "giou":
        # Rounding may leave the share a hair below 0.
        values = values + power(empty_share(prediction, target, eps), alpha)
    if base in ("diou", "ciou"):
        values = values + power(centre_share(prediction, target, eps), alpha)
    if base == "ciou":
        values = values + power(shape_penalty(prediction, target, eps), alpha)
    return values


HALF_LIFE = 7000
"""Batches after which an old value has half its weight in the running mean."""


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    state={"iou_mean": 1.0},
    detached="the enclosing box and the weight of a box carry no gradient",
)
def wiou(
    prediction: Tensor,
    target: Tensor,
    *,
    iou_mean: Tensor,
    version: Literal["v1", "v2", "v3"] = "v3",
    gamma: NonNegative = 0.5,
    alpha: Positive = 1.9,
    delta: Positive = 3.0,
    momentum: Probability = 1 - 0.5 ** (1 / HALF_LIFE),
    eps: Positive = 1e-7,
) -> Terms:
    """IoU stretched by the distance of the centres, with most weight on boxes of usual quality.

    Formula:    v1: exp(rho^2 / c^2) (1 - I / U)
                v2: v1 b^gamma, v3: v1 b / (delta alpha^(b - delta)),
                with b = (1 - I / U) / its running mean
    Derivative: v1: exp(rho^2 / c^2) ((1 - I / U) 2 rho rho' / c^2 - (I / U)'); v2 and v3 times
                their weight. Enclosing box, weight and mean are held fast
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, inf)
    Knobs:
        version: v1 has no weights, v2 turns easy boxes down, v3 easy and hopeless ones.
        gamma: v2's power: how strongly the easy boxes are turned down.
        alpha: v3: how fast the weight falls for boxes worse than usual.
        delta: v3: how many times worse than usual a box of weight 1 is.
        momentum: share of a batch in the running mean of 1 - I / U, which starts at 1.
        eps: added to denominators.
    Note:       a batch is measured by the batches before it, and then joins the mean; the authors'
                code lets it join first.
    Reference:  Tong et al., Wise-IoU: Bounding Box Regression Loss with Dynamic Focusing Mechanism,
                2023.
    """
    missing = 1 - overlap(prediction, target, eps)
    apart = squared_centre_distance(prediction, target)
    values = torch.exp(apart / (squared_diagonal(prediction, target).detach() + eps)) * missing
    outlying = missing.detach() / (iou_mean.to(missing.dtype) + eps)
    if version == "v2":
        values = values * outlying**gamma
    if version == "v3":
        values = values * outlying / (delta * alpha ** (outlying - delta))
    now = missing.detach().mean().to(iou_mean.dtype)
    return Terms(values, state={"iou_mean": (1 - momentum) * iou_mean + momentum * now})
