"""Losses of the residual r = prediction - target."""

from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


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
