"""Losses for one of C classes. Predictions [N, C, ...], targets class indices [N, ...]."""

import math
from typing import Literal

from lossbench.components.losses._classes import (
    along_classes,
    class_dimension,
    label_weight,
    pick,
    require_class_weights,
    used_labels,
)
from lossbench.components.losses._probabilities import one_hot
from lossbench.components.vocabulary import PositiveInt, Probability, Terms, Weights, is_off
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _cross_entropy_weight(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,  # noqa: ARG001 - the contract passes every knob
) -> Tensor | None:
    """Return what torch's mean divides by: the weights used; for distributions the number of them.

    Raises UsageError for weights that do not fit the classes.
    """
    require_class_weights(weight, prediction.shape[class_dimension(prediction)])
    if target.is_floating_point():
        if ignore_index >= 0:
            raise UsageError(
                f"ignore_index = {ignore_index} has no meaning for targets that are distributions",
                hint="leave ignore_index out, or give the targets as class indices",
            )
        return None
    return label_weight(target, weight, ignore_index, prediction)


@loss(
    target=("index", "distribution"),
    prediction="logits",
    kernel="torch.nn.functional.cross_entropy",
    aliases=(
        "softmax_loss",
        "weighted_softmax",
        "softmax_cross_entropy",
        "categorical_cross_entropy",
        "sparse_categorical_cross_entropy",
    ),
    weight=_cross_entropy_weight,
)
def cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Weights | None = None,
    ignore_index: int = -100,
    label_smoothing: Probability = 0.0,
) -> Terms:
    """Surprise at the true class, in nats, when the network's softmax is believed.

    Formula:    -w_y ln p_y with p = softmax(prediction); for a distribution q as the target
                -sum_c w_c q_c ln p_c. Smoothing replaces the target q by (1 - s) q + s / C
    Derivative: p - q (with w = 1)
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        weight: one weight per class. The mean over indices divides by the sum of those used.
        ignore_index: samples with this label count neither in the sum nor in the mean.
        label_smoothing: the share s of the target that is spread evenly over all classes.
    Errors:     weights that are not one per class; ignore_index >= 0 with distributions.
    Reference:  Good, Rational Decisions, 1952. Smoothing: Szegedy et al., Rethinking the Inception
                Architecture for Computer Vision, 2016.
    """
    share = _cross_entropy_weight(prediction, target, weight=weight, ignore_index=ignore_index)
    dim = class_dimension(prediction)
    surprise = -torch.log_softmax(prediction, dim)
    if weight is not None:
        surprise = surprise * along_classes(weight, prediction)
    if target.is_floating_point():
        picked = (surprise * target).sum(dim)
    else:
        used, labels = used_labels(target, ignore_index)
        picked = torch.where(used, pick(surprise, labels), 0.0)
    if not is_off(label_smoothing):
        even = surprise.mean(dim)
        if not target.is_floating_point():
            even = torch.where(used, even, 0.0)
        picked = (1 - label_smoothing) * picked + label_smoothing * even
    return Terms(picked, share)


def _nll_weight(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Return what torch's mean divides by: the weights used.

    Raises UsageError for weights that do not fit the classes.
    """
    require_class_weights(weight, prediction.shape[class_dimension(prediction)])
    return label_weight(target, weight, ignore_index, prediction)


@loss(
    target="index",
    prediction="log_probabilities",
    kernel="torch.nn.functional.nll_loss",
    aliases=("nll_loss2d",),
    weight=_nll_weight,
)
def nll(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Weights | None = None,
    ignore_index: int = -100,
) -> Terms:
    """Negative log-likelihood of the true class, from log-probabilities.

    Formula:    -w_y x_y, with x = prediction
    Derivative: -w_y at the true class, else 0
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        weight: one weight per class. The mean divides by the sum of those used.
        ignore_index: samples with this label count neither in the sum nor in the mean.
    Note:       behind a log-softmax it is cross_entropy.
    Errors:     weights that are not one per class.
    Reference:  Fisher, On the Mathematical Foundations of Theoretical Statistics, 1922.
    """
    share = _nll_weight(prediction, target, weight=weight, ignore_index=ignore_index)
    used, labels = used_labels(target, ignore_index)
    surprise = -prediction
    if weight is not None:
        surprise = surprise * along_classes(weight, prediction)
    return Terms(torch.where(used, pick(surprise, labels), 0.0), share)


def _multi_margin_weight(
    prediction: Tensor,
    target: Tensor,  # noqa: ARG001 - the contract passes them
    *,
    p: int = 1,  # noqa: ARG001
    margin: float = 1.0,  # noqa: ARG001
    weight: Tensor | None = None,
) -> None:
    """Refuse weights that do not fit the classes; the mean divides by the number of samples."""
    require_class_weights(weight, prediction.shape[-1])


@loss(
    target="index",
    prediction="scores",
    kernel="torch.nn.functional.multi_margin_loss",
    weight=_multi_margin_weight,
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
)
def multi_margin(
    prediction: Tensor,
    target: Tensor,
    *,
    p: Literal[1, 2] = 1,
    margin: float = 1.0,
    weight: Weights | None = None,
) -> Tensor:
    """Hinge for many classes: the true score must exceed each other one by a margin.

    Formula:    sum_{i != y} w_y max(0, margin - x_y + x_i)^p / C, with x = prediction
    Derivative: for p = 1: w_y / C at every i within the margin, minus their sum at y
    Shapes:     prediction [N, C], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        p: 1 for the hinge, 2 for its square.
        margin: by how much the true score must win.
        weight: one weight per class. The mean still divides by the number of samples.
    Errors:     weights that are not one per class.
    Reference:  Weston & Watkins, Support Vector Machines for Multi-Class Pattern Recognition, 1999.
    """
    classes = prediction.shape[-1]
    require_class_weights(weight, classes)
    labels = target.unsqueeze(-1)
    missing = torch.relu(margin - prediction.gather(-1, labels) + prediction)
    others = torch.arange(classes, device=target.device) != labels
    total = torch.where(others, missing**p, 0.0).sum(-1) / classes
    return total if weight is None else total * weight[target]


@loss(
    target="index",
    prediction="scores",
    aliases=("crammer_singer", "multiclass_margin"),
)
def multiclass_hinge(
    prediction: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    power: PositiveInt = 1,
) -> Tensor:
    """Hinge against the strongest rival: only it must be beaten by a margin.

    Formula:    max(0, margin + max_{j != y} x_j - x_y)^power, with x = prediction
    Derivative: for power = 1: -1 at y and 1 at the strongest rival where the loss is positive
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: by how much the true score must win.
        power: 1 for the hinge, 2 for its square.
    Note:       rivals of equal strength share the derivative.
    Reference:  Crammer & Singer, On the Algorithmic Implementation of Multiclass Kernel-based
                Vector Machines, 2001.
    """
    dim = class_dimension(prediction)
    true = one_hot(target, prediction) > 0
    rival = torch.where(true, -math.inf, prediction).amax(dim)
    return torch.relu(margin + rival - pick(prediction, target)) ** power


@loss(target=("distribution", "zero_one"), prediction="scores")
def categorical_hinge(prediction: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Hinge against the strongest rival, if its score is above 0.

    Formula:    max(0, margin + max_j (1 - y_j) x_j - sum_j y_j x_j), with x = prediction
    Derivative: where the loss is positive: -y, and 1 - y_j more at the strongest rival j
    Shapes:     prediction [N, C, ...], target [N, C, ...], one-hot -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: by how much the true score must win.
    Note:       the true class enters the maximum with a score of 0; where all other scores are
                negative the loss is larger than multiclass_hinge, else they are the same.
    Reference:  Crammer & Singer, On the Algorithmic Implementation of Multiclass Kernel-based
                Vector Machines, 2001, in the form of Keras.
    """
    dim = class_dimension(prediction)
    rival = ((1 - target) * prediction).amax(dim)
    return torch.relu(margin + rival - (target * prediction).sum(dim))
