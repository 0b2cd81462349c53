"""Errors measured against something: the size of the target, its logarithm, or the whole batch."""

from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="real",
    aliases=("root_mean_squared_error",),
    whole_batch=True,
    zero_at_target=True,
    symmetric=True,
)
def rmse(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-8) -> Tensor:
    """Root of the mean squared error: the same optimum as mse, in the units of the target.

    Formula:    sqrt(mean(r^2) + eps), with r = prediction - target
    Derivative: r / (n rmse), with n the number of values
    Shapes:     prediction [N, ...], target [N, ...] -> []
    Range:      [0, inf)
    Knobs:
        eps: keeps the root's derivative finite at 0; sqrt(eps) is what a perfect batch costs.
    Reference:  none: textbook.
    """
    return torch.sqrt(torch.square(prediction - target).mean() + eps)


@loss(
    target=("real", "count"),
    aliases=("mean_absolute_percentage_error",),
    zero_at_target=True,
    derivative=lambda prediction, target, *, eps: (
        100 * torch.sign(prediction - target) / torch.clamp(torch.abs(target), min=eps)
    ),
)
def mape(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """Error in percent of the target: to be off by one matters most where the truth is small.

    Formula:    100 |r| / max(|y|, eps), with r = prediction - target, y = target
    Derivative: 100 sign(r) / max(|y|, eps)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        eps: the least target to divide by; targets near 0 make the loss enormous.
    Reference:  none: textbook.
    """
    return 100 * torch.abs(prediction - target) / torch.clamp(torch.abs(target), min=eps)


def _smape_derivative(prediction: Tensor, target: Tensor, *, eps: float) -> Tensor:
    residual = prediction - target
    total = torch.abs(prediction) + torch.abs(target) + eps
    share = torch.abs(residual) * torch.sign(prediction) / total
    return 200 * (torch.sign(residual) - share) / total


@loss(
    target=("real", "count"),
    aliases=("symmetric_mean_absolute_percentage_error",),
    zero_at_target=True,
    symmetric=True,
    derivative=_smape_derivative,
)
def smape(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-8) -> Tensor:
    """Error in percent of the mean of both sizes: bounded, and alike for too high and too low.

    Formula:    200 |r| / (|x| + |y| + eps), with r = x - y, x = prediction, y = target
    Derivative: 200 (sign(r) - sign(x) |r| / s) / s, with s = |x| + |y| + eps
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, 200]
    Knobs:
        eps: added to the divisor, so that 0 for 0 costs 0.
    Note:       where the target is 0, every other prediction costs 200: nothing can be learned.
    Reference:  Makridakis, Accuracy Measures: Theoretical and Practical Concerns, 1993.
    """
    return 200 * torch.abs(prediction - target) / (torch.abs(prediction) + torch.abs(target) + eps)


def _msle_derivative(prediction: Tensor, target: Tensor, *, eps: float) -> Tensor:
    bounded = torch.clamp(prediction, min=eps)
    apart = torch.log1p(bounded) - torch.log1p(torch.clamp(target, min=eps))
    return torch.where(prediction >= eps, 2 * apart / (1 + bounded), 0.0)


@loss(
    target=("real", "count"),
    prediction="positive",
    aliases=("mean_squared_logarithmic_error",),
    zero_at_target=True,
    symmetric=True,
    derivative=_msle_derivative,
)
def msle(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """Squared error of the logarithms: for amounts, where a factor counts, not a difference.

    Formula:    (ln(1 + x) - ln(1 + y))^2, with x = max(prediction, eps), y = max(target, eps)
    Derivative: 2 (ln(1 + x) - ln(1 + y)) / (1 + x), 0 where the prediction is below eps
    Shapes:     prediction [N, ...], target [N, ...], at least 0 -> [N, ...]
    Range:      [0, inf)
    Knobs:
        eps: both are at least this.
    Reference:  none: textbook.
    """
    x, y = torch.clamp(prediction, min=eps), torch.clamp(target, min=eps)
    return torch.square(torch.log1p(x) - torch.log1p(y))


@loss(
    target=("real", "count"),
    prediction="positive",
    aliases=("silog", "eigen"),
    whole_batch=True,
    zero_at_target=True,
    symmetric=True,
)
def scale_invariant_log(
    prediction: Tensor, target: Tensor, *, lam: NonNegative = 0.5, eps: Positive = 1e-8
) -> Tensor:
    """Squared error of the logarithms in which a common factor costs less, or nothing.

    Formula:    mean(d^2) - lam mean(d)^2, with d = ln x - ln y, x = max(prediction, eps),
                y = max(target, eps)
    Derivative: 2 (d - lam mean(d)) / (n x), with n the number of values; 0 where the prediction is
                below eps
    Shapes:     prediction [N, ...], target [N, ...], positive -> []
    Range:      (-inf, inf); [0, inf) where lam <= 1
    Knobs:
        lam: 0 is the plain mean square of d, 1 its variance, which no common factor changes.
        eps: both are at least this.
    Note:       for depths, whose scale a single picture does not tell. The means are those of the
                whole batch.
    Reference:  Eigen, Puhrsch & Fergus, Depth Map Prediction from a Single Image Using a
                Multi-Scale Deep Network, 2014.
    """
    apart = torch.log(torch.clamp(prediction, min=eps)) - torch.log(torch.clamp(target, min=eps))
    return torch.square(apart).mean() - lam * torch.square(apart.mean())
