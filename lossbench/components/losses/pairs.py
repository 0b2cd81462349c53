"""Losses of pairs and triplets that are given as such: alike or not, before or behind."""

from typing import Annotated, Any

from lossbench.components.declarations import Identity
from lossbench.components.losses._probabilities import power
from lossbench.components.samples import ROWS, Draw
from lossbench.components.vocabulary import Nested, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

EPS = 1e-6
"""What torch adds to each difference, so that equal points have a gradient, too."""

SMALL = 1e-12
"""What torch adds to the squared lengths of a cosine, so that a zero vector has one."""


@loss(
    inputs={"input1": "embedding", "input2": "embedding", "target": "plus_minus"},
    kernel="torch.nn.functional.cosine_embedding_loss",
)
def cosine_embedding(
    input1: Tensor, input2: Tensor, target: Tensor, *, margin: float = 0.0
) -> Tensor:
    """Turn alike vectors into one direction, and unlike ones to an angle of some width.

    Formula:    1 - cos where y = 1, max(0, cos - margin) where y = -1, with cos = input1 . input2 /
                sqrt((|input1|^2 + 1e-12) (|input2|^2 + 1e-12))
    Derivative: by cos: -1 where y = 1; where y = -1: 1 for cos >= margin, else 0
    Shapes:     input1 [N, D], input2 [N, D], target [N] in {-1, 1} -> [N]
    Range:      [0, inf)
    Knobs:
        margin: the cosine that unlike vectors may have.
    Reference:  none: handed down from the Lua version of Torch.
    """
    lengths = [torch.rsqrt(torch.square(x).sum(-1) + SMALL) for x in (input1, input2)]
    cosine = (input1 * input2).sum(-1) * lengths[0] * lengths[1]
    apart = torch.clamp(cosine - margin, min=0.0)
    return torch.where(target == 1, 1 - cosine, apart)


def _ranked(draw: Draw) -> dict[str, Tensor]:
    """Draw two scores and which of them shall win, all of one shape."""
    return {"input1": draw.real(ROWS), "input2": draw.real(ROWS), "target": draw.signs(ROWS)}


@loss(
    inputs={"input1": "scores", "input2": "scores", "target": "plus_minus"},
    kernel="torch.nn.functional.margin_ranking_loss",
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
    sample=_ranked,
)
def margin_ranking(
    input1: Tensor, input2: Tensor, target: Tensor, *, margin: float = 0.0
) -> Tensor:
    """Put the better of two before the other, by a margin.

    Formula:    max(0, -y (input1 - input2) + margin)
    Derivative: by input1: -y, by input2: y, where the loss is not negative
    Shapes:     input1 [N, ...], input2 [N, ...], target [N, ...]: 1 where the first shall win, -1
                where the second -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: by how much the better one must win.
    Reference:  Herbrich, Graepel & Obermayer, Large Margin Rank Boundaries for Ordinal Regression,
                2000.
    """
    return torch.clamp(-target * (input1 - input2) + margin, min=0.0)


def _apart(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = EPS) -> Tensor:
    """Return (sum_i |x1_i - x2_i + eps|^p)^(1/p), scaled so that no power leaves the floats."""
    size = torch.abs(x1 - x2 + eps)
    largest = size.amax(-1, keepdim=True).detach()
    scale = torch.where(largest == 0, 1.0, largest)
    return power(power(size / scale, p).sum(-1), 1 / p) * scale.squeeze(-1)


TRIPLET = {"anchor": "embedding", "positive": "embedding", "negative": "embedding"}


@loss(
    inputs=TRIPLET,
    kernel="torch.nn.functional.triplet_margin_loss",
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
    identities=(Identity("triplet_margin_with_distance"),),
)
def triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: Positive = 1.0,
    p: Positive = 2.0,
    eps: Positive = EPS,
    swap: bool = False,
) -> Tensor:
    """Keep the anchor closer to what is alike than to what is not, by a margin.

    Formula:    max(0, d(a, p) - d(a, n) + margin), with d(x, y) = (sum_i |x_i - y_i + eps|^p)^(1/p)
    Derivative: by d(a, p): 1, by d(a, n): -1, where the loss is not negative
    Shapes:     anchor [N, D], positive [N, D], negative [N, D] -> [N]
    Range:      [0, inf)
    Knobs:
        margin: by how much the negative must be further away.
        p: the order of the norm.
        eps: keeps the gradient finite where two are equal.
        swap: take the distance of the negative from the positive where that is smaller.
    Reference:  Schroff, Kalenichenko & Philbin, FaceNet: A Unified Embedding for Face Recognition
                and Clustering, 2015; the swap: Balntas et al., Learning Local Feature Descriptors
                with Triplets and Shallow Convolutional Neural Networks, 2016.
    """

    def apart(x1: Tensor, x2: Tensor) -> Tensor:
        return _apart(x1, x2, p, eps)

    return triplet_margin_with_distance(
        anchor, positive, negative, distance_function=apart, margin=margin, swap=swap
    )


@loss(inputs=TRIPLET, kernel="torch.nn.functional.triplet_margin_with_distance_loss")
def triplet_margin_with_distance(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Annotated[Any, Nested("distance")] | None = None,
    margin: Positive = 1.0,
    swap: bool = False,
) -> Tensor:
    """Keep the anchor closer to what is alike than to what is not, by any distance.

    Formula:    max(0, d(a, p) - d(a, n) + margin), with d the given distance
    Derivative: by d(a, p): 1, by d(a, n): -1, where the loss is not negative
    Shapes:     anchor [N, ...], positive [N, ...], negative [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        distance_function: the name of a distance, alone or with its knobs; in Python any function
            of two tensors. None is the Euclidean distance.
        margin: by how much the negative must be further away.
        swap: take the distance of the negative from the positive where that is smaller.
    Reference:  Schroff, Kalenichenko & Philbin, FaceNet: A Unified Embedding for Face Recognition
                and Clustering, 2015.
    """
    distance = _apart if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = torch.minimum(far, distance(positive, negative))
    return torch.clamp(margin + near - far, min=0.0)
