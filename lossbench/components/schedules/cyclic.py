"""Rates that rise and fall again, some of them with the momentum in the opposite direction."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from lossbench.components.schedules._clock import Anneal, Number, anneal, cosine, double, length
from lossbench.components.vocabulary import Decay, NonNegative, Positive, PositiveInt, Probability
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


@schedule(kernel="torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", chained="absolute")
def cosine_warm_restarts(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    T_0: PositiveInt,  # noqa: N803 - torch's name
    T_mult: PositiveInt = 1,  # noqa: N803 - torch's name
    eta_min: float = 0.0,
) -> Tensor:
    """Fall along half a cosine wave and jump back up, again and again, in longer and longer waves.

    Formula:    e + (b - e) (1 + cos(pi c / T)) / 2, with c epochs since the last restart;
                T is T_0 at first and T_mult times as long after every restart
    Knobs:
        T_0: length of the first wave.
        T_mult: factor from one wave's length to the next.
        eta_min: e, the lowest rate.
    Reference:  Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    time = double(step)
    if T_mult == 1:
        share = torch.remainder(time, T_0) / T_0
    else:
        # Wave n begins at T_0 (T_mult^n - 1) / (T_mult - 1). The logarithm may fall on either
        # side of a whole number there: half an epoch more keeps it on the right one.
        waves = torch.log((time + 0.5) / T_0 * (T_mult - 1) + 1) / math.log(T_mult)
        stretch = T_mult ** torch.floor(waves)
        share = (time - T_0 * (stretch - 1) / (T_mult - 1)) / (T_0 * stretch)
    return eta_min + (double(base) - eta_min) * cosine(share)


Mode = Literal["triangular", "triangular2", "exp_range"]


def _height(
    step: Number, step_size_up: int, step_size_down: int | None, mode: Mode, gamma: Number
) -> Tensor:
    """Return where between its two ends a cycling value stands, from 0 to 1."""
    time = double(step)
    period = float(step_size_up + (step_size_up if step_size_down is None else step_size_down))
    turn = step_size_up / period
    cycle = torch.floor(1 + time / period)
    place = 1 + time / period - cycle
    height = torch.where(place <= turn, place / turn, (place - 1) / (turn - 1))
    if mode == "triangular2":
        return height * 0.5 ** (cycle - 1)
    return height * gamma**time if mode == "exp_range" else height


def _cyclic_momentum(
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    step_size_up: int,
    step_size_down: int | None,
    mode: Mode,
    gamma: Number,
    cycle_momentum: bool,
    base_momentum: Number,
    max_momentum: Number,
    **knobs: Any,  # noqa: ARG001 - those of the rate
) -> Tensor | None:
    """Return the momentum: highest where the rate is lowest."""
    if not cycle_momentum:
        return None
    height = _height(step, step_size_up, step_size_down, mode, gamma)
    return max_momentum - (max_momentum - base_momentum) * height


@schedule(
    kernel="torch.optim.lr_scheduler.CyclicLR",
    unit="step",
    momentum=_cyclic_momentum,
    chained="absolute",
)
def cyclic(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    base_lr: NonNegative | None = None,
    max_lr: NonNegative,
    step_size_up: PositiveInt = 2000,
    step_size_down: PositiveInt | None = None,
    mode: Mode = "triangular",
    gamma: Positive = 1.0,
    cycle_momentum: bool = True,  # noqa: ARG001 - see _cyclic_momentum
    base_momentum: Decay = 0.8,  # noqa: ARG001
    max_momentum: Decay = 0.9,  # noqa: ARG001
) -> Tensor:
    """Go up and down between two rates along straight lines, and the momentum the other way.

    Formula:    l + (max_lr - l) h k, with h rising from 0 to 1 in step_size_up steps, then falling
                k = 1, 1 / 2^(number of cycles before) for triangular2, gamma^t for exp_range
                momentum = max_momentum - (max_momentum - base_momentum) h k
    Knobs:
        base_lr: l, the lower rate; none for the optimizer's own.
        max_lr: the upper rate of the first cycle.
        step_size_up: steps from the lower rate to the upper one.
        step_size_down: steps back; none for as many.
        mode: triangular; triangular2, half as high every cycle; exp_range, lower every step.
        gamma: factor of exp_range.
        cycle_momentum: whether the momentum (for Adam betas[0]) cycles as well.
        base_momentum: the momentum at the upper rate.
        max_momentum: the momentum at the lower rate.
    Note:       torch's scale_fn, a function of one's own, cannot be written in YAML: see `lambda`.
    Reference:  Smith, Cyclical Learning Rates for Training Neural Networks, 2017.
    """
    low = double(base) if base_lr is None else double(base_lr)
    return low + (max_lr - low) * _height(step, step_size_up, step_size_down, mode, gamma)


def _through_phases(
    step: Number,
    end: Tensor,
    levels: Sequence[Number],
    *,
    pct_start: Number,
    three_phase: bool,
    strategy: Anneal,
) -> Tensor:
    """Return the value that goes from each level to the next, phase by phase."""
    time = double(step)
    ends = [pct_start * end - 1, *([2 * pct_start * end - 2] if three_phase else []), end - 1]
    begins = [torch.zeros_like(end), *ends[:-1]]
    value = None
    # From the last phase to the first: the first one that has not ended yet is the one that counts.
    for number in reversed(range(len(ends))):
        span = ends[number] - begins[number]
        share = torch.where(span == 0, 1.0, (time - begins[number]) / span)
        here = anneal(levels[number], levels[number + 1], torch.clamp(share, max=1), strategy)
        value = here if value is None else torch.where(time <= ends[number], here, value)
    assert value is not None
    return value


def _one_cycle_momentum(
    step: Number,
    total: Number | None = None,
    *,
    total_steps: int | None,
    pct_start: Number,
    anneal_strategy: Anneal,
    cycle_momentum: bool,
    base_momentum: Number,
    max_momentum: Number,
    three_phase: bool,
    **knobs: Any,  # noqa: ARG001 - those of the rate
) -> Tensor | None:
    """Return the momentum: lowest where the rate is highest."""
    if not cycle_momentum:
        return None
    levels = [max_momentum, base_momentum, max_momentum, *([max_momentum] if three_phase else [])]
    return _through_phases(
        step,
        length(total_steps, total, "total_steps"),
        levels,
        pct_start=pct_start,
        three_phase=three_phase,
        strategy=anneal_strategy,
    )


@schedule(
    kernel="torch.optim.lr_scheduler.OneCycleLR",
    unit="step",
    total="total_steps",
    momentum=_one_cycle_momentum,
    chained="absolute",
)
def one_cycle(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    max_lr: NonNegative | None = None,
    total_steps: PositiveInt | None = None,
    pct_start: Probability = 0.3,
    anneal_strategy: Anneal = "cos",
    cycle_momentum: bool = True,  # noqa: ARG001 - see _one_cycle_momentum
    base_momentum: Decay = 0.85,  # noqa: ARG001
    max_momentum: Decay = 0.95,  # noqa: ARG001
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    three_phase: bool = False,
) -> Tensor:
    """Rise once to a high rate and fall to almost none, with the momentum the other way.

    Formula:    m / d up to m until step pct_start n - 1, then down to m / (d f) at step n - 1
                three_phase: down to m / d as long as up, then down to m / (d f)
                along half a cosine wave, or a straight line
                momentum = max_momentum down to base_momentum, and up again
    Knobs:
        max_lr: m, the highest rate; none for the optimizer's own.
        total_steps: n, the number of steps; none for the length of the run.
        pct_start: share of the steps on the way up.
        anneal_strategy: the way: cos, or linear.
        cycle_momentum: whether the momentum (for Adam betas[0]) cycles as well.
        base_momentum: the momentum at the highest rate.
        max_momentum: the momentum at the start and at the end.
        div_factor: d, how many times lower the first rate is.
        final_div_factor: f, how many times lower still the last rate is.
        three_phase: fall as the rate rose, before the last fall.
    Note:       Beyond step n - 1 the rate stays where it is; torch raises an error there.
    Reference:  Smith & Topin, Super-Convergence: Very Fast Training of Neural Networks Using
                Large Learning Rates, 2019.
    """
    peak = double(base) if max_lr is None else double(max_lr)
    low = peak / div_factor
    levels = [low, peak, *([low] if three_phase else []), low / final_div_factor]
    return _through_phases(
        step,
        length(total_steps, total, "total_steps"),
        levels,
        pct_start=pct_start,
        three_phase=three_phase,
        strategy=anneal_strategy,
    )
