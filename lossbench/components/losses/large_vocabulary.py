"""Cross entropy behind a matrix of its own, for so many classes that the logits are the burden."""

from lossbench.components.losses._classes import label_weight
from lossbench.components.losses.multiclass import cross_entropy
from lossbench.components.losses.softmax_variants import CLASS_VECTORS
from lossbench.components.vocabulary import Probability, Terms, Weights
from lossbench.lazy import Tensor
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
