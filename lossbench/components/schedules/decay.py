"""Rates that fall (or rise) along a curve of the step."""

from collections.abc import Callable

from lossbench.components.schedules._clock import (
    Anneal,
    Number,
    anneal,
    cosine,
    double,
    length,
)
from lossbench.components.vocabulary import NonNegative, NonNegativeInt, Positive, PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


@schedule(name="step", kernel="torch.optim.lr_scheduler.StepLR")
def step_decay(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    step_size: PositiveInt,
    gamma: Positive = 0.1,
) -> Tensor:
    """Lower the rate by a factor after every so many epochs.

    Formula:    b gamma^floor(t / step_size)
    Knobs:
        step_size: epochs from one fall to the next.
        gamma: factor of each fall.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.StepLR.
    """
    return double(base) * gamma ** torch.floor(double(step) / step_size)


@schedule(kernel="torch.optim.lr_scheduler.MultiStepLR")
def multi_step(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    milestones: tuple[NonNegativeInt, ...],
    gamma: Positive = 0.1,
) -> Tensor:
    """Lower the rate by a factor at each of the named epochs.

    Formula:    b gamma^(number of milestones <= t)
    Knobs:
        milestones: the epochs; one that is named twice counts twice.
        gamma: factor of each fall.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.MultiStepLR.
    """
    time = double(step)
    passed = torch.zeros_like(time)
    for milestone in milestones:
        passed = passed + (time >= milestone)
    return double(base) * gamma**passed


@schedule(kernel="torch.optim.lr_scheduler.ExponentialLR")
def exponential(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    gamma: Positive,
) -> Tensor:
    """Lower the rate by the same factor every epoch.

    Formula:    b gamma^t
    Knobs:
        gamma: factor of each epoch.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.ExponentialLR.
    """
    return double(base) * gamma ** double(step)


@schedule(kernel="torch.optim.lr_scheduler.PolynomialLR", total="total_iters")
def polynomial(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    total_iters: PositiveInt | None = 5,
    power: NonNegative = 1.0,
) -> Tensor:
    """Lower the rate to 0 along a power of the time that is left.

    Formula:    b (1 - min(t, n) / n)^power
    Knobs:
        total_iters: n, the epoch at which the rate is 0; none for the length of the run.
        power: 1 is a straight line, 2 falls fast and then slowly.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.PolynomialLR.
    """
    end = length(total_iters, total, "total_iters")
    return double(base) * (1 - torch.minimum(double(step), end) / end) ** power


def _cosine_line(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    T_max: PositiveInt | None = None,  # noqa: N803 - torch's name
    eta_min: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return what torch's recursion makes of the rate that it finds: slope and offset."""
    time, end = double(step), length(T_max, total, "T_max")
    # At its minimum 1 + cos is 0, and nothing could be multiplied up again: torch adds instead.
    rises = (time > 0) & (torch.remainder(time - 1 - end, 2 * end) == 0)
    before = cosine((time - 1) / end)
    slope = torch.where(rises | (time == 0), 1.0, cosine(time / end) / before)
    rise = (double(base) - eta_min) * (1 - cosine(1 / end))
    return slope, torch.where(rises, rise, (1 - slope) * eta_min)


@schedule(kernel="torch.optim.lr_scheduler.CosineAnnealingLR", total="T_max", chained=_cosine_line)
def cosine_annealing(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    T_max: PositiveInt | None = None,  # noqa: N803 - torch's name
    eta_min: float = 0.0,
) -> Tensor:
    """Lower the rate along half a cosine wave: slowly, then fast, then slowly.

    Formula:    e + (b - e) (1 + cos(pi t / T)) / 2
    Knobs:
        T_max: T, the epoch at which the rate is lowest; none for the length of the run.
        eta_min: e, the lowest rate.
    Note:       Beyond T the rate rises again along the wave, as in torch.
    Reference:  Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    end = length(T_max, total, "T_max")
    return eta_min + (double(base) - eta_min) * cosine(double(step) / end)


def _anneal_share(step: Number, epochs: int, strategy: Anneal) -> Tensor:
    """Return how far the rate has come on its way to the final one."""
    time = double(step)
    share = torch.clamp(time / epochs, 0, 1) if epochs else torch.ones_like(time)
    return anneal(0.0, 1.0, share, strategy)


def _swa_line(
    base: Number,  # noqa: ARG001 - the signature is that of every schedule
    step: Number,
    total: Number | None = None,  # noqa: ARG001
    *,
    swa_lr: NonNegative,
    anneal_epochs: NonNegativeInt = 10,
    anneal_strategy: Anneal = "cos",
) -> tuple[Tensor, Tensor]:
    """Return what torch's recursion makes of the rate that it finds: slope and offset."""
    left = 1 - _anneal_share(step, anneal_epochs, anneal_strategy)
    before = 1 - _anneal_share(double(step) - 1, anneal_epochs, anneal_strategy)
    slope = torch.where(before > 0, left / before, 0.0)
    return slope, (1 - slope) * swa_lr


@schedule(kernel="torch.optim.swa_utils.SWALR", chained=_swa_line, continues=True)
def swa_lr(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    swa_lr: NonNegative,
    anneal_epochs: NonNegativeInt = 10,
    anneal_strategy: Anneal = "cos",
) -> Tensor:
    """Go from the rate in force to a constant one, at which weights are then averaged.

    Formula:    b (1 - a) + swa_lr a, with s = min(t / n, 1) and a = s or (1 - cos(pi s)) / 2
    Knobs:
        swa_lr: the final rate.
        anneal_epochs: n, epochs on the way to it.
        anneal_strategy: the way: cos, or linear.
    Note:       Behind other schedules in a `sequential` it starts from the rate that it finds.
    Reference:  Izmailov et al., Averaging Weights Leads to Wider Optima and Better
                Generalization, 2018.
    """
    share = _anneal_share(step, anneal_epochs, anneal_strategy)
    return swa_lr * share + double(base) * (1 - share)


_PYTHON_ONLY = "a function of the epoch cannot be written in YAML; lossbench's Python API takes it"


def _values(function: Callable[[int], float], step: Tensor) -> Tensor:
    """Return the function's value at every step, in the shape of `step`."""
    found = [float(function(int(time))) for time in step.flatten().tolist()]
    return double(found).reshape(step.shape).to(step.device)


@schedule(
    name="lambda",
    kernel="torch.optim.lr_scheduler.LambdaLR",
    chained="absolute",
    python_only=_PYTHON_ONLY,
)
def lambda_(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    lr_lambda: Callable[[int], float],
) -> Tensor:
    """Multiply the rate by a function of the epoch.

    Formula:    b f(t)
    Knobs:
        lr_lambda: f, a Python function of the epoch.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.LambdaLR.
    """
    return double(base) * _values(lr_lambda, double(step))


@schedule(kernel="torch.optim.lr_scheduler.MultiplicativeLR", python_only=_PYTHON_ONLY)
def multiplicative(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    lr_lambda: Callable[[int], float],
) -> Tensor:
    """Multiply the rate of the epoch before by a function of the epoch.

    Formula:    b f(1) f(2) ... f(t)
    Knobs:
        lr_lambda: f, a Python function of the epoch.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.MultiplicativeLR.
    """
    time = double(step)
    last = int(time.max()) if time.numel() else 0
    factors = [1.0, *(float(lr_lambda(epoch)) for epoch in range(1, last + 1))]
    products = torch.cumprod(double(factors), dim=0).to(time.device)
    return double(base) * products[time.long().clamp(min=0)]
