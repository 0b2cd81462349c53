"""Losses that learn from two views of the same samples without negatives.

What keeps all outputs from becoming the same is a decorrelation, a variance, a stopped gradient, a
centred teacher, or uniformity.
"""

import math

from lossbench.components.losses._similarity import (
    masked_logsumexp,
    others,
    squared_distances,
    unit,
)
from lossbench.components.vocabulary import Decay, NonNegative, Positive, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

VIEWS = {"view1": "embedding", "view2": "embedding"}


def _outside_diagonal(matrix: Tensor) -> Tensor:
    """Return the sum of the squares of what is not on the diagonal."""
    return torch.where(others(matrix.shape[-1], matrix), matrix, 0.0).square().sum()


def _standardized(view: Tensor, degrees: int, eps: float) -> Tensor:
    centered = view - view.mean(0)
    return centered / (centered.square().sum(0) / degrees + eps).sqrt()


@loss(inputs=VIEWS, whole_batch=True)
def barlow_twins(
    view1: Tensor,
    view2: Tensor,
    *,
    lambd: NonNegative = 5e-3,
    eps: Positive = 1e-5,
    unbiased: bool = False,
) -> Tensor:
    """Make each output agree between the views, and each two outputs say different things.

    Formula:    sum_i (1 - c_ii)^2 + lambda sum_{i != j} c_ij^2, with c the cross-correlation
                [D, D] of both views over the batch: z1^T z2 / N, z = (view - mean) /
                sqrt(var + eps)
    Derivative: by c: -2 (1 - c_ii) on the diagonal, 2 lambda c_ij beside it
    Shapes:     view1 [N, D], view2 [N, D] -> []
    Range:      [0, inf)
    Knobs:
        lambd: lambda, the weight of what is not on the diagonal. The paper says 0.0051.
        eps: what is added to the variance, as in the authors' batch normalization.
        unbiased: divide the variance by N - 1; the correlation is still divided by N. MONAI does.
    Reference:  Zbontar et al., Barlow Twins: Self-Supervised Learning via Redundancy Reduction,
                2021.
    """
    count = len(view1)
    degrees = max(count - 1, 1) if unbiased else count
    standard = [_standardized(view, degrees, eps) for view in (view1, view2)]
    correlation = standard[0].mT @ standard[1] / count
    return (1 - correlation.diagonal()).square().sum() + lambd * _outside_diagonal(correlation)


@loss(inputs=VIEWS, whole_batch=True)
def vicreg(
    view1: Tensor,
    view2: Tensor,
    *,
    invariance: NonNegative = 25.0,
    variance: NonNegative = 25.0,
    covariance: NonNegative = 1.0,
    eps: Positive = 1e-4,
) -> Tensor:
    """Make the views agree, each output vary over the batch, and no two outputs vary together.

    Formula:    i MSE(view1, view2) + v (V(view1) + V(view2)) / 2 + c (C(view1) + C(view2)), with
                V the mean of max(0, 1 - sqrt(var + eps)) over outputs, and C the sum of the squared
                covariances between different outputs, divided by D
    Derivative: by MSE, V and C: i, v / 2 and c
    Shapes:     view1 [N, D], view2 [N, D] -> []
    Range:      [0, inf)
    Knobs:
        invariance: i, the weight of the agreement.
        variance: v, the weight of the hinge on the standard deviation.
        covariance: c, the weight of the decorrelation.
        eps: what is added to the variance.
    Note:       variance and covariance are unbiased (divided by N - 1).
    Reference:  Bardes, Ponce & LeCun, VICReg: Variance-Invariance-Covariance Regularization for
                Self-Supervised Learning, 2022.
    """
    degrees, size = max(len(view1) - 1, 1), view1.shape[1]
    value = invariance * (view1 - view2).square().mean()
    for view in (view1, view2):
        centered = view - view.mean(0)
        matrix = centered.mT @ centered / degrees
        spread = torch.sqrt(matrix.diagonal() + eps)
        value = value + variance * torch.relu(1 - spread).mean() / 2
        value = value + covariance * _outside_diagonal(matrix) / size
    return value


def _agreement(view1: Tensor, view2: Tensor) -> Tensor:
    """Return the cosine of each pair; the second view carries no gradient."""
    return (unit(view1) * unit(view2.detach())).sum(-1)


STOPPED = "the second view is a fixed target: it carries no gradient"


@loss(inputs=VIEWS, detached=STOPPED)
def byol(view1: Tensor, view2: Tensor) -> Tensor:
    """Predict what a slowly moving copy of the network makes of the other view.

    Formula:    2 - 2 cos(view1, view2) = |view1 / |view1| - view2 / |view2||^2
    Derivative: by cos: -2; view2 carries none
    Shapes:     view1 [N, D] (the online network's prediction), view2 [N, D] (the target network's
                projection) -> [N]
    Range:      [0, 4]
    Note:       the authors add the same with the views exchanged.
    Reference:  Grill et al., Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning,
                2020.
    """
    return 2 - 2 * _agreement(view1, view2)


@loss(inputs=VIEWS, detached=STOPPED)
def simsiam(view1: Tensor, view2: Tensor) -> Tensor:
    """Predict one view from the other; the stopped gradient alone prevents a collapse.

    Formula:    -cos(view1, view2)
    Derivative: by cos: -1; view2 carries none
    Shapes:     view1 [N, D] (predictions p), view2 [N, D] (projections z of the other view) -> [N]
    Range:      [-1, 1]
    Note:       the authors take the mean of this and of the same with the views exchanged.
    Reference:  Chen & He, Exploring Simple Siamese Representation Learning, 2021.
    """
    return -_agreement(view1, view2)


@loss(
    inputs={"view1": "logits", "view2": "logits"},
    state={"center": lambda outputs, **knobs: torch.zeros(outputs)},  # noqa: ARG005
    detached="the second view is the teacher: it carries no gradient",
)
def dino(
    view1: Tensor,
    view2: Tensor,
    *,
    center: Tensor,
    student_temperature: Positive = 0.1,
    teacher_temperature: Positive = 0.04,
    momentum: Decay = 0.9,
) -> Terms:
    """Learn the soft, centred and sharpened answer of a teacher that follows the student.

    Formula:    -sum_k q_k ln p_k with p = softmax(view1 / Ts), q = softmax((view2 - c) / Tt);
                afterwards c = momentum * c + (1 - momentum) * mean(view2), starting at 0
    Derivative: by view1: (p - q) / Ts; view2 carries none
    Shapes:     view1 [N, K] (student), view2 [N, K] (teacher), center [K] -> [N]
    Range:      [0, inf)
    Knobs:
        student_temperature: Ts.
        teacher_temperature: Tt; below Ts, so that the target is sharper. It may rise to 0.07.
        momentum: how much of the center is kept at each step.
    Note:       centering keeps one output from winning always, sharpening the answer from becoming
                uniform.
    Reference:  Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021.
    """
    teacher = view2.detach()
    wanted = torch.softmax((teacher - center) / teacher_temperature, -1)
    values = -(wanted * torch.log_softmax(view1 / student_temperature, -1)).sum(-1)
    moved = momentum * center + (1 - momentum) * teacher.mean(0)
    return Terms(values, state={"center": moved})


def _uniformity(direction: Tensor, sharpness: float) -> Tensor:
    """Return the logarithm of the mean of e^(-t d^2) over all pairs of different samples."""
    count = len(direction)
    if count < 2:
        return direction.sum() * 0
    pairs = others(count, direction).reshape(-1)
    exponents = -sharpness * squared_distances(direction, direction).reshape(-1)
    return masked_logsumexp(exponents, pairs) - math.log(count * (count - 1))


@loss(inputs=VIEWS, whole_batch=True, aliases=("alignment_uniformity",))
def align_uniform(
    view1: Tensor,
    view2: Tensor,
    *,
    alpha: Positive = 2.0,
    t: Positive = 2.0,
    lambd: NonNegative = 1.0,
) -> Tensor:
    """Bring the two views of a sample together, and spread all samples evenly over the sphere.

    Formula:    mean |x - y|^alpha + lambda (U(x) + U(y)) / 2, with x, y the directions of view1 and
                view2, U(x) = ln mean_{i != j} e^(-t |x_i - x_j|^2)
    Derivative: by |x - y|: alpha |x - y|^(alpha - 1) / N, and 0 where they are equal
    Shapes:     view1 [N, D], view2 [N, D] -> []
    Range:      (-inf, inf)
    Knobs:
        alpha: the power of the distance between both views.
        t: how sharply close samples repel.
        lambd: the weight of uniformity.
    Note:       it lies above -4 t lambda. Without a second sample there is no uniformity.
    Reference:  Wang & Isola, Understanding Contrastive Representation Learning through Alignment
                and Uniformity on the Hypersphere, 2020.
    """
    first, second = unit(view1), unit(view2)
    square = (first - second).square().sum(-1)
    # A power below 1 of the square has an infinite derivative at 0.
    apart = square > 0
    align = torch.where(apart, torch.where(apart, square, 1.0) ** (alpha / 2), 0.0).mean()
    return align + lambd * (_uniformity(first, t) + _uniformity(second, t)) / 2
