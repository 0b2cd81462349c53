"""The schedule that watches a metric instead of the clock."""

import math
from typing import Any, Literal

from lossbench.components.rules import State
from lossbench.components.schedules._clock import Number
from lossbench.components.vocabulary import Decay, NonNegative, NonNegativeInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import schedule


def _first() -> dict[str, Any]:
    """Return the state before the first epoch: nothing seen, no rate set."""
    return {
        "rate": _host(math.nan),
        "best": _host(math.inf),
        "bad_epochs": _host(0),
        "cooldown_left": _host(0),
    }


def _host(value: Any) -> Tensor:
    """Return a float64 tensor on the host: a rate is a number or one per trial, never on a GPU."""
    return torch.as_tensor(value, dtype=torch.float64, device="cpu")


@schedule(kernel="torch.optim.lr_scheduler.ReduceLROnPlateau", state=_first)
def reduce_on_plateau(
    base: Number,
    state: State,
    metric: Number,
    *,
    mode: Literal["min", "max"] = "min",
    factor: Decay = 0.1,
    patience: NonNegativeInt = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: NonNegativeInt = 0,
    min_lr: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
) -> tuple[Tensor, State]:
    """Lower the rate when a metric has stopped improving.

    Formula:    r = max(r factor, min_lr) after more than `patience` epochs in a row without a new
                best, unless that changes r by no more than eps; r = b at first
    Shapes:     metric: a number, or one per trial -> rates of the same shape
    Knobs:
        mode: whether a small metric is good (min) or a large one (max).
        factor: factor of each fall.
        patience: epochs without a new best that are borne.
        threshold: how much better a new best must be.
        threshold_mode: the threshold as a share of the best (rel), or as it is (abs).
        cooldown: epochs after a fall in which nothing is counted.
        min_lr: the lowest rate.
        eps: the smallest fall.
    Note:       A metric that is not a number is no new best.
    Reference:  PyTorch developers, torch.optim.lr_scheduler.ReduceLROnPlateau.
    """
    # With the sign turned for `max`, small is always good; a relative threshold turns with it.
    sign = 1.0 if mode == "min" else -1.0
    score, best = sign * _host(metric), state["best"]
    bar = best * (1 - sign * threshold) if threshold_mode == "rel" else best - threshold
    better = score < bar
    bad_epochs = torch.where(better, 0.0, state["bad_epochs"] + 1)
    cooling = state["cooldown_left"] > 0
    cooldown_left = state["cooldown_left"] - cooling.double()
    bad_epochs = torch.where(cooling, 0.0, bad_epochs)

    rate = torch.where(torch.isnan(state["rate"]), _host(base), state["rate"])
    falls = bad_epochs > patience
    lower = torch.clamp(rate * factor, min=min_lr)
    rate = torch.where(falls & (rate - lower > eps), lower, rate)
    return rate, {
        "rate": rate,
        "best": torch.where(better, score, best),
        "bad_epochs": torch.where(falls, 0.0, bad_epochs),
        "cooldown_left": torch.where(falls, float(cooldown), cooldown_left),
    }
