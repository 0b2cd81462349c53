"""What schedules share: the clock in float64, and shapes of a ramp from one rate to another."""

import math
from typing import Any, Literal

from lossbench.components.vocabulary import Applied
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch

Number = float | Tensor
"""A step, a length, a rate or a knob: a plain number, or a tensor that broadcasts."""

Anneal = Literal["cos", "linear"]


def double(value: Any) -> Tensor:
    """Return a number or tensor as a float64 tensor."""
    return torch.as_tensor(value, dtype=torch.float64)


def length(given: Number | None, total: Number | None, knob: str) -> Tensor:
    """Return the knob's length, or the run's where the knob is none.

    Raises UsageError where the run has none either.
    """
    if given is not None:
        return double(given)
    if total is None:
        raise UsageError(f"{knob} is not given, and neither is the length of the run")
    return double(total)


def cosine(share: Tensor) -> Tensor:
    """Return 1 at share 0, 0 at share 1, along half a cosine wave (and on along the wave)."""
    return (1 + torch.cos(math.pi * share)) / 2


def anneal(start: Number, end: Number, share: Tensor, shape: Anneal) -> Tensor:
    """Return what lies between start and end, by a cosine or a straight line."""
    if shape == "cos":
        return end + (start - end) * cosine(share)
    return (end - start) * share + start


def schedules_in(knob: Any, where: str) -> list[Applied]:
    """Return the schedules that a nested knob holds.

    Raises UsageError where it holds none, or one that watches a metric.
    """
    parts = list(knob)
    if not parts:
        raise UsageError(f"{where} needs at least one schedule")
    for part in parts:
        if part.facts.state is not None:
            raise UsageError(
                f"{part.name} cannot stand inside {where}: it goes by a metric, not by the step"
            )
    return parts
