"""What decides per trial, at every evaluation: is it the best so far, and is it time to stop."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class BestSoFar:
    """Follows one metric per trial: its best value and where that was."""

    lower_is_better: bool
    value: Array
    step: Array

    @classmethod
    def of(cls, trials: int, lower_is_better: bool) -> "BestSoFar":
        """Return the state before the first evaluation: any finite value will be better."""
        worst = np.inf if lower_is_better else -np.inf
        return cls(lower_is_better, np.full(trials, worst), np.zeros(trials, dtype=np.int64))

    def improved(self, values: Array, active: Array, step: int) -> Array:
        """Take an evaluation, and return which trials are better than ever before."""
        with np.errstate(invalid="ignore"):  # not a number is no improvement
            better = values < self.value if self.lower_is_better else values > self.value
        better = better & active
        self.value = np.where(better, values, self.value)
        self.step = np.where(better, step, self.step)
        return better

    def state(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"value": self.value.tolist(), "step": self.step.tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.value = np.array(state["value"], dtype=np.float64)
        self.step = np.array(state["step"], dtype=np.int64)


@dataclass
class Patience:
    """Counts per trial how many evaluations brought no improvement of at least `min_delta`."""

    patience: int
    min_delta: float
    lower_is_better: bool
    trials: int
    best: Array = field(init=False)
    waited: Array = field(init=False)

    def __post_init__(self) -> None:
        self.best = np.full(self.trials, np.inf if self.lower_is_better else -np.inf)
        self.waited = np.zeros(self.trials, dtype=np.int64)

    def exhausted(self, values: Array) -> Array:
        """Take an evaluation, and return which trials have waited long enough."""
        sign = 1.0 if self.lower_is_better else -1.0
        with np.errstate(invalid="ignore"):
            # The first finite value always counts: nothing is below infinity by a mere delta.
            gain = sign * (self.best - values)
            better = np.isfinite(values) & ((gain > self.min_delta) | np.isinf(self.best))
        self.best = np.where(better, values, self.best)
        self.waited = np.where(better, 0, self.waited + 1)
        return np.asarray(self.waited >= self.patience)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"best": self.best.tolist(), "waited": self.waited.tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.best = np.array(state["best"], dtype=np.float64)
        self.waited = np.array(state["waited"], dtype=np.int64)
