"""Losses of the residual r = prediction - target."""

from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="real",
    kernel="torch.nn.functional.l1_loss",
    aliases=("mae",),
    zero_at_target=True,
    symmetric=True,
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
    aliases=("l2",),
    zero_at_target=True,
    symmetric=True,
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
    kernel="torch.nn.functional.smooth_l1_loss",
    zero_at_target=True,
    symmetric=True,
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


@loss(target="real", kernel="torch.nn.functional.huber_loss", zero_at_target=True, symmetric=True)
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
