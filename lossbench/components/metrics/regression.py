"""How far predicted numbers are from the true ones, in the data's own units.

Predictions and targets are [N, d]: the value of several outputs is the mean over them.
"""

from lossbench.components.metrics._shared import double
from lossbench.lazy import Tensor, torch
from lossbench.registry import metric


@metric(target=("real", "count"), lower_is_better=True, vmaps=True)
def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean size of the error, in the units of the target.

    Formula: mean of |prediction - target|
    Shapes:  prediction [N, d], target [N, d] -> one number
    Range:   [0, inf), 0 is perfect
    """
    return _error(prediction, target).abs().mean()


@metric(target=("real", "count"), lower_is_better=True, vmaps=True)
def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean square of the error.

    Formula: mean of (prediction - target)^2
    Shapes:  prediction [N, d], target [N, d] -> one number
    Range:   [0, inf), 0 is perfect
    """
    return torch.square(_error(prediction, target)).mean()


@metric(target=("real", "count"), lower_is_better=True, vmaps=True)
def rmse(prediction: Tensor, target: Tensor) -> Tensor:
    """The root of the mean square of the error, in the units of the target.

    Formula: sqrt(mean of (prediction - target)^2) per output, then the mean over the outputs
    Shapes:  prediction [N, d], target [N, d] -> one number
    Range:   [0, inf), 0 is perfect
    """
    return torch.square(_error(prediction, target)).mean(dim=0).sqrt().mean()


@metric(target=("real", "count"), vmaps=True)
def r2(prediction: Tensor, target: Tensor) -> Tensor:
    """The share of the target's variance that the model explains.

    Formula: 1 - sum (prediction - target)^2 / sum (target - mean target)^2 per output, then the
             mean over the outputs
    Shapes:  prediction [N, d], target [N, d] -> one number
    Range:   (-inf, 1], 1 is perfect; 0 is what the mean achieves
    Note:    for a target that never varies: 1 where it is met exactly, else 0. One sample has no
             variance: the result is not a number.
    Reference: Wright, Correlation and Causation, 1921.
    """
    if len(target) < 2:
        return double(target).new_tensor(torch.nan)
    missed = torch.square(_error(prediction, target)).sum(dim=0)
    return _explained(missed, _variation(_rows(target)))


@metric(target=("real", "count"), vmaps=True)
def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """As r2, but blind to a constant error: is the shape right, if not the level?

    Formula: 1 - variance(prediction - target) / variance(target) per output, then the mean over
             the outputs
    Shapes:  prediction [N, d], target [N, d] -> one number
    Range:   (-inf, 1], 1 is perfect; 0 is what any constant achieves
    Note:    for a target that never varies: 1 where the error does not either, else 0.
    """
    return _explained(_variation(_error(prediction, target)), _variation(_rows(target)))


def _rows(values: Tensor) -> Tensor:
    return double(values).flatten(1)


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return _rows(prediction) - _rows(target)


def _variation(values: Tensor) -> Tensor:
    """Return the sum of squares about the mean, per output: exactly 0 for what never varies."""
    centred = values - values.mean(dim=0)
    constant = values.max(dim=0).values == values.min(dim=0).values
    return torch.where(constant, 0.0, torch.square(centred).sum(dim=0))


def _explained(missed: Tensor, whole: Tensor) -> Tensor:
    """Return 1 - missed / whole, averaged over the outputs; 1 or 0 where `whole` is 0."""
    share = 1 - missed / torch.where(whole == 0, 1.0, whole)
    # Written with "not equal", so that an error that is not a number stays one.
    return torch.where((whole == 0) & (missed.isfinite()), (missed == 0).double(), share).mean()
