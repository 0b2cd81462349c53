"""ArcFace with a margin that depends on the length of the feature: a measure of its quality.

Predictions are features [N, D], compared with one learned vector for each class; targets are class
indices [N].
"""

import math

from lossbench.components.declarations import Identity
from lossbench.components.losses._classes import pick
from lossbench.components.losses._similarity import (
    Angle,
    class_cosines,
    norm,
    put,
    surprise,
    turned,
)
from lossbench.components.losses.softmax_variants import CLASS_VECTORS
from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.components.vocabulary import Decay, NonNegative, Positive, Terms
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _long_features(draw: Draw) -> dict[str, Tensor]:
    """Draw features that are short, long, and in between."""
    return {"prediction": 20 * draw.real(ROWS, CLASSES), "target": draw.labels(ROWS)}


def _ordered(*, lengths: tuple[float, float], margins: tuple[float, float], **_: float) -> None:
    for name, (low, high) in (("lengths", lengths), ("margins", margins)):
        if low > high or (name == "lengths" and low == high):
            raise UsageError(f"{name} are from the smaller to the larger, got {low} and {high}")


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    check=_ordered,
    identities=(
        Identity("arcface", when={"margins": (0.7, 0.7), "lambda_g": 0.0}, knobs={"margin": 0.7}),
    ),
    sample=_long_features,
)
def magface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor,
    scale: Positive = 64.0,
    lengths: tuple[Positive, Positive] = (10.0, 110.0),
    margins: tuple[Angle, Angle] = (0.45, 0.8),
    lambda_g: NonNegative = 20.0,
) -> Tensor:
    """arcface whose margin grows with the length of the feature, and which rewards long ones.

    Formula:    arcface(f, W, y) with the margin m(a) = m_l + (m_u - m_l) (a - a_l) / (a_u - a_l),
                plus lambda_g (1 / a + a / a_u^2), with a = |f| kept within a_l and a_u
    Derivative: as arcface, and by a where it lies within its bounds: s (p_y - 1) dz_y / dm m' +
                lambda_g (1 / a_u^2 - 1 / a^2)
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        scale: s.
        lengths: a_l and a_u, between which lengths tell anything.
        margins: m_l and m_u, the margins in radians at these lengths.
        lambda_g: the weight of the reward. Ports of the authors' code take 20, the paper 35.
    Note:       beyond an angle of pi - m it goes on as arcface does; the authors' code leaves out
                the margin wherever the angle is over 90 degrees.
    Errors:     lengths or margins in the wrong order.
    Reference:  Meng et al., MagFace: A Universal Representation for Face Recognition and Quality
                Assessment, 2021.
    """
    (shortest, longest), (least, most) = lengths, margins
    length = norm(prediction).squeeze(-1)
    length = torch.minimum(torch.clamp(length, min=shortest), torch.zeros_like(length) + longest)
    margin = least + (most - least) * (length - shortest) / (longest - shortest)
    cosine = class_cosines(prediction, weight)
    values = surprise(scale * put(cosine, target, turned(pick(cosine, target), margin)), target)
    return values + lambda_g * (1 / length + length / longest**2)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    state={"mean_length": 20.0, "length_deviation": 100.0},
    independent=False,
    detached="lengths carry no gradient",
    identities=(Identity("cosface", when={"h": 0.0}, knobs={"margin": 0.4}),),
    sample=_long_features,
)
def adaface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor,
    mean_length: Tensor,
    length_deviation: Tensor,
    scale: Positive = 64.0,
    margin: Angle = 0.4,
    h: NonNegative = 0.333,
    momentum: Decay = 0.99,
) -> Terms:
    """Press hard samples of good quality, and leave alone those that nobody could recognise.

    Formula:    CE(s z, y) with z_y = cos(t_y - m q) - m (1 + q), z_j = c_j otherwise; q = h (a -
                mean) / (deviation + 0.001) within -1 and 1, a = |f| within 0.001 and 100, t_y - m q
                within 0 and pi; mean and deviation of a are running ones
    Derivative: by z: s (p - onehot(y)) with p = softmax(s z); q carries none
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]
    Range:      [0, inf)
    Knobs:
        scale: s.
        margin: m, in radians and as a difference of cosines.
        h: how far the margin follows the quality; 0 is cosface.
        momentum: how much of the running mean and deviation is kept at each step.
    Note:       the running numbers start at 20 and 100, and are updated with this batch before they
                are used, as the authors do.
    Reference:  Kim, Jain & Liu, AdaFace: Quality Adaptive Margin for Face Recognition, 2022.
    """
    length = norm(prediction.detach()).squeeze(-1).clamp(1e-3, 100.0)
    spread = (length - length.mean()).square().sum() / max(len(length) - 1, 1)
    mean = momentum * mean_length + (1 - momentum) * length.mean()
    deviation = momentum * length_deviation + (1 - momentum) * spread.sqrt()
    quality = (h * (length - mean) / (deviation + 1e-3)).clamp(-1, 1)
    cosine = class_cosines(prediction, weight)
    angle = (torch.acos(pick(cosine, target)) - margin * quality).clamp(0, math.pi)
    values = surprise(
        scale * put(cosine, target, torch.cos(angle) - margin * (1 + quality)), target
    )
    return Terms(values, state={"mean_length": mean, "length_deviation": deviation})
