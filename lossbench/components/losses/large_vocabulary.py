"""Cross entropy behind a matrix of its own, for so many classes that the logits are the burden."""

import math
from itertools import pairwise
from typing import Any

from lossbench.components.declarations import Parameter
from lossbench.components.losses._classes import label_weight, pick
from lossbench.components.losses.multiclass import cross_entropy
from lossbench.components.losses.softmax_variants import CLASS_VECTORS
from lossbench.components.vocabulary import PositiveInt, Probability, Terms, Weights
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _linear_weight(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,  # noqa: ARG001 - the contract passes every knob
) -> Tensor | None:
    """Return what torch's mean divides by: the weights used; for distributions their number."""
    if target.is_floating_point():
        return None
    return label_weight(target, weight, ignore_index, prediction)


@loss(
    target=("index", "distribution"),
    prediction="embedding",
    parameters={"linear_weight": CLASS_VECTORS},
    weight=_linear_weight,
)
def linear_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    linear_weight: Tensor,
    weight: Weights | None = None,
    ignore_index: int = -100,
    label_smoothing: Probability = 0.0,
) -> Terms:
    """Cross entropy of features that are first compared with one learned vector per class.

    Formula:    cross_entropy(x W^T, y), with x = prediction, W = linear_weight
    Derivative: by x: (p - q) W; by W: (p - q)^T x
    Shapes:     prediction [N, D], linear_weight [C, D], target [N] (indices) or [N, C] -> [N]
    Range:      [0, inf)
    Knobs:
        weight: one weight per class. The mean over indices divides by the sum of those used.
        ignore_index: samples with this label count neither in the sum nor in the mean.
        label_smoothing: the share of the target that is spread evenly over all classes.
    Note:       torch's own works through the samples in chunks, so that never all logits stand in
                memory; the numbers are the same.
    Errors:     weights that are not one per class.
    Reference:  Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024.
    """
    return cross_entropy(
        prediction @ linear_weight.mT,
        target,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )


def _uniform(shape: tuple[int, ...]) -> Tensor:
    """Return first weights, small and of either sign."""
    return (2 * torch.rand(shape) - 1) / math.sqrt(shape[-1])


def _widths(features: int, clusters: int, div_value: int) -> list[int]:
    """Return to how many numbers the features are narrowed for each cluster."""
    return [max(1, features // div_value**level) for level in range(1, clusters + 1)]


def _head_shape(
    outputs: int, classes: int, *, cutoffs: tuple[int, ...], **_: Any
) -> tuple[int, ...]:
    """Return the shape of the first matrix: frequent classes, and one row for each cluster.

    Raises UsageError for cutoffs that leave no class to the last cluster.
    """
    if cutoffs[-1] >= classes:
        raise UsageError(
            f"the last cutoff is {cutoffs[-1]}, but there are only {classes} classes",
            hint="give the first class of each cluster; the last cluster goes to the last class",
        )
    return cutoffs[0] + len(cutoffs), outputs


def _narrow_shape(
    outputs: int,
    classes: int,  # noqa: ARG001 - the contract passes it
    *,
    cutoffs: tuple[int, ...],
    div_value: int,
) -> tuple[int, ...]:
    """Return the shape of the matrices that narrow the features, below one another."""
    return sum(_widths(outputs, len(cutoffs), div_value)), outputs


def _wide_shape(
    outputs: int, classes: int, *, cutoffs: tuple[int, ...], div_value: int
) -> tuple[int, ...]:
    """Return the size of the matrices from narrowed features to classes, behind one another."""
    sizes = [high - low for low, high in zip(cutoffs, (*cutoffs[1:], classes), strict=True)]
    widths = _widths(outputs, len(cutoffs), div_value)
    return (sum(size * width for size, width in zip(sizes, widths, strict=True)),)


def _require_order(*, cutoffs: tuple[int, ...], **_: Any) -> None:
    """Refuse cutoffs that do not grow.

    Raises UsageError.
    """
    if not cutoffs or any(b <= a for a, b in pairwise(cutoffs)):
        raise UsageError(
            f"cutoffs must grow, got {list(cutoffs)}", hint="for 10000 classes: [1000, 4000]"
        )


@loss(
    target="index",
    prediction="embedding",
    parameters={
        "head": Parameter(shape=_head_shape, initial=_uniform),
        "narrow": Parameter(shape=_narrow_shape, initial=_uniform),
        "wide": Parameter(shape=_wide_shape, initial=_uniform),
    },
    check=_require_order,
    aliases=("adaptive_log_softmax_with_loss", "adaptive_softmax"),
)
def adaptive_log_softmax(
    prediction: Tensor,
    target: Tensor,
    *,
    head: Tensor,
    narrow: Tensor,
    wide: Tensor,
    cutoffs: tuple[PositiveInt, ...],
    div_value: PositiveInt = 4,
) -> Tensor:
    """Cross entropy in two steps: a frequent class or a cluster first, then the class within.

    Formula:    -ln p_y for a frequent class y < cutoffs[0], -ln p_k - ln p_(y|k) for one in cluster
                k; p = softmax(H x), p_(.|k) = softmax(W_k N_k x), x = prediction
    Derivative: by the scores of the first step: p - [c = y or its cluster]
    Shapes:     prediction [N, D], target [N]; head H [cutoffs[0] + K, D], narrow: the N_k
                [D / div_value^k, D] below one another, wide: the W_k behind one another -> [N]
    Range:      [0, inf)
    Knobs:
        cutoffs: the first class of each cluster. Classes are in order, the most frequent first.
        div_value: by how much the features are narrowed more from cluster to cluster.
    Note:       every cluster is computed for every sample, so it saves parameters, not time.
    Errors:     cutoffs that do not grow, or that leave no class to the last cluster.
    Reference:  Grave et al., Efficient Softmax Approximation for GPUs, 2017.
    """
    shortlist, clusters = cutoffs[0], len(cutoffs)
    first = torch.log_softmax(prediction @ head.mT, 1)
    widths = _widths(prediction.shape[1], clusters, div_value)
    known = [
        (high - low) * width for low, high, width in zip(cutoffs, cutoffs[1:], widths, strict=False)
    ]
    parts = wide.split([*known, wide.shape[0] - sum(known)])
    values = pick(first, target.clamp(max=shortlist - 1))
    squeezers = narrow.split(widths)
    for level, low in enumerate(cutoffs):
        scores = (
            prediction @ squeezers[level].mT @ parts[level].unflatten(0, (-1, widths[level])).mT
        )
        within = torch.log_softmax(scores, 1)
        place = (target - low).clamp(0, within.shape[1] - 1)
        own = first[:, shortlist + level] + pick(within, place)
        values = torch.where(target >= low, own, values)
    return -values
