"""The learning rate of every trial at every step.

A schedule is a formula over the step, so all its rates are computed before training, in one call.
Only the one that watches a metric is followed as the run goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.components.rules import ScheduleFacts
from lossbench.components.vocabulary import Applied

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schedule:
    """A trial's schedule and what it counts."""

    applied: Applied
    unit: str

    @property
    def facts(self) -> ScheduleFacts:
        """What the schedule declares."""
        facts: ScheduleFacts = self.applied.facts
        return facts


class Rates:
    """Rates and momenta of a group: `at(step)` before step number `step` (from 1)."""

    def __init__(
        self,
        bases: Sequence[float],
        schedules: Sequence[Schedule | None],
        *,
        steps_per_epoch: int,
        epochs: int,
    ) -> None:
        self._schedules = list(schedules)
        self._bases = np.array(bases, dtype=np.float64)
        # Seeds share a rate and a schedule: each course is computed and kept once.
        courses: dict[Any, int] = {}
        keys = [_key(*pair) for pair in zip(range(len(bases)), bases, schedules, strict=True)]
        self._course = np.array([courses.setdefault(key, len(courses)) for key in keys])
        firsts = [keys.index(key) for key in courses]
        steps = steps_per_epoch * epochs
        self._table = np.broadcast_to(self._bases[firsts][:, None], (len(firsts), steps))
        if any(schedules):  # else one column serves all steps
            self._table = self._table.copy()
        self._momenta: Array | None = None
        self._watching: dict[int, dict[str, Any]] = {}
        for course, trial in enumerate(firsts):
            self._compute(course, trial, steps_per_epoch, epochs)

    def _compute(self, course: int, trial: int, steps_per_epoch: int, epochs: int) -> None:
        """Fill in a course with the schedule of a trial."""
        schedule = self._schedules[trial]
        if schedule is None:
            return
        if schedule.facts.state is not None:
            self._watching[trial] = schedule.facts.state()
            return
        steps = steps_per_epoch * epochs
        made, total = np.arange(steps), steps
        if schedule.unit != "step":
            made, total = made // steps_per_epoch, epochs
        at = torch.from_numpy(made.astype(np.float64))
        rates = schedule.applied(float(self._bases[trial]), at, total)
        self._table[course] = _whole(rates, steps)
        if schedule.facts.momentum is None:
            return
        value = schedule.facts.momentum(at, total, **schedule.applied.knobs)
        if value is not None:
            # All trials of a group cycle their momentum, or none does.
            if self._momenta is None:
                self._momenta = np.zeros_like(self._table)
            self._momenta[course] = _whole(value, steps)

    def row(self, first_step: int, count: int) -> Array:
        """Return the rates of `count` steps, [trials, count]."""
        found: Array = self._table[self._course, first_step - 1 : first_step - 1 + count]
        return found

    def at(self, step: int) -> float | Tensor:
        """Return the rate of a step: one number where all trials share it, else one for each.

        Those are [trials, 1], in double precision and on the host: neighbours that share theirs
        are then updated with the very number that each would have alone.
        """
        return self._column(self._table[:, step - 1])

    def momentum(self, step: int) -> float | Tensor | None:
        """Return the momentum that a schedule cycles, in the same form; none where it does not."""
        return None if self._momenta is None else self._column(self._momenta[:, step - 1])

    def _column(self, column: Array) -> float | Tensor:
        if len(column) == 1 or (column == column[0]).all():
            return float(column[0])
        return torch.from_numpy(column[self._course])[:, None]

    def observe(self, step: int, metric: Array) -> None:
        """Show the watched metric of each trial after `step`; later rates may change."""
        for trial, state in self._watching.items():
            schedule = self._schedules[trial]
            assert schedule is not None
            base = float(self._bases[trial])
            rate, self._watching[trial] = schedule.applied(base, state, float(metric[trial]))
            self._table[self._course[trial], step:] = float(rate)

    @property
    def watches(self) -> bool:
        """Whether some schedule waits for a metric."""
        return bool(self._watching)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs: the followed schedules, and their rate in force."""
        return {
            str(trial): {"state": dict(state), "rates": self._table[self._course[trial]].tolist()}
            for trial, state in self._watching.items()
        }

    def load(self, state: dict[str, Any], step: int) -> None:
        """Take a state that `state()` gave after `step`; a longer run goes on at the last rate."""
        for name, saved in state.items():
            course = self._course[int(name)]
            self._watching[int(name)] = dict(saved["state"])
            old = saved["rates"][: self._table.shape[1]]
            self._table[course, : len(old)] = old
            last = saved["rates"][min(step, len(saved["rates"]) - 1)]
            self._table[course, step:] = last


def _key(trial: int, base: float, schedule: Schedule | None) -> Any:
    """Return what two trials must share to have one course; who watches a metric has its own."""
    if schedule is None:
        return base
    if schedule.facts.state is not None:
        return trial, base
    return base, schedule.unit, repr(schedule.applied)


def _whole(values: Any, steps: int) -> Array:
    """Return a schedule's values as an array of one per step."""
    array = torch.as_tensor(values, dtype=torch.float64).numpy()
    return np.broadcast_to(array, (steps,)).copy()
