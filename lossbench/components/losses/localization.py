"""Losses of the residual made for places in images: landmarks, heatmaps, boxes, depths."""

import math
from typing import Annotated

from annotated_types import Gt

from lossbench.components.declarations import Identity
from lossbench.components.losses._harmony import harmony
from lossbench.components.losses.regression import asl1
from lossbench.components.vocabulary import Decay, Positive, PositiveInt, Terms
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _border(residual: Tensor, threshold: float) -> Tensor:
    """Return the border between line and parabola: a share of the batch's largest error."""
    return threshold * residual.detach().abs().amax()


def _berhu_derivative(prediction: Tensor, target: Tensor, *, threshold: float) -> Tensor:
    residual = prediction - target
    border = _border(residual, threshold)
    beyond = torch.abs(residual) > border
    return torch.where(beyond, residual / (border + (border == 0)), torch.sign(residual))


@loss(
    target="real",
    aliases=("reverse_huber",),
    zero_at_target=True,
    symmetric=True,
    independent=False,
    detached="the border between line and parabola comes from the batch and carries no gradient",
    derivative=_berhu_derivative,
)
def berhu(prediction: Tensor, target: Tensor, *, threshold: Positive = 0.2) -> Tensor:
    """Huber the other way round: L1 for small errors, and a parabola for the largest ones.

    Formula:    |r| where |r| <= c, else (r^2 + c^2) / (2 c), with r = prediction - target,
                c = threshold max |r| over the batch
    Derivative: sign(r) where |r| <= c, else r / c, for c carries no gradient
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        threshold: where the parabola starts, as a share of the largest error of the batch.
    Reference:  Owen, A Robust Hybrid of Lasso and Ridge Regression, 2007; with this border Laina et
                al., Deeper Depth Prediction with Fully Convolutional Residual Networks, 2016.
    """
    residual = prediction - target
    border, size = _border(residual, threshold), torch.abs(residual)
    divisor = 2 * (border + (border == 0))
    parabola = (torch.square(residual) + torch.square(border)) / divisor
    return torch.where(size <= border, size, parabola)


def _wing_derivative(prediction: Tensor, target: Tensor, *, w: float, eps: float) -> Tensor:
    size = torch.abs(prediction - target)
    return torch.sign(prediction - target) * torch.where(size < w, w / (eps + size), 1.0)


@loss(target="real", zero_at_target=True, symmetric=True, derivative=_wing_derivative)
def wing(prediction: Tensor, target: Tensor, *, w: Positive = 10.0, eps: Positive = 2.0) -> Tensor:
    """Logarithm for small errors, L1 for large ones: the small ones are worked on the hardest.

    Formula:    w ln(1 + |r| / eps) where |r| < w, else |r| - w + w ln(1 + w / eps),
                with r = prediction - target
    Derivative: sign(r) w / (eps + |r|) where |r| < w, else sign(r)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        w: the error (in pixels) from which on it is L1.
        eps: how sharply the curve is bent: the smaller, the harder tiny errors pull.
    Reference:  Feng et al., Wing Loss for Robust Facial Landmark Localisation with Convolutional
                Neural Networks, 2018.
    """
    size = torch.abs(prediction - target)
    edge = w * torch.log1p((torch.zeros_like(size) + w) / eps)
    return torch.where(size < w, w * torch.log1p(size / eps), size - w + edge)


def _adaptive_wing_derivative(
    prediction: Tensor, target: Tensor, *, w: float, eps: float, theta: float, alpha: float
) -> Tensor:
    power = alpha - target
    share = torch.clamp(torch.abs(prediction - target), max=theta) / eps
    slope = w * power / eps * share ** (power - 1) / (1 + share**power)
    return torch.sign(prediction - target) * slope


@loss(target="real", zero_at_target=True, derivative=_adaptive_wing_derivative)
def adaptive_wing(
    prediction: Tensor,
    target: Tensor,
    *,
    w: Positive = 14.0,
    eps: Positive = 1.0,
    theta: Positive = 0.5,
    alpha: Annotated[float, Gt(2)] = 2.1,
) -> Tensor:
    """Wing on the peaks of a heatmap, nearly squared error on its background.

    Formula:    w ln(1 + (|r| / eps)^p) where |r| < theta, else the straight line that continues it,
                with r = prediction - target, p = alpha - target
    Derivative: sign(r) w (p / eps) s^(p - 1) / (1 + s^p), with s = min(|r|, theta) / eps
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        w: how much the curve is stretched.
        eps: how sharply it is bent.
        theta: the error from which on it is a straight line.
        alpha: the power on the background; a little above 2, so that it is smooth there.
    Reference:  Wang, Bo & Fuxin, Adaptive Wing Loss for Robust Face Alignment via Heatmap
                Regression, 2019.
    """
    size, power = torch.abs(prediction - target), alpha - target
    curve = w * torch.log1p((torch.clamp(size, max=theta) / eps) ** power)
    edge = (torch.zeros_like(power) + theta) / eps
    slope = w * power / eps * edge ** (power - 1) / (1 + edge**power)
    return curve + slope * torch.relu(size - theta)


def _balanced_l1_derivative(
    prediction: Tensor, target: Tensor, *, alpha: float, gamma: float, beta: float
) -> Tensor:
    size, b = torch.abs(prediction - target), math.e ** (gamma / alpha) - 1
    inner = alpha * (torch.log1p(b * size / beta) + (b * size + 1) / (b * size + beta) - 1)
    return torch.sign(prediction - target) * torch.where(size < beta, inner, gamma)


@loss(target="real", zero_at_target=True, symmetric=True, derivative=_balanced_l1_derivative)
def balanced_l1(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: Positive = 0.5,
    gamma: Positive = 1.5,
    beta: Positive = 1.0,
) -> Tensor:
    """Smooth L1 whose small errors, of the boxes that fit, pull harder than in proportion.

    Formula:    alpha / b (b |r| + 1) ln(b |r| / beta + 1) - alpha |r| where |r| < beta, else
                gamma |r| + gamma / b - alpha beta, with r = prediction - target,
                b = e^(gamma / alpha) - 1
    Derivative: sign(r) times alpha ln(b |r| / beta + 1)
                + alpha ((b |r| + 1) / (b |r| + beta) - 1) where |r| < beta, else gamma
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      (-inf, inf); [0, inf) where beta <= 1
    Knobs:
        alpha: the smaller, the harder small errors pull.
        gamma: the pull of every error beyond beta.
        beta: the error from which on it is a straight line. The paper has 1. At others the formula,
            which is that of its authors, gives a derivative that jumps there and at 0.
    Reference:  Pang et al., Libra R-CNN: Towards Balanced Learning for Object Detection, 2019.
    """
    size, b = torch.abs(prediction - target), math.e ** (gamma / alpha) - 1
    curve = alpha / b * (b * size + 1) * torch.log1p(b * size / beta) - alpha * size
    return torch.where(size < beta, curve, gamma * size + gamma / b - alpha * beta)


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    independent=False,
    state={"running_counts": lambda _outputs, *, bins, **_: torch.zeros(bins)},
    aliases=("ghmr",),
    identities=(Identity("asl1", when={"bins": 1}),),
)
def ghm_r(
    prediction: Tensor,
    target: Tensor,
    *,
    running_counts: Tensor,
    mu: Positive = 0.02,
    bins: PositiveInt = 10,
    momentum: Decay = 0.0,
) -> Terms:
    """asl1 in which every size of gradient has the same say, however common it is.

    Formula:    w (sqrt(r^2 + mu^2) - mu), with r = prediction - target; g = |r| / sqrt(r^2 + mu^2)
                lies in one of `bins` equal bins of [0, 1]; w = total / (count of g's bin * number
                of bins that are not empty)
    Derivative: w r / sqrt(r^2 + mu^2), for the weights carry no gradient
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        mu: about the residual at which the curve turns straight.
        bins: into how many sizes gradients are sorted.
        momentum: how much of the earlier batches' counts stays in the counts; 0 counts this batch
            alone. Empty bins keep their counts.
    Note:       the running counts begin at 0, so that with momentum the first weights are
                1 / (1 - momentum) too large, as in the authors' code.
    Reference:  Li, Liu & Wang, Gradient Harmonized Single-Stage Detector, 2019.
    """
    size = torch.abs(prediction - target).detach()
    slope = size / torch.hypot(size, torch.zeros_like(size) + mu)
    used = torch.ones_like(size, dtype=torch.bool)
    weight, counts = harmony(slope, used, running_counts, bins, momentum)
    return Terms(weight * asl1(prediction, target, mu=mu), state={"running_counts": counts})
