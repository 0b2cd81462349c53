"""Cross entropy on logits that are scaled, normalized, or made harder for the true class.

Predictions are features [N, D], compared with one learned vector for each class; where no class
vectors are given, they are the cosines [N, C] themselves. Targets are class indices [N].
"""

import math

from lossbench.components.declarations import Identity, Parameter
from lossbench.components.losses._classes import pick
from lossbench.components.losses._similarity import (
    bounded,
    class_cosines,
    norm,
    put,
    surprise,
    unit,
)
from lossbench.components.vocabulary import NonNegative, Positive, PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _vectors(shape: tuple[int, ...]) -> Tensor:
    """Return first class vectors: random directions of a length near 1."""
    return torch.randn(shape) / math.sqrt(shape[-1])


CLASS_VECTORS = Parameter(
    shape=lambda outputs, classes, **knobs: (classes, outputs),  # noqa: ARG005
    initial=_vectors,
)
"""One learned vector for each class."""


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("soft_softmax",),
    identities=(Identity("cross_entropy", when={"temperature": 1.0}),),
)
def temperature_softmax(
    prediction: Tensor, target: Tensor, *, temperature: Positive = 1.0
) -> Tensor:
    """Cross entropy of a softmax that is made softer (T > 1) or sharper (T < 1).

    Formula:    -ln p_y with p = softmax(prediction / T); for a distribution q as the target
                -sum_c q_c ln p_c
    Derivative: (p - q) / T
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        temperature: T. Distillation takes about 4.
    Note:       its gradient shrinks as 1 / T; distillation multiplies by T^2 to make up for it.
    Reference:  Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    logs = torch.log_softmax(prediction / temperature, 1)
    return -(logs * target).sum(1) if target.is_floating_point() else -pick(logs, target)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    aliases=("normalized_softmax",),
)
def normface(
    prediction: Tensor, target: Tensor, *, weight: Tensor | None = None, scale: Positive = 20.0
) -> Tensor:
    """Classify by the angle alone: cross entropy of scaled cosines.

    Formula:    CE(s c, y) with c_j = W_j f / (|W_j| |f|), f = prediction, W = weight
    Derivative: by c: s (p - onehot(y)) with p = softmax(s c)
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C]
    Range:      [0, inf)
    Knobs:
        scale: s; without it a softmax of cosines could never be sure.
    Reference:  Wang et al., NormFace: L2 Hypersphere Embedding for Face Verification, 2017.
    """
    return surprise(scale * class_cosines(prediction, weight), target)


@loss(target="index", prediction="embedding", parameters={"weight": CLASS_VECTORS})
def l2_softmax(
    prediction: Tensor, target: Tensor, *, weight: Tensor | None = None, alpha: Positive = 16.0
) -> Tensor:
    """Softmax of features that all have the same length: easy samples cannot shout.

    Formula:    CE(alpha W f / |f|, y), with f = prediction, W = weight
    Derivative: by the logits: p - onehot(y) with p = their softmax
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C]
    Range:      [0, inf)
    Knobs:
        alpha: the length of the features; at least ln((C - 2) p / (1 - p)) for a certainty of p.
    Note:       with class vectors of length 1 it is normface with scale = alpha.
    Reference:  Ranjan, Castillo & Chellappa, L2-constrained Softmax Loss for Discriminative Face
                Verification, 2017.
    """
    direct = bounded(prediction) if weight is None else unit(prediction) @ weight.mT
    return surprise(alpha * direct, target)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    aliases=("am_softmax",),
    identities=(Identity("normface", when={"margin": 0.0}, knobs={"scale": 64.0}),),
)
def cosface(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    scale: Positive = 64.0,
    margin: float = 0.35,
) -> Tensor:
    """Demand that the cosine of the true class wins by a margin.

    Formula:    CE(s z, y) with z_y = c_y - m, z_j = c_j otherwise; c are cosines as in normface
    Derivative: by c: s (p - onehot(y)) with p = softmax(s z)
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C]
    Range:      [0, inf)
    Knobs:
        scale: s. AM-Softmax takes 30.
        margin: m.
    Reference:  Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, 2018; Wang
                et al., Additive Margin Softmax for Face Verification, 2018.
    """
    cosine = class_cosines(prediction, weight)
    return surprise(scale * put(cosine, target, pick(cosine, target) - margin), target)


def _folded(cosine: Tensor, margin: int) -> Tensor:
    """Return psi(t) = (-1)^k cos(m t) - 2 k for t in [k pi / m, (k + 1) pi / m]: it never rises."""
    angle = torch.acos(cosine)
    turn = torch.floor(angle.detach() * (margin / math.pi)).clamp(0, margin - 1)
    return (1 - 2 * (turn % 2)) * torch.cos(margin * angle) - 2 * turn


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    aliases=("large_margin_softmax",),
)
def l_softmax(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    margin: PositiveInt = 4,
    lambd: NonNegative = 0.0,
) -> Tensor:
    """Let the true class win even when its angle is multiplied by a whole number.

    Formula:    CE(z, y) with z_j = |W_j| |f| c_j for j != y and z_y = |W_y| |f| (lambda c_y +
                psi(t_y)) / (lambda + 1); c are cosines, t angles, psi(t) = (-1)^k cos(m t) - 2 k
                on [k pi / m, (k + 1) pi / m], f = prediction, W = weight
    Derivative: by z: p - onehot(y) with p = softmax(z)
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C], and all lengths 1
    Range:      [0, inf)
    Knobs:
        margin: m, by what the angle of the true class is multiplied; 1 is cross entropy.
        lambd: the share of the plain logit. Training starts with a large one (1000) and lets it
            fall towards 0, for with m = 4 alone it does not converge from random weights.
    Reference:  Liu et al., Large-Margin Softmax Loss for Convolutional Neural Networks, 2016.
    """
    if weight is None:
        logits = cosine = bounded(prediction)
        length = torch.ones_like(cosine)
    else:
        logits, cosine = prediction @ weight.mT, class_cosines(prediction, weight)
        length = norm(prediction) * norm(weight).mT
    own = pick(cosine, target)
    mixed = (lambd * own + _folded(own, margin)) / (lambd + 1)
    return surprise(put(logits, target, pick(length, target) * mixed), target)


@loss(
    target="index",
    prediction="embedding",
    parameters={"weight": CLASS_VECTORS},
    aliases=("sphereface",),
)
def a_softmax(
    prediction: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    margin: PositiveInt = 4,
    scale: Positive = 1.0,
    lambd: NonNegative = 0.0,
) -> Tensor:
    """l_softmax with class vectors of length 1: only angles and the feature's length count.

    Formula:    CE(s z, y) with z_j = |f| c_j for j != y and z_y = |f| (lambda c_y + psi(t_y)) /
                (lambda + 1); c, t and psi as in l_softmax, f = prediction
    Derivative: by z: s (p - onehot(y)) with p = softmax(s z)
    Shapes:     prediction [N, D], weight [C, D], target [N] -> [N]; without a weight, prediction
                are the cosines [N, C], and |f| = 1
    Range:      [0, inf)
    Knobs:
        margin: m, by what the angle of the true class is multiplied.
        scale: s, a factor on all logits.
        lambd: the share of the plain logit, as in l_softmax; the authors end at 5.
    Reference:  Liu et al., SphereFace: Deep Hypersphere Embedding for Face Recognition, 2017.
    """
    cosine = class_cosines(prediction, weight)
    own = pick(cosine, target)
    mixed = put(cosine, target, (lambd * own + _folded(own, margin)) / (lambd + 1))
    length = 1.0 if weight is None else norm(prediction)
    return surprise(scale * length * mixed, target)
