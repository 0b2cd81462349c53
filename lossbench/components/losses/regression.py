"""Losses of the residual r = prediction - target: straight lines, parabolas, and what lies between.

Those that forgive outliers altogether are in outliers.py, those that treat the two signs
differently in quantiles.py, those made for landmarks and boxes in localization.py.
"""

import math

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="real",
    kernel="torch.nn.functional.l1_loss",
    aliases=("mae", "mean_absolute_error"),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: torch.sign(prediction - target),
)
def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Size of the residual: every error pulls equally hard, the optimum is the median.

    Formula:    |r|, with r = prediction - target
    Derivative: sign(r), 0 at r = 0
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  Laplace, Memoire sur la probabilite des causes par les evenements, 1774.
    """
    return (prediction - target).abs()


@loss(
    target="real",
    kernel="torch.nn.functional.mse_loss",
    aliases=("l2", "mean_squared_error", "squared_error"),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: 2 * (prediction - target),
)
def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Square of the residual: large errors count most, the optimum is the mean.

    Formula:    r^2, with r = prediction - target
    Derivative: 2 r
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  Legendre, Nouvelles methodes pour la determination des orbites des cometes, 1805.
    """
    return torch.square(prediction - target)


@loss(
    target="real",
    aliases=("half_squared_error",),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: prediction - target,
    identities=(Identity("mse", times=0.5),),
)
def half_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Half the square of the residual, so that an error pulls exactly as far as it is large.

    Formula:    r^2 / 2, with r = prediction - target
    Derivative: r
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  Gauss, Theoria motus corporum coelestium, 1809.
    """
    return torch.square(prediction - target) / 2


def _smooth_l1_derivative(prediction: Tensor, target: Tensor, *, beta: float) -> Tensor:
    residual = prediction - target
    inner = residual / (beta + (beta == 0))
    return torch.where(torch.abs(residual) < beta, inner, torch.sign(residual))


@loss(
    target="real",
    kernel="torch.nn.functional.smooth_l1_loss",
    zero_at_target=True,
    symmetric=True,
    derivative=_smooth_l1_derivative,
    identities=(
        Identity("l1", when={"beta": 0.0}),
        Identity("huber"),
        Identity("huber", when={"beta": 0.25}, knobs={"delta": 0.25}, times=4.0),
    ),
)
def smooth_l1(prediction: Tensor, target: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """L1 with a rounded tip: the pull of an error is 1 at most, and fades within `beta`.

    Formula:    r^2 / (2 beta) where |r| < beta, else |r| - beta / 2,
                with r = prediction - target
    Derivative: r / beta where |r| < beta, else sign(r)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        beta: the residual at which the quadratic becomes a straight line; 0 is L1.
    Note:       huber with delta = beta, divided by beta.
    Reference:  Girshick, Fast R-CNN, 2015.
    """
    size = (prediction - target).abs()
    # At beta = 0 the quadratic is nowhere taken, but its gradient must not divide by 0 either.
    divisor = beta + (beta == 0)
    return torch.where(size < beta, size * size / (2 * divisor), size - beta / 2)


@loss(
    target="real",
    kernel="torch.nn.functional.huber_loss",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, delta: torch.clamp(
        prediction - target, min=-delta, max=delta
    ),
    identities=(Identity("smooth_l1", when={"delta": 3.0}, knobs={"beta": 3.0}, times=3.0),),
)
def huber(prediction: Tensor, target: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """Quadratic for small errors, linear beyond `delta`: an outlier pulls with a bounded force.

    Formula:    r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2),
                with r = prediction - target
    Derivative: clip(r, -delta, delta)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        delta: the residual at which the quadratic becomes a straight line.
    Reference:  Huber, Robust Estimation of a Location Parameter, 1964.
    """
    size = (prediction - target).abs()
    # min(|r|, delta) (|r| - min(|r|, delta) / 2) is both branches at once, smooth where they meet.
    inner = torch.clamp(size, max=delta)
    return inner * (size - inner / 2)


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, delta: (
        (prediction - target) / torch.sqrt(1 + torch.square((prediction - target) / delta))
    ),
    identities=(
        Identity("barron_adaptive", knobs={"alpha": 1.0}),
        Identity("barron_adaptive", when={"delta": 2.0}, knobs={"alpha": 1.0, "c": 2.0}, times=4.0),
    ),
)
def pseudo_huber(prediction: Tensor, target: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """Huber without a seam: from the parabola to the straight line in one smooth curve.

    Formula:    delta^2 (sqrt(1 + (r / delta)^2) - 1), with r = prediction - target
    Derivative: r / sqrt(1 + (r / delta)^2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        delta: about the residual at which the curve turns straight, and its slope there.
    Reference:  Hartley & Zisserman, Multiple View Geometry in Computer Vision, 2003.
    """
    residual = prediction - target
    # The same as the formula; its difference would lose the digits of small residuals.
    return torch.square(residual) / (1 + torch.sqrt(1 + torch.square(residual / delta)))


def _length(residual: Tensor, other: float) -> Tensor:
    """Return sqrt(r^2 + other^2), also where the squares are too small to be numbers."""
    return torch.hypot(residual, torch.zeros_like(residual) + other)


@loss(
    target="real",
    symmetric=True,
    zero_at_target=True,
    derivative=lambda prediction, target, *, eps: (
        (prediction - target) / _length(prediction - target, eps)
    ),
)
def charbonnier(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-3) -> Tensor:
    """L1 with a tip rounded by a hair, so that its derivative has no jump.

    Formula:    sqrt(r^2 + eps^2), with r = prediction - target
    Derivative: r / sqrt(r^2 + eps^2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        eps: the width of the tip, and the loss of a perfect prediction.
    Note:       asl1 is the same less eps. Some libraries mean sqrt(r^2 + 1) - 1 by this name, which
                is pseudo_huber.
    Reference:  Charbonnier et al., Two Deterministic Half-Quadratic Regularization Algorithms for
                Computed Imaging, 1994.
    """
    return _length(prediction - target, eps)


@loss(
    target="real",
    aliases=("authentic_smooth_l1",),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, mu: (
        (prediction - target) / _length(prediction - target, mu)
    ),
    identities=(Identity("pseudo_huber", when={"mu": 0.25}, knobs={"delta": 0.25}, times=4.0),),
)
def asl1(prediction: Tensor, target: Tensor, *, mu: Positive = 0.02) -> Tensor:
    """Smooth L1 in one piece, so that the size of every gradient is below 1 and tells the error.

    Formula:    sqrt(r^2 + mu^2) - mu, with r = prediction - target
    Derivative: r / sqrt(r^2 + mu^2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        mu: about the residual at which the curve turns straight.
    Note:       charbonnier less its value at 0; what ghm_r weighs.
    Reference:  Li, Liu & Wang, Gradient Harmonized Single-Stage Detector, 2019.
    """
    residual = prediction - target
    return residual * (residual / (_length(residual, mu) + mu))


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: torch.tanh(prediction - target),
)
def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    """Half the square of a small error, the size of a large one, and smooth everywhere.

    Formula:    ln cosh r = |r| + ln(1 + e^(-2 |r|)) - ln 2, with r = prediction - target
    Derivative: tanh r
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  Green, Bayesian Reconstructions from Emission Tomography Data Using a Modified EM
                Algorithm, 1990.
    """
    residual = prediction - target
    # Far from 0 cosh overflows; near it the first form would lose its digits.
    near = torch.log1p(torch.square(torch.sinh(torch.clamp(residual, -1, 1)))) / 2
    far = torch.logaddexp(residual, -residual) - math.log(2)
    return torch.where(torch.abs(residual) <= 1, near, far)


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: (
        torch.tanh(prediction - target)
        + (prediction - target) * (1 - torch.square(torch.tanh(prediction - target)))
    ),
)
def xtanh(prediction: Tensor, target: Tensor) -> Tensor:
    """Residual times its tanh: a parabola at 0 that clings to the size of the error.

    Formula:    r tanh(r), with r = prediction - target
    Derivative: tanh r + r (1 - tanh^2 r)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  none: folklore.
    """
    residual = prediction - target
    return residual * torch.tanh(residual)


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target: (
        torch.tanh((prediction - target) / 2)
        + (prediction - target) / 2 * (1 - torch.square(torch.tanh((prediction - target) / 2)))
    ),
)
def xsigmoid(prediction: Tensor, target: Tensor) -> Tensor:
    """Residual times how sure its sign is: as xtanh, twice as wide and twice as large.

    Formula:    2 r sigmoid(r) - r = r tanh(r / 2), with r = prediction - target
    Derivative: tanh(r / 2) + r / 2 (1 - tanh^2(r / 2))
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Reference:  none: folklore.
    """
    residual = prediction - target
    return residual * torch.tanh(residual / 2)
