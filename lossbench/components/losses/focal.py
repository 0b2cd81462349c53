"""Focal losses: what is already right weighs little, so that the rest is heard.

They were made for detectors, where the background outnumbers the objects a thousand to one.
"""

from typing import Annotated

from annotated_types import Ge

from lossbench.components.declarations import Identity
from lossbench.components.losses._classes import along_classes, class_dimension
from lossbench.components.losses._probabilities import (
    as_distribution,
    bounded_logs,
    missing,
    power,
    surprises,
)
from lossbench.components.vocabulary import NonNegative, Probability, Weights, is_off
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _balance(target: Tensor, alpha: float | None) -> Tensor | float:
    """Return the weight of each value: alpha for a yes, 1 - alpha for a no, between for between."""
    return 1.0 if alpha is None else alpha * target + (1 - alpha) * (1 - target)


def _focal_slope(
    prediction: Tensor, target: Tensor, *, alpha: float | None, gamma: float
) -> Tensor:
    """Return the derivative of the focal loss by the logit."""
    right = torch.sigmoid((2 * target - 1) * prediction)
    wrong = torch.sigmoid((1 - 2 * target) * prediction)
    slope = gamma * torch.xlogy(right, right) - wrong
    return (2 * target - 1) * _balance(target, alpha) * wrong**gamma * slope


@loss(
    target="zero_one",
    prediction="logits",
    aliases=("sigmoid_focal_loss", "binary_focal_loss", "binary_focal_cross_entropy"),
    derivative=_focal_slope,
    identities=(
        Identity("balanced_cross_entropy", when={"gamma": 0.0}),
        Identity("bce_with_logits", when={"alpha": None, "gamma": 0.0}),
        Identity("bce_with_logits", when={"alpha": 0.5, "gamma": 0.0}, times=0.5),
    ),
)
def focal(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Probability | None = 0.25,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Cross entropy that forgets what is already right: the many easy samples fall silent.

    Formula:    -a_t (1 - p_t)^gamma ln p_t, with p = sigmoid(prediction), p_t = p and a_t = alpha
                where y = 1, p_t = 1 - p and a_t = 1 - alpha where y = 0
    Derivative: (2y - 1) a_t (1 - p_t)^gamma (gamma p_t ln p_t + p_t - 1)
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of a yes, against 1 - alpha for a no; none weighs both with 1.
        gamma: how fast the easy ones fall silent; 0 leaves the balanced cross entropy.
    Note:       between 0 and 1 the target mixes: p_t = y p + (1 - y) (1 - p), and so does a_t.
    Reference:  Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    yes, no = surprises(prediction)
    wrong = target * torch.sigmoid(-prediction) + (1 - target) * torch.sigmoid(prediction)
    surprise = target * yes + (1 - target) * no
    return _balance(target, alpha) * power(wrong, gamma) * surprise


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("categorical_focal_loss", "categorical_focal_cross_entropy"),
    identities=(
        Identity("cross_entropy", when={"gamma": 0.0}),
        Identity(
            "cross_entropy",
            when={"gamma": 0.0, "label_smoothing": 0.25},
            knobs={"label_smoothing": 0.25},
        ),
    ),
)
def softmax_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Weights | NonNegative | None = None,
    gamma: NonNegative = 2.0,
    label_smoothing: Probability = 0.0,
) -> Tensor:
    """Cross entropy over classes that forgets the samples it already gets right.

    Formula:    -sum_c q_c alpha_c (1 - p_c)^gamma ln p_c, with p = softmax(prediction) and q the
                target: (1 - s) [c = y] + s / C
    Derivative: of one term by ln p_c: -q_c alpha_c (1 - p_c)^(gamma - 1) (1 - p_c - gamma p_c
                ln p_c)
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: one weight for all classes, or one per class; none is 1.
        gamma: how fast the easy samples fall silent; 0 leaves cross entropy.
        label_smoothing: the share s of the target that is spread evenly over all classes.
    Note:       the mean divides by the number of samples, whatever alpha is.
    Reference:  Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    dim = class_dimension(prediction)
    log_p = torch.log_softmax(prediction, dim)
    believed = as_distribution(target, prediction)
    if not is_off(label_smoothing):
        even = 1 / prediction.shape[dim]
        believed = (1 - label_smoothing) * believed + label_smoothing * even
    values = -believed * power(missing(log_p), gamma) * log_p
    if alpha is not None:
        weight = torch.as_tensor(alpha)
        values = values * (along_classes(weight, prediction) if weight.dim() else weight)
    return values.sum(dim)


@loss(
    target="zero_one",
    prediction="logits",
    identities=(Identity("focal", when={"epsilon": 0.0}),),
)
def poly1_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Probability | None = 0.25,
    gamma: NonNegative = 2.0,
    epsilon: float = 1.0,
) -> Tensor:
    """Focal loss whose first term, seen as a series in 1 - p_t, is made heavier.

    Formula:    focal + epsilon (1 - p_t)^(gamma + 1)
    Derivative: focal's - epsilon (gamma + 1) (2y - 1) (1 - p_t)^(gamma + 1) p_t
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        alpha: the weight of a yes, against 1 - alpha for a no; none weighs both with 1.
        gamma: how fast the easy ones fall silent.
        epsilon: what is added to the first coefficient of the series; below 0 it is made lighter.
    Note:       alpha weighs the focal part alone, as in the authors' code.
    Reference:  Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss
                Functions, 2022.
    """
    wrong = target * torch.sigmoid(-prediction) + (1 - target) * torch.sigmoid(prediction)
    return focal(prediction, target, alpha=alpha, gamma=gamma) + epsilon * power(wrong, gamma + 1)


@loss(target="zero_one", prediction="logits")
def quality_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    beta: Annotated[float, Ge(1)] = 2.0,
) -> Tensor:
    """Focal loss for a soft target: the further the score is from the quality, the louder.

    Formula:    |y - p|^beta (-y ln p - (1 - y) ln(1 - p)), with p = sigmoid(prediction)
    Derivative: |y - p|^beta (p - y) + beta |y - p|^(beta - 1) sign(p - y) p (1 - p) BCE
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        beta: how fast scores close to their quality fall silent.
    Note:       for targets of 0 and 1 it is focal with alpha = null, gamma = beta.
    Reference:  Li et al., Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes
                for Dense Object Detection, 2020.
    """
    yes, no = surprises(prediction)
    surprise = target * yes + (1 - target) * no
    return power(torch.abs(target - torch.sigmoid(prediction)), beta) * surprise


@loss(
    target="zero_one",
    prediction="logits",
)
def varifocal(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 0.75,
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Focal loss for the background only; objects weigh as much as their quality.

    Formula:    y BCE(p, y) where y > 0, alpha p^gamma BCE(p, 0) where y = 0, with
                BCE(p, y) = -y ln p - (1 - y) ln(1 - p), p = sigmoid(prediction)
    Derivative: y (p - y) where y > 0; alpha p^gamma (p + gamma (1 - p) BCE(p, 0)) where y = 0
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of the background.
        gamma: how fast the easy background falls silent.
    Reference:  Zhang et al., VarifocalNet: An IoU-aware Dense Object Detector, 2021.
    """
    yes, no = surprises(prediction)
    background = alpha * power(torch.sigmoid(prediction), gamma)
    surprise = target * yes + (1 - target) * no
    return torch.where(target > 0, target, background) * surprise


@loss(
    target="zero_one",
    prediction="probabilities",
    aliases=("penalty_reduced_focal_loss",),
)
def gaussian_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 2.0,
    beta: NonNegative = 4.0,
) -> Tensor:
    """Focal loss for heat maps: near a peak a false yes is nearly forgiven.

    Formula:    -(1 - p)^alpha ln p where y = 1, -(1 - y)^beta p^alpha ln(1 - p) elsewhere;
                logarithms bounded below by -100
    Derivative: (1 - p)^(alpha - 1) (alpha ln p - (1 - p) / p) where y = 1; elsewhere
                (1 - y)^beta p^(alpha - 1) (p / (1 - p) - alpha ln(1 - p))
    Shapes:     prediction [N, ...] in [0, 1], target [N, ...] in [0, 1] (1 at the peaks) ->
                [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: how fast what is already right falls silent.
        beta: how far around a peak a false yes is forgiven.
    Note:       detectors divide the sum by the number of peaks instead of taking the mean.
    Reference:  Law & Deng, CornerNet: Detecting Objects as Paired Keypoints, 2018.
    """
    yes, no = bounded_logs(prediction)
    at_peak = -power(1 - prediction, alpha) * yes
    around = -power(1 - target, beta) * power(prediction, alpha) * no
    return torch.where(target == 1, at_peak, around)


@loss(target="index", prediction="logits")
def focal_cosine(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: NonNegative = 1.0,
    gamma: NonNegative = 2.0,
    focal_weight: NonNegative = 0.1,
) -> Tensor:
    """Turn the scores towards the true class, whatever their length; focal loss as a help.

    Formula:    1 - u_y + focal_weight alpha (1 - p_y)^gamma (-ln p_y), with u = x / |x|,
                p = softmax(u), x = prediction
    Derivative: with respect to u: -[c = y] and the softmax focal loss's; du = (I - u u^T) dx / |x|
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of all within the focal part.
        gamma: how fast the easy samples fall silent in the focal part.
        focal_weight: the weight of the focal part.
    Reference:  Barz & Denzler, Deep Learning on Small Datasets without Pre-Training using Cosine
                Loss, 2020.
    """
    dim = class_dimension(prediction)
    # As torch's cosine embedding: without the small number a zero vector has no direction.
    unit = prediction * torch.rsqrt(torch.square(prediction).sum(dim, keepdim=True) + 1e-12)
    cosine = (unit * as_distribution(target, prediction)).sum(dim)
    return 1 - cosine + focal_weight * alpha * softmax_focal(unit, target, gamma=gamma)
