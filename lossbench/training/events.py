"""What the training loop says while it works.

The loop yields these values; whoever wants to watch iterates. Every array has one entry per trial
of the group (a single run is a group of one), on the host.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.lazy import np


@dataclass(frozen=True)
class StepsDone:
    """Some steps were made: `losses[trial, i]` is the loss of the batch of step `first_step + i`.

    Steps count from 1; `epoch` is the one they belong to, from 1. `rates` are the learning rates
    in force. `active[trial, i]` is false where the trial had already stopped.
    """

    first_step: int
    epoch: int
    losses: "np.ndarray[Any, Any]"
    rates: "np.ndarray[Any, Any]"
    active: "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Evaluated:
    """A split was evaluated with the weights after `step`: values[metric][trial].

    `weights` says which: those of this moment ("current"), at the end also the "best" ones.
    """

    step: int
    epoch: int
    split: str
    values: Mapping[str, "np.ndarray[Any, Any]"]
    active: "np.ndarray[Any, Any]"
    weights: str = "current"


@dataclass(frozen=True)
class EpochDone:
    """An epoch ended, with its evaluation; `seconds` is what it took."""

    epoch: int
    step: int
    seconds: float


@dataclass(frozen=True)
class TrialStopped:
    """A trial came to its end before the others.

    `reason` is "diverged" or "early_stopping"; `step` is where (for divergence the first step
    whose loss was not finite), `detail` says it in words.
    """

    trial: int
    step: int
    epoch: int
    reason: str
    detail: str


@dataclass(frozen=True)
class SafePoint:
    """A moment at which the run may be saved or left; `state()` copies all that it needs.

    The state holds tensors, numbers, strings, lists and dicts only (`weights_only=True` loads it).
    """

    step: int
    epoch: int
    state: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Finished:
    """Training is over.

    `best` and `final` give a trial's weights by name (those that were best on the monitored
    metric, and the last ones); best_step[trial] is where the best ones were.
    """

    step: int
    epoch: int
    best_step: "np.ndarray[Any, Any]"
    best: Callable[[int], dict[str, Any]]
    final: Callable[[int], dict[str, Any]]


Event = StepsDone | Evaluated | EpochDone | TrialStopped | SafePoint | Finished
