"""Rates for a run of a known length: the whole course is laid out from the first step to the last.

The two that warm up go between three rates that are given; the last one only falls.
"""

from lossbench.components.schedules._clock import Anneal, Number, anneal, double, length
from lossbench.components.vocabulary import NonNegative, NonNegativeInt, PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


def _up_and_down(
    time: Tensor,
    end: Tensor,
    levels: tuple[Number, Tensor, Number],
    warmup_steps: int,
    shape: Anneal,
) -> Tensor:
    """Return the rate: along a line from the first level to the second, then to the third."""
    first, highest, last = levels
    rising = anneal(first, highest, time / max(1, warmup_steps), "linear")
    share = torch.clamp((time - warmup_steps) / torch.clamp(end - warmup_steps, min=1), 0, 1)
    return torch.where(time < warmup_steps, rising, anneal(highest, last, share, shape))


@schedule(unit="step", total="total_steps", chained="absolute")
def linear_warmup_cosine(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    max_lr: NonNegative | None = None,
    min_lr: NonNegative = 0.0,
    init_lr: NonNegative = 0.0,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
) -> Tensor:
    """Rise along a straight line from a first rate, then fall along half a cosine wave to a last.

    Formula:    i + (m - i) t / w where t < w, else e + (m - e) (1 + cos(pi s)) / 2,
                with s = (t - w) / (n - w), up to 1
    Knobs:
        max_lr: m, the highest rate; none for the optimizer's own.
        min_lr: e, the last rate.
        init_lr: i, the first rate.
        warmup_steps: w, steps of the rise.
        total_steps: n, the step at which the fall ends; none for the length of the run.
    Reference:  Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
                Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    highest = double(base) if max_lr is None else double(max_lr)
    end = length(total_steps, total, "total_steps")
    return _up_and_down(double(step), end, (init_lr, highest, min_lr), warmup_steps, "cos")


@schedule(unit="step", total="total_steps", chained="absolute")
def linear_warmup_linear(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    max_lr: NonNegative | None = None,
    min_lr: NonNegative = 0.0,
    init_lr: NonNegative = 0.0,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
) -> Tensor:
    """Rise along a straight line from a first rate, then fall along another one to a last.

    Formula:    i + (m - i) t / w where t < w, else m + (e - m) s,
                with s = (t - w) / (n - w), up to 1
    Knobs:
        max_lr: m, the highest rate; none for the optimizer's own.
        min_lr: e, the last rate.
        init_lr: i, the first rate.
        warmup_steps: w, steps of the rise.
        total_steps: n, the step at which the fall ends; none for the length of the run.
    Reference:  Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    highest = double(base) if max_lr is None else double(max_lr)
    end = length(total_steps, total, "total_steps")
    return _up_and_down(double(step), end, (init_lr, highest, min_lr), warmup_steps, "linear")


@schedule(unit="step", total="total_steps", chained="absolute")
def rex(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    max_lr: NonNegative | None = None,
    min_lr: NonNegative = 0.0,
    total_steps: PositiveInt | None = None,
) -> Tensor:
    """Fall slowly at first and faster and faster to the end: the reflection of an exponential fall.

    Formula:    e + (m - e) (1 - z) / (1/2 + (1 - z) / 2), with z = t / n, up to 1
    Knobs:
        max_lr: m, the first rate; none for the optimizer's own.
        min_lr: e, the last rate.
        total_steps: n, the step at which the fall ends; none for the length of the run.
    Reference:  Chen, Wolfe & Kyrillidis, REX: Revisiting Budgeted Training with an Improved
                Schedule, 2022.
    """
    highest = double(base) if max_lr is None else double(max_lr)
    left = 1 - torch.clamp(double(step) / length(total_steps, total, "total_steps"), max=1)
    return min_lr + (highest - min_lr) * left / (0.5 + 0.5 * left)
