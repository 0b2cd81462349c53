"""Rates that rise along a line from 0, and what may come after the rise."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from lossbench.components.schedules._clock import Number, cosine, double, length
from lossbench.components.vocabulary import (
    NonNegative,
    NonNegativeInt,
    PositiveInt,
    Probability,
)
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


def _after_rise(base: Number, time: Tensor, warmup_steps: int, after: Tensor) -> Tensor:
    """Return the rate: along a line from 0 to the base, then what comes after it."""
    return torch.where(time < warmup_steps, double(base) * time / max(1, warmup_steps), after)


def _way(time: Tensor, start: Number, end: Tensor) -> Tensor:
    """Return which share of the way from start to end is done, from 0 to 1."""
    return torch.clamp((time - start) / torch.clamp(end - start, min=1), 0, 1)


@schedule(unit="step", aliases=("constant_schedule_with_warmup",), chained="absolute")
def constant_with_warmup(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    warmup_steps: NonNegativeInt = 0,
) -> Tensor:
    """Rise along a straight line from 0, then stay.

    Formula:    b t / w where t < w, else b
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
    Reference:  Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
    """
    time = double(step)
    return _after_rise(base, time, warmup_steps, double(base))


@schedule(
    unit="step", aliases=("linear_schedule_with_warmup",), total="total_steps", chained="absolute"
)
def linear_with_warmup(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
) -> Tensor:
    """Rise along a straight line from 0, then fall along another one to 0.

    Formula:    b t / w where t < w, else b max(0, n - t) / (n - w)
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        total_steps: n, the step at which the rate is 0; none for the length of the run.
    Reference:  Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language
                Understanding, 2019.
    """
    time, end = double(step), length(total_steps, total, "total_steps")
    falling = double(base) * (1 - _way(time, warmup_steps, end))
    return _after_rise(base, time, warmup_steps, falling)


@schedule(
    unit="step",
    aliases=("polynomial_decay_schedule_with_warmup",),
    total="total_steps",
    chained="absolute",
)
def polynomial_with_warmup(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
    lr_end: NonNegative = 1e-7,
    power: NonNegative = 1.0,
) -> Tensor:
    """Rise along a straight line from 0, then fall along a power of the time that is left.

    Formula:    b t / w where t < w, else e + (b - e) (1 - s)^p, with s = (t - w) / (n - w) up to 1
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        total_steps: n, the step at which the fall ends; none for the length of the run.
        lr_end: e, the rate at the end.
        power: p; 1 is a straight line, 2 falls fast and then slowly.
    Reference:  Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language
                Understanding, 2019.
    """
    time, end = double(step), length(total_steps, total, "total_steps")
    left = 1 - _way(time, warmup_steps, end)
    falling = torch.where(time < end, lr_end + (double(base) - lr_end) * left**power, lr_end)
    return _after_rise(base, time, warmup_steps, falling)


@schedule(
    unit="step",
    aliases=("cosine_with_hard_restarts_schedule_with_warmup",),
    total="total_steps",
    chained="absolute",
)
def cosine_hard_restarts_with_warmup(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    warmup_steps: NonNegativeInt = 0,
    total_steps: PositiveInt | None = None,
    num_cycles: PositiveInt = 1,
) -> Tensor:
    """Rise along a straight line from 0, then fall along half a cosine wave, again and again.

    Formula:    b t / w where t < w, else b (1 + cos(pi ((c s) mod 1))) / 2,
                with s = (t - w) / (n - w); 0 from n on
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        total_steps: n, the step at which the last wave ends; none for the length of the run.
        num_cycles: c, the number of waves; each begins at b and ends at 0.
    Reference:  Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    time, end = double(step), length(total_steps, total, "total_steps")
    span = torch.clamp(end - warmup_steps, min=1)
    # The remainder of whole numbers: of shares it could fall on the wrong side of a restart.
    share = torch.remainder(num_cycles * (time - warmup_steps), span) / span
    falling = torch.where(time < warmup_steps + span, double(base) * cosine(share), 0.0)
    return _after_rise(base, time, warmup_steps, falling)


@schedule(unit="step", aliases=("noam",), chained="absolute")
def inverse_sqrt(
    base: Number,
    step: Number,
    total: Number | None = None,  # noqa: ARG001 - every schedule is told it
    *,
    warmup_steps: PositiveInt = 4000,
    peak: bool = False,
) -> Tensor:
    """Rise along a straight line from 0, then fall as the square root of the step grows.

    Formula:    b min(t^-0.5, t w^-1.5); times sqrt(w) with `peak`
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        peak: let b be the highest rate, which is b / sqrt(w) otherwise.
    Note:       The paper's own base rate is the width of the model to the power of -0.5.
    Reference:  Vaswani et al., Attention Is All You Need, 2017.
    """
    time = double(step)
    falling = torch.clamp(time, min=1) ** -0.5
    rate = double(base) * torch.where(time < warmup_steps, time * warmup_steps**-1.5, falling)
    return rate * math.sqrt(warmup_steps) if peak else rate


Fall = Literal["cosine", "linear", "1-sqrt", "1-square"]

DECAY_SHARE = 0.1
"""The share of the run in which the rate falls, unless it is said in steps: as MiniCPM's."""


def _wsd_needs_total(knobs: Mapping[str, Any]) -> bool:
    """Tell whether the end of the fall depends on the length of the run."""
    told = knobs["stable_steps"] is not None and knobs["decay_steps"] is not None
    return knobs["total_steps"] is None and not told


def _left(share: Tensor, decay_type: Fall) -> Tensor:
    """Return what is left of the rate, from 1 to 0."""
    if decay_type == "cosine":
        return cosine(share)
    powers = {"linear": 1.0, "1-sqrt": 0.5, "1-square": 2.0}
    return 1 - share ** powers[decay_type]


@schedule(
    unit="step",
    aliases=("warmup_stable_decay",),
    total=_wsd_needs_total,
    chained="absolute",
)
def wsd(
    base: Number,
    step: Number,
    total: Number | None = None,
    *,
    warmup_steps: NonNegativeInt = 0,
    stable_steps: NonNegativeInt | None = None,
    decay_steps: NonNegativeInt | None = None,
    total_steps: PositiveInt | None = None,
    min_lr_ratio: Probability = 0.0,
    decay_type: Fall = "cosine",
) -> Tensor:
    """Warm up, stay, and fall only at the very end: the long middle may be as long as one likes.

    Formula:    b t / w where t < w; b up to step n - d; then b (m + (1 - m) f(s)) with
                s = (t - n + d) / d and f(s) = (1 + cos(pi s)) / 2, 1 - s, 1 - sqrt(s) or 1 - s^2
    Knobs:
        warmup_steps: w, steps of the rise; the very first step then has rate 0.
        stable_steps: steps in between; none for all that rise and fall leave of the run.
        decay_steps: d, steps of the fall; none for a tenth of the run, or for what is left of it
            where stable_steps says when the fall begins.
        total_steps: n, the step at which the fall ends; none for the length of the run. It counts
            only where stable_steps or decay_steps is none.
        min_lr_ratio: m, the share of the rate that is left at the end.
        decay_type: the way down.
    Reference:  Hu et al., MiniCPM: Unveiling the Potential of Small Language Models with Scalable
                Training Strategies, 2024.
    """
    time = double(step)
    if stable_steps is None:
        end = length(total_steps, total, "total_steps")
        fall = DECAY_SHARE * end if decay_steps is None else double(decay_steps)
        begin = torch.clamp(end - fall, min=warmup_steps)
    else:
        begin = double(warmup_steps + stable_steps)
        whole = decay_steps is None
        end = length(total_steps, total, "total_steps") if whole else begin + double(decay_steps)
    left = torch.where(time < end, _left(_way(time, begin, end), decay_type), 0.0)
    falling = double(base) * (min_lr_ratio + (1 - min_lr_ratio) * left)
    after = torch.where(time < begin, double(base), falling)
    return _after_rise(base, time, warmup_steps, after)
