"""Contrastive losses of two views [N, D]: row i of one belongs to row i of the other.

All other rows of the batch are negatives. Similarities are cosines, u / |u| . v / |v|.
"""

import math

from lossbench.components.declarations import Parameter
from lossbench.components.losses._similarity import (
    cosines,
    masked_logsumexp,
    others,
    surprise,
)
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

VIEWS = {"view1": "embedding", "view2": "embedding"}


def _rows(x: Tensor) -> Tensor:
    """Return the number of each row."""
    return torch.arange(len(x), device=x.device)


@loss(inputs=VIEWS, independent=False)
def info_nce(view1: Tensor, view2: Tensor, *, temperature: Positive = 0.07) -> Tensor:
    """Find the other view of a sample among those of the whole batch.

    Formula:    -ln(e^(s_ii / T) / sum_j e^(s_ij / T)), with s_ij the cosine of view1_i and view2_j
    Derivative: by s: (softmax_j(s_ij / T) - [i = j]) / T
    Shapes:     view1 [N, D] (queries), view2 [N, D] (keys) -> [N]
    Range:      [0, inf)
    Knobs:
        temperature: T. MoCo takes 0.07, others 0.1.
    Note:       a batch of one has nothing to compare with: its loss is 0.
    Reference:  van den Oord, Li & Vinyals, Representation Learning with Contrastive Predictive
                Coding, 2018.
    """
    return surprise(cosines(view1, view2) / temperature, _rows(view1))


def _both_views(view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
    """Return all cosines [2 N, 2 N] among both views, and where the partner of each row stands."""
    both = torch.cat([view1, view2])
    rows = _rows(both)
    return cosines(both, both), (rows + len(view1)) % len(both)


@loss(inputs=VIEWS, independent=False, aliases=("simclr",), forms=("nt_xent_labels",))
def nt_xent(view1: Tensor, view2: Tensor, *, temperature: Positive = 0.5) -> Tensor:
    """Find the other view of a sample among all 2 N - 1 other views, in both directions.

    Formula:    -ln(e^(s_ij / T) / sum_{k != i} e^(s_ik / T)) for every view i and its partner j,
                with s the cosines among all 2 N views
    Derivative: by s: (softmax_{k != i}(s_ik / T) - [k = j]) / T
    Shapes:     view1 [N, D], view2 [N, D] -> [2 N], those of view1 first
    Range:      [0, inf)
    Knobs:
        temperature: T. SimCLR takes 0.5 on CIFAR-10, 0.1 on ImageNet.
    Note:       with labels in place of views: nt_xent_labels and supcon.
    Reference:  Chen et al., A Simple Framework for Contrastive Learning of Visual Representations,
                2020.
    """
    similarity, partner = _both_views(view1, view2)
    rivals = torch.where(others(len(partner), view1), similarity / temperature, -math.inf)
    return torch.logsumexp(rivals, 1) - rivals.gather(1, partner.unsqueeze(1)).squeeze(1)


@loss(inputs=VIEWS, independent=False, aliases=("dcl",))
def decoupled_contrastive(view1: Tensor, view2: Tensor, *, temperature: Positive = 0.1) -> Tensor:
    """nt_xent without the positive in the denominator: small batches learn as well as large ones.

    Formula:    -s_ij / T + ln sum_{k != i, j} e^(s_ik / T) for every view i and its partner j,
                with s the cosines among all 2 N views
    Derivative: by s: -1 / T at the partner, softmax over the others / T there
    Shapes:     view1 [N, D], view2 [N, D] -> [2 N], those of view1 first
    Range:      (-inf, inf)
    Knobs:
        temperature: T.
    Note:       it has no lower bound of 0. A batch of one has no negatives: its loss is 0.
    Reference:  Yeh et al., Decoupled Contrastive Learning, 2022.
    """
    similarity, partner = _both_views(view1, view2)
    scaled = similarity / temperature
    rivals = others(len(partner), view1) & (_rows(partner) != partner.unsqueeze(1))
    own = scaled.gather(1, partner.unsqueeze(1)).squeeze(1)
    return torch.where(rivals.any(1), masked_logsumexp(scaled, rivals) - own, 0.0)


FROM_ZERO = Parameter(
    shape=lambda outputs, **knobs: (),  # noqa: ARG005
    initial=lambda shape: torch.zeros(shape),
)
"""A learned number that starts at 0: the logarithm of a factor, or what is added."""


@loss(
    inputs=VIEWS,
    independent=False,
    parameters={"log_scale": FROM_ZERO},
)
def clip(
    view1: Tensor,
    view2: Tensor,
    *,
    log_scale: Tensor | float = 0.0,
    temperature: Positive = 0.07,
    max_scale: Positive = 100.0,
) -> Tensor:
    """Find the text of an image and the image of a text, with a learned temperature.

    Formula:    the mean of CE(a s_i., i) and CE(a s_.i, i), with s_ij the cosine of view1_i and
                view2_j, a = min(e^log_scale / T, max_scale)
    Derivative: by s: a (row softmax + column softmax - 2 onehot) / 2
    Shapes:     view1 [N, D] (images), view2 [N, D] (texts), log_scale [] -> [N]
    Range:      [0, inf)
    Knobs:
        temperature: T, the first one; what is learned on top of it, log_scale, starts at 0.
        max_scale: the largest factor on the cosines.
    Reference:  Radford et al., Learning Transferable Visual Models From Natural Language
                Supervision, 2021.
    """
    number = torch.zeros_like(view1[0, 0])
    # The bound is set on the logarithm, where nothing overflows.
    log_factor = torch.minimum(
        number + log_scale - torch.log(number + temperature), torch.log(number + max_scale)
    )
    logits = torch.exp(log_factor) * cosines(view1, view2)
    rows = _rows(view1)
    return (surprise(logits, rows) + surprise(logits.mT, rows)) / 2


@loss(
    inputs=VIEWS,
    independent=False,
    parameters={"log_scale": FROM_ZERO, "shift": FROM_ZERO},
    largest=80.0,
)
def siglip(
    view1: Tensor,
    view2: Tensor,
    *,
    log_scale: Tensor | float = 0.0,
    shift: Tensor | float = 0.0,
    scale: Positive = 10.0,
    bias: float = -10.0,
) -> Tensor:
    """Ask of every image and every text, apart from all others, whether they belong together.

    Formula:    sum_j ln(1 + e^(-l_ij u_ij)) with u_ij = scale e^log_scale s_ij + bias + shift,
                l_ij = 1 for i = j, else -1; s_ij is the cosine of view1_i and view2_j
    Derivative: by u: -l sigmoid(-l u)
    Shapes:     view1 [N, D] (images), view2 [N, D] (texts), log_scale [], shift [] -> [N]
    Range:      [0, inf)
    Knobs:
        scale: the first factor on the cosines; what is learned on top, log_scale, starts at 0.
        bias: the first bias; what is learned on top, shift, starts at 0.
    Note:       the mean divides by the number of samples, not of pairs, as the authors do. Nothing
                bounds the scale: e^log_scale overflows in float32 from 86 on.
    Reference:  Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023.
    """
    similarity = cosines(view1, view2)
    factor = scale * torch.exp(torch.zeros_like(view1[0, 0]) + log_scale)
    logits = factor * similarity + bias + shift
    against = torch.where(others(len(view1), view1), logits, -logits)
    return torch.logaddexp(torch.zeros_like(against), against).sum(1)
