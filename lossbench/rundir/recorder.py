"""From the stream of events to the files of a run directory."""

import time
from collections import deque
from typing import Any

from lossbench.lazy import np
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.records import numbers, row_text
from lossbench.rundir.storage import Appender
from lossbench.training.events import (
    EpochDone,
    Evaluated,
    Event,
    Finished,
    SafePoint,
    StepsDone,
    TrialStopped,
)

_REMEMBERED = 5  # finite losses, for the explanation of one that is not
_TRIAL = 0  # a run directory holds a group of one


class Recorder:
    """Writes what a run says into its directory, and its checkpoints.

    Rows gather in memory and are written at safe points, so that the bytes on disk are those of a
    moment from which the run can go on. `metrics_bytes` and `timing_bytes` say how much of the
    files such a moment had written; what follows is cut off. `seconds` is what the run took so far.
    Raises BlockingIOError where another process is training this run, StorageError where the disk
    refuses.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        metrics_bytes: int = 0,
        timing_bytes: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self.directory = directory
        self.stopped: TrialStopped | None = None
        self.finished: Finished | None = None
        self.step = 0
        self.epoch = 0
        self.last_finite: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)
        self._metrics = Appender(directory.metrics, keep=metrics_bytes, claim=True)
        self._timing = Appender(directory.timing, keep=timing_bytes)
        self._metric_rows: list[str] = []
        self._timing_rows: list[str] = []
        self._seconds_before = seconds
        self._started = time.monotonic()
        self._saved = self._started

    @property
    def seconds(self) -> float:
        """What the run has taken so far, the sessions before this one included."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def since_checkpoint(self) -> float:
        """Seconds since the last checkpoint, or since the beginning."""
        return time.monotonic() - self._saved

    def record(self, event: Event) -> None:
        """Take an event in; safe points write what has gathered."""
        match event:
            case StepsDone():
                self._steps(event)
            case Evaluated():
                self._evaluation(event)
            case EpochDone():
                self._timing_rows.append(
                    f'{{"epoch": {event.epoch}, "step": {event.step}, '
                    f'"seconds": {event.seconds:.6f}}}\n'
                )
            case SafePoint():
                self.step, self.epoch = event.step, event.epoch
                self.flush()
            case TrialStopped():
                self.stopped = event
            case Finished():
                self.finished = event
                self.flush()

    def checkpoint(self, point: SafePoint, **more: Any) -> None:
        """Save everything needed to go on from this safe point."""
        self.flush()
        # The rows first: a checkpoint must not stand for rows that a loss of power can still take.
        self._metrics.sync()
        self._timing.sync()
        self.directory.write_checkpoint(
            {
                **more,
                "step": point.step,
                "epoch": point.epoch,
                "metrics_bytes": self._metrics.size,
                "timing_bytes": self._timing.size,
                "seconds": self.seconds,
                "state": point.state(),
            }
        )
        self._saved = time.monotonic()

    def flush(self) -> None:
        """Write what has gathered."""
        for file, rows in (
            (self._metrics, self._metric_rows),
            (self._timing, self._timing_rows),
        ):
            if rows:
                file.write("".join(rows).encode())
                rows.clear()

    def close(self) -> None:
        """Close the files, and give up the claim on the run."""
        self._metrics.close()
        self._timing.close()

    def _steps(self, event: StepsDone) -> None:
        values = event.losses[_TRIAL]
        losses = numbers(values)
        rates = numbers(np.broadcast_to(event.rates[_TRIAL], values.shape))
        active = np.broadcast_to(event.active[_TRIAL], values.shape).tolist()
        middle = f'"epoch": {event.epoch}, "split": "train"'
        step = event.first_step
        for step, loss, rate, counts in zip(
            range(event.first_step, event.first_step + len(losses)),
            losses,
            rates,
            active,
            strict=True,
        ):
            if counts:
                opening = f'"step": {step}, {middle}'
                self._metric_rows.append(row_text(opening, {"loss": loss, "lr": rate}))
        self.step, self.epoch = step, event.epoch
        self._remember(event)

    def _remember(self, event: StepsDone) -> None:
        losses = event.losses[_TRIAL]
        # From the whole block: what diverges early in an epoch has only NaN at the block's end.
        known = np.isfinite(losses) & np.broadcast_to(event.active[_TRIAL], losses.shape)
        self.last_finite.extend(
            (event.first_step + int(index), float(losses[index]))
            for index in np.flatnonzero(known)[-_REMEMBERED:]
        )

    def _evaluation(self, event: Evaluated) -> None:
        if not np.atleast_1d(event.active)[_TRIAL] and event.weights == "current":
            return
        opening = (
            f'"step": {event.step}, "epoch": {event.epoch}, "split": "{event.split}", '
            f'"weights": "{event.weights}"'
        )
        values = {
            name: numbers(np.atleast_1d(value)[_TRIAL])[0] for name, value in event.values.items()
        }
        self._metric_rows.append(row_text(opening, values))
