"""The training loop, to be read from top to bottom.

It runs epochs of steps and says what happens; it writes nothing, prints nothing, and knows
neither the network nor the way the step is computed. Whoever wants to watch iterates.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.plugins import user_code
from lossbench.training.events import (
    EpochDone,
    Evaluated,
    Event,
    Finished,
    SafePoint,
    StepsDone,
    TrialStopped,
)
from lossbench.training.generators import load_random_state, random_state
from lossbench.training.job import Job
from lossbench.training.watch import BestSoFar, Patience

WATCH_SECONDS = 0.25
"""How long losses may stay on the device before they are shown. What is recorded does not depend
on it: only how many steps come in one piece."""


def train(job: Job, state: dict[str, Any] | None = None) -> Iterator[Event]:
    """Train a group of trials, and yield what happens.

    With the state of a SafePoint, go on from there exactly as if there had been no break.
    """
    with _threads(job.plan.threads), user_code(*job.specs[0].own_files()):
        progress = _Progress(job)
        if state is not None:
            progress.load(state)
        yield from progress.run()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Progress:
    """Where a group stands: what has been made, and who is still in it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        trials = job.step.trials
        self.step = 0  # steps made
        self.epoch = 1  # the epoch that the next step belongs to
        self.active = np.ones(trials, dtype=bool)
        self.diverged = np.zeros(trials, dtype=bool)
        lower = job.metrics.lower_is_better()
        self.monitor = job.monitor  # "loss" of the validation split, or another of its metrics
        self.best = None if job.monitor is None else BestSoFar.of(trials, lower[job.monitor])
        stop = job.early_stopping
        self.patience = (
            None
            if stop is None
            else Patience(stop.patience, stop.min_delta, lower[stop.metric], trials)
        )

    def run(self) -> Iterator[Event]:
        job = self.job
        while self.epoch <= job.epochs and self.active.any():
            started = time.perf_counter()
            yield from self._steps_of_epoch()
            if not self.active.any():
                break
            yield from self._evaluate_epoch()
            yield EpochDone(self.epoch, self.step, time.perf_counter() - started)
            self.epoch += 1
            yield SafePoint(self.step, self.epoch - 1, self.state)
        yield from self._finish()

    def _steps_of_epoch(self) -> Iterator[Event]:
        job = self.job
        made = self.step - (self.epoch - 1) * job.order.steps_per_epoch
        losses: list[Tensor] = []
        shown = time.perf_counter()
        for batches in job.order.epoch(self.epoch, first=made):
            self.step += 1
            rate = job.rates.at(self.step)
            momentum = job.rates.momentum(self.step)
            losses.append(job.step.train(batches, self.step, rate, momentum))
            if time.perf_counter() - shown < WATCH_SECONDS:
                continue
            yield from self._show(losses)
            losses, shown = [], time.perf_counter()
            if not self.active.any():
                return
            yield SafePoint(self.step, self.epoch, self.state)
        yield from self._show(losses)

    def _show(self, losses: list[Tensor]) -> Iterator[Event]:
        """Bring the losses of the last steps to the host, and stop the trials that diverged."""
        if not losses:
            return
        values = torch.stack(losses, dim=1).float().cpu().numpy()
        count = values.shape[1]
        first = self.step - count + 1
        finite = np.isfinite(values)
        # A trial's steps count up to and with the first whose loss was not finite.
        ended = np.where(finite.all(axis=1), count, np.argmin(finite, axis=1) + 1)
        counted = self.active[:, None] & (np.arange(count) < ended[:, None])
        yield StepsDone(first, self.epoch, values, self.job.rates.row(first, count), counted)
        for trial in np.flatnonzero(self.active & ~finite.all(axis=1)):
            at = first + int(ended[trial]) - 1
            detail = f"the loss of step {at} was {values[trial, ended[trial] - 1]}"
            self.diverged[trial] = True
            self._stop(int(trial))
            yield TrialStopped(int(trial), at, self.epoch, "diverged", detail)

    def _stop(self, trial: int) -> None:
        """Take a trial out: its weights stay as they are, the others do not notice."""
        self.active[trial] = False
        self.job.step.freeze(trial)

    def _evaluate_epoch(self) -> Iterator[Event]:
        job = self.job
        if self.epoch % job.evaluate_every and self.epoch != job.epochs:
            return
        values: dict[str, Any] = {}
        if "validation" in job.splits:
            values = self._values("validation")
            yield Evaluated(self.step, self.epoch, "validation", values, self.active.copy())
        if self.best is not None and self.monitor is not None:
            better = self.best.improved(values[self.monitor], self.active, self.step)
            if better.any():
                job.step.keep_best(torch.from_numpy(better))
        if job.rates.watches:
            job.rates.observe(self.step, values[job.watched])
        if self.patience is not None and job.early_stopping is not None:
            metric = job.early_stopping.metric
            for trial in np.flatnonzero(self.patience.exhausted(values[metric]) & self.active):
                detail = (
                    f"validation/{metric} has not improved for {self.patience.patience} evaluations"
                )
                self._stop(int(trial))
                yield TrialStopped(int(trial), self.step, self.epoch, "early_stopping", detail)

    def _values(self, split: str, best: bool = False) -> dict[str, Any]:
        """Return the loss and every metric of a split, per trial.

        The outputs of some trials are judged before those of the next are computed: all of them
        may be more than fit into memory.
        """
        job, targets = self.job, self.job.targets[split]
        parts: dict[str, list[Any]] = {"loss": []} | {name: [] for name in job.metrics.names()}
        for evaluation in job.step.evaluations(job.splits[split], best):
            parts["loss"].append(evaluation.loss.float().cpu().numpy())
            for name, row in job.metrics.compute(evaluation.outputs, targets).items():
                parts[name].append(np.array(row))
        return {name: np.concatenate(rows) for name, rows in parts.items()}

    def _finish(self) -> Iterator[Event]:
        """Look at the whole training split, and once at the test split with the best weights."""
        job, whole = self.job, ~self.diverged
        epoch = max(1, -(-self.step // job.steps_per_epoch))  # the one that the last step was in
        if whole.any():
            values = self._values("train")
            yield Evaluated(self.step, epoch, "train", values, whole.copy())
            # The loss of a step is that before its update: only here the last update is seen.
            for trial in np.flatnonzero(whole & ~np.isfinite(values["loss"])):
                loss = values["loss"][trial]
                detail = f"the loss of the whole training split was {loss} after step {self.step}"
                self.diverged[trial], whole[trial] = True, False
                yield TrialStopped(int(trial), self.step, epoch, "diverged", detail)
        if whole.any() and "test" in job.splits:
            best = self.best is not None
            weights = "best" if best else "current"
            values = self._values("test", best)
            yield Evaluated(self.step, epoch, "test", values, whole, weights)
        best_step = np.full(len(whole), self.step) if self.best is None else self.best.step
        yield Finished(self.step, epoch, best_step, self._best_weights, job.step.weights)

    def _best_weights(self, trial: int) -> dict[str, Tensor]:
        return self.job.step.weights(trial, best=self.best is not None)

    def state(self) -> dict[str, Any]:
        """Return all that a resume needs: tensors, numbers, text, lists and dicts only."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "active": self.active.tolist(),
            "diverged": self.diverged.tolist(),
            "best": None if self.best is None else self.best.state(),
            "patience": None if self.patience is None else self.patience.state(),
            "rates": self.job.rates.state(),
            "model": self.job.step.state(),
            "random": random_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave; an epoch that had ended is not begun again."""
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        self.active = np.array(state["active"], dtype=bool)
        self.diverged = np.array(state["diverged"], dtype=bool)
        if self.best is not None and state["best"] is not None:
            self.best.load(state["best"])
        if self.patience is not None and state["patience"] is not None:
            self.patience.load(state["patience"])
        self.job.rates.load(state["rates"], self.step)
        self.job.step.load(state["model"])
        load_random_state(state["random"])
