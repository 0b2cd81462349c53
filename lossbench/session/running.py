"""A run while it is trained: its events are recorded, saved in time, and brought to an end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench._version import __version__
from lossbench.config.spec import RunSpec
from lossbench.errors import DivergedError, InterruptedRunError, RunError, StorageError
from lossbench.lazy import LazyModule
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.recorder import Recorder
from lossbench.rundir.runs import Run
from lossbench.rundir.summary import summarize
from lossbench.session.continuation import bound_to_length
from lossbench.session.divergence import causes
from lossbench.session.interrupts import Interrupts
from lossbench.training.events import Event, SafePoint

if TYPE_CHECKING:
    from lossbench.training import loop
    from lossbench.training.job import Job
else:
    loop = LazyModule("lossbench.training.loop")


def now() -> str:
    """Return the time, in UTC, as ISO 8601 has it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    `status` is "done" or "diverged"; `summary` is what summary.json holds, `seconds` what the
    training took.
    """

    path: Path
    status: str
    summary: Mapping[str, Any]
    seconds: float

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def run(self) -> Run:
        """The run, to be read: metrics, curves, weights."""
        return Run(RunDirectory(self.path))

    @property
    def error(self) -> DivergedError | None:
        """Why the run diverged, in words; none where it did not."""
        found = self.summary.get("diverged")
        if found is None:
            return None
        return DivergedError(
            f"run {self.id} diverged: {found['detail']}", hint="\n  ".join(found["causes"])
        )


class Session:
    """A run while it is trained: iterating makes it happen, event by event.

    Every event has been recorded when it is yielded. At the end `result()` says what came of it.
    Raises InterruptedRunError after SIGINT or SIGTERM, with everything saved; StorageError where
    the disk refuses; whatever else training raises.
    """

    def __init__(
        self,
        directory: RunDirectory,
        spec: RunSpec,
        job: "Job",
        recorder: Recorder,
        record: dict[str, Any],
        *,
        state: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.spec = spec
        self.job = job
        self.notes = tuple(notes)
        self._recorder = recorder
        self._record = record
        self._state = state
        self._events: Iterator[Event] | None = None
        self._result: RunResult | None = None

    def __iter__(self) -> Iterator[Event]:
        """Go on with the run; a second iterator takes over where the first was left."""
        if self._events is None:
            self._events = self._run()
        return self._events

    def result(self) -> RunResult:
        """Return what the run came to; trains what is left of it first."""
        for _ in self:
            pass
        if self._result is None:
            raise RunError(f"run {self.directory.id} did not come to its end")
        return self._result

    @property
    def resume_command(self) -> str:
        """What to type to go on with this run."""
        return f"lossbench train --resume {self.directory.argument}"

    @property
    def extensible(self) -> bool:
        """Whether more epochs may be asked of this run when it is done."""
        return self._recorder.stopped is None and bound_to_length(self.spec) is None

    def _run(self) -> Iterator[Event]:
        with Interrupts() as interrupts:
            try:
                for event in loop.train(self.job, self._state):
                    self._recorder.record(event)
                    if isinstance(event, SafePoint) and self._is_due(event, interrupts):
                        self._recorder.checkpoint(event, run=self._record["id"])
                        if interrupts.received is not None:
                            raise self._interrupted(interrupts.received)
                    yield event
                self._finish()
            except InterruptedRunError as error:
                self._end("interrupted", error.message)
                raise
            except KeyboardInterrupt:
                number = interrupts.received or 2
                self._end("interrupted", "stopped at once by a second signal")
                raise InterruptedRunError(
                    f"run {self.directory.id} was stopped at once: its last checkpoint stands",
                    signal_number=number,
                    hint=self.resume_command,
                ) from None
            except GeneratorExit:
                self._end("interrupted", "its caller left it")
                raise
            except StorageError as error:
                self._end("failed", error.message)
                raise StorageError(
                    error.message,
                    hint=f"{error.hint or 'then go on'}: {self.resume_command}",
                ) from error
            except BaseException as error:
                self._end("failed", str(error) or type(error).__name__)
                raise
            finally:
                self._recorder.close()

    def _is_due(self, point: SafePoint, interrupts: Interrupts) -> bool:
        """Tell whether to save here: time has passed, someone wants to leave, or it is the end."""
        return (
            interrupts.received is not None
            or self._recorder.since_checkpoint >= self.spec.train.checkpoint_every
            or point.step >= self.job.total_steps
            or self._recorder.stopped is not None
        )

    def _interrupted(self, number: int) -> InterruptedRunError:
        return InterruptedRunError(
            f"run {self.directory.id} was interrupted at step {self._recorder.step} and saved",
            signal_number=number,
            hint=f"to go on: {self.resume_command}",
        )

    def _finish(self) -> None:
        """Write what is written at the end: summary, table, best weights, status."""
        recorder, directory = self._recorder, self.directory
        finished, stopped = recorder.finished, recorder.stopped
        diverged = stopped is not None and stopped.reason == "diverged"
        recorder.flush()
        rows = directory.read_metrics()
        summary: dict[str, Any] = {
            "status": "diverged" if diverged else "done",
            "steps": recorder.step,
            "epochs": recorder.epoch,
            "seconds": round(recorder.seconds, 6),
            "best_step": None if finished is None else int(finished.best_step[0]),
            **summarize(rows, self.job.metrics.lower_is_better()),
        }
        if stopped is not None:
            summary[stopped.reason] = self._stopped()
        if finished is not None:
            directory.write_model(finished.best(0), self._description())
        directory.write_metrics_csv(rows)
        directory.write_summary(summary)
        self._end(summary["status"], stopped.detail if stopped else None)
        self._result = RunResult(directory.path, summary["status"], summary, summary["seconds"])

    def _stopped(self) -> dict[str, Any] | None:
        """Return where and why the run ended before its last epoch; none where it did not."""
        stopped = self._recorder.stopped
        if stopped is None:
            return None
        place = {
            "reason": stopped.reason,
            "step": stopped.step,
            "epoch": stopped.epoch,
            "detail": stopped.detail,
        }
        if stopped.reason == "diverged":
            finite = [pair for pair in self._recorder.last_finite if pair[0] <= stopped.step]
            place["last_finite"] = [{"step": step, "loss": loss} for step, loss in finite]
            place["causes"] = causes(self.spec, stopped.step, finite)
        return place

    def _description(self) -> dict[str, Any]:
        """Return what model.safetensors says of itself."""
        config = self._record["config"]
        return {
            "lossbench": __version__,
            "run": self._record["id"],
            **{key: config[key] for key in ("network", "activation", "loss")},
            **{key: self._record["job"].get(key) for key in ("inputs", "outputs")},
        }

    def _end(self, status: str, why: str | None) -> None:
        """Write the status; on a disk that refuses even that, the run shows as killed."""
        self._record |= {
            "status": status,
            "reason": why,
            "stopped": self._stopped(),
            "steps": self._recorder.step,
            "epochs": self._recorder.epoch,
            "ended": now(),
            "seconds": round(self._recorder.seconds, 6),
        }
        try:
            self.directory.write_record(self._record)
        except StorageError:
            if status == "done":
                raise
