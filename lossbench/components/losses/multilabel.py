"""Losses for a set of labels per sample. Predictions [N, C], one value per sample."""

from lossbench.components.losses._classes import require_class_weights
from lossbench.components.vocabulary import Weights
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="labels",
    prediction="scores",
    kernel="torch.nn.functional.multilabel_margin_loss",
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
)
def multilabel_margin(prediction: Tensor, target: Tensor) -> Tensor:
    """Hinge for sets: every score of a true label must exceed every other one by 1.

    Formula:    sum over true j and other i of max(0, 1 - x_j + x_i) / C, with x = prediction
    Derivative: 1 / C at i and -1 / C at j for every pair within the margin
    Shapes:     prediction [N, C], target [N, C] (label indices, the first -1 ends the list) -> [N]
    Range:      [0, inf)
    Reference:  none: handed down from the Lua version of Torch.
    """
    classes = prediction.shape[-1]
    listed = (target < 0).cumsum(-1) == 0  # false from the first -1 on
    labels = torch.where(listed, target, 0)
    every = torch.arange(classes, device=target.device)
    true = ((labels.unsqueeze(-1) == every) & listed.unsqueeze(-1)).any(-2)
    # pairs [N, j, i]: the j-th entry of the list against class i
    missing = torch.relu(1 - prediction.gather(-1, labels).unsqueeze(-1) + prediction.unsqueeze(-2))
    pairs = listed.unsqueeze(-1) & ~true.unsqueeze(-2)
    return torch.where(pairs, missing, 0.0).sum((-2, -1)) / classes


def _soft_margin_weight(
    prediction: Tensor,
    target: Tensor,  # noqa: ARG001 - the contract passes it
    *,
    weight: Tensor | None = None,
) -> None:
    """Refuse weights that do not fit the labels; the mean divides by the number of samples."""
    require_class_weights(weight, prediction.shape[-1])


@loss(
    target="zero_one",
    prediction="logits",
    kernel="torch.nn.functional.multilabel_soft_margin_loss",
    weight=_soft_margin_weight,
)
def multilabel_soft_margin(
    prediction: Tensor, target: Tensor, *, weight: Weights | None = None
) -> Tensor:
    """Surprise at a set of yes-or-no answers, averaged over the labels of a sample.

    Formula:    mean_c w_c ((1 - y_c) ln(1 + e^(x_c)) + y_c ln(1 + e^(-x_c))), x = prediction
    Derivative: w_c (sigmoid(x_c) - y_c) / C
    Shapes:     prediction [N, ..., C], target [N, ..., C] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        weight: one weight per label.
    Note:       bce_with_logits, averaged over the labels first.
    Errors:     weights that are not one per label.
    Reference:  Cox, The Regression Analysis of Binary Sequences, 1958.
    """
    require_class_weights(weight, prediction.shape[-1])
    zero = torch.zeros_like(prediction)
    yes, no = torch.logaddexp(zero, -prediction), torch.logaddexp(zero, prediction)
    values = target * yes + (1 - target) * no
    return (values if weight is None else values * weight).mean(-1)
