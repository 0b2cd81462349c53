"""Rates that begin low: the first steps are taken where nothing is known yet."""

from typing import Annotated

from annotated_types import Gt, Le

from lossbench.components.schedules._clock import Number, cosine, double, length
from lossbench.components.vocabulary import NonNegative, NonNegativeInt, PositiveInt, Probability
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


@schedule(kernel="torch.optim.lr_scheduler.ConstantLR", total="total_iters")
def constant(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    factor: Probability = 1 / 3,
    total_iters: PositiveInt | None = 5,
) -> Tensor:
    """Hold the rate at a share of itself for some epochs, then let it go.

    Formula:    b factor where t < n, else b
    Knobs:
        factor: the share.
        total_iters: n, the number of epochs; none for the length of the run.
    Reference:  Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    held = double(step) < length(total_iters, total, "total_iters")
    return double(base) * torch.where(held, double(factor), 1.0)


@schedule(kernel="torch.optim.lr_scheduler.LinearLR", total="total_iters")
def linear(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    start_factor: Annotated[float, Gt(0), Le(1)] = 1 / 3,
    end_factor: Probability = 1.0,
    total_iters: PositiveInt | None = 5,
) -> Tensor:
    """Go along a straight line from one share of the rate to another, then stay there.

    Formula:    b (s + (e - s) min(t, n) / n)
    Knobs:
        start_factor: s, the share at the start.
        end_factor: e, the share at the end.
        total_iters: n, epochs from start to end; none for the length of the run.
    Reference:  Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    end = length(total_iters, total, "total_iters")
    share = torch.minimum(double(step), end) / end
    return double(base) * (start_factor + (end_factor - start_factor) * share)


@schedule(
    unit="step",
    aliases=("cosine_schedule_with_warmup",),
    total="total_steps",
    chained="absolute",
)
def cosine_with_warmup(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
    num_cycles: NonNegative = 0.5,
) -> Tensor:
    """Rise along a straight line from 0, then fall to 0 along half a cosine wave.

    Formula:    b t / w where t < w,
                else b max(0, (1 + cos(2 pi c (t - w) / (n - w))) / 2)
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        total_steps: n, the step at which the wave ends; none for the length of the run.
        num_cycles: c, waves of the fall: 0.5 ends at 0.
    Reference:  Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
                Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    time, end = double(step), length(total_steps, total, "total_steps")
    rising = time / max(1, warmup_steps)
    share = (time - warmup_steps) / torch.clamp(end - warmup_steps, min=1)
    falling = torch.clamp(cosine(2 * num_cycles * share), min=0)
    return double(base) * torch.where(time < warmup_steps, rising, falling)
