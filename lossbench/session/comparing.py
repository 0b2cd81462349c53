"""A comparison while it runs: pieces trained, recorded as they finish, and judged at the end."""

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.analysis.claims import parse_all
from lossbench.analysis.compare import Comparison
from lossbench.analysis.table import Table
from lossbench.config.comparison import ComparisonSpec, LoadedComparison, Trial
from lossbench.config.trials import claim_facts, dump_comparison, load_comparison
from lossbench.errors import InterruptedRunError, RunError, StorageError, TrainingError
from lossbench.lazy import LazyModule
from lossbench.rundir import environment, storage
from lossbench.rundir.comparison import ComparisonDirectory, find_comparison
from lossbench.rundir.directory import RUNS
from lossbench.session import describe, judging, tuned
from lossbench.session.advance import Advance, Tally
from lossbench.session.assemble import Pieces, piece_of
from lossbench.session.interrupts import Interrupts
from lossbench.session.room import check_room
from lossbench.session.running import now
from lossbench.session.stages import FINAL, SEARCH, Stage, first_stage, stage_of
from lossbench.session.workers import work_off

if TYPE_CHECKING:
    from lossbench.training import chunks
else:
    chunks = LazyModule("lossbench.training.chunks")

__all__ = [
    "FINAL",
    "SEARCH",
    "Advance",
    "ComparisonResult",
    "ComparisonSession",
    "dry_run",
    "prepare",
    "resume",
    "start",
]

FORMAT = 1


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison came to; `seconds` are those it was worked on, over all resumes."""

    path: Path
    table: Table
    comparison: Comparison
    summary: Mapping[str, Any]
    seconds: float

    @property
    def id(self) -> str:
        """The comparison's id."""
        return self.path.name


def prepare(
    loaded: LoadedComparison, *, workers: int | None = None
) -> tuple[ComparisonSpec, Stage]:
    """Check a comparison in full and cut its first stage into pieces; nothing is written.

    Raises ConfigError for claims that do not parse, and what surveying a trial raises.
    """
    facts = claim_facts(loaded)
    parse_all(loaded.spec.claims, **facts)
    stage = first_stage(loaded.spec, workers)
    # Only the data tell which splits there are: a claim about another would fail after training.
    splits = set.intersection(*(set(survey.splits) for survey in stage.work.surveys))
    there = [name for name in facts["metrics"] if name.partition("/")[0] in splits]
    parse_all(loaded.spec.claims, **(facts | {"metrics": there}))
    return loaded.spec, stage


def dry_run(loaded: LoadedComparison, *, workers: int | None = None) -> dict[str, Any]:
    """Return what a comparison would be: trials, groups, pieces, seconds, bytes, warnings."""
    spec, stage = prepare(loaded, workers=workers)
    return describe.outlook(spec, stage.name, len(stage.trials), stage.work)


def start(
    loaded: LoadedComparison,
    *,
    runs_dir: Path = RUNS,
    command: Sequence[str] = (),
    workers: int | None = None,
) -> "ComparisonSession":
    """Check everything, and only then make the comparison's directory; nothing is trained yet.

    Raises UsageError where the results would fit neither into memory nor onto the disk.
    """
    spec, stage = prepare(loaded, workers=workers)
    check_room(stage.work, len(stage.trials), runs_dir)
    with ComparisonDirectory.creating(runs_dir, spec.name, len(spec.trials)) as directory:
        copies = {file: directory.add_file(file) for file in loaded.files}
        directory.write_config(dump_comparison(spec, files=copies))
        record = {
            "format": FORMAT,
            "id": directory.id,
            "name": spec.name,
            "status": "running",
            "command": list(command),
            "started": now(),
            "ended": None,
            "seconds": 0.0,
            "pid": os.getpid(),
            "given": loaded.text,
            "config": directory.config_fingerprint(),
            "trials": len(spec.trials),
            "versions": environment.versions(),
            "machine": environment.machine(),
            "git": environment.commit(Path.cwd()),
            "workers": workers,
            "work": {stage.name: stage.work.record()},
            **describe.facts_of(spec, stage.work.surveys),
        }
        directory.write_record(record)
    return ComparisonSession(directory, spec, record, stage)


def resume(
    reference: str,
    *,
    runs_dir: Path = RUNS,
    command: Sequence[str] = (),
    workers: int | None = None,
) -> "ComparisonSession":
    """Go on with a comparison that was interrupted: what is finished is not made again.

    The pieces stay those of before, whatever the number of processes. Raises RunError where there
    is none, where it was edited, has come to its end or is being worked on.
    """
    directory = find_comparison(runs_dir, reference)
    record = directory.read_record()
    if record.get("status") == "done":
        raise RunError(f"comparison {directory.id} is finished: there is nothing to go on with")
    if storage.claimed(directory.config):
        raise RunError(
            f"comparison {directory.id} is still running, as process {record.get('pid')}",
            hint=f"wait for its end, or stop it: kill {record.get('pid')} (finished pieces stay)",
        )
    spec = load_comparison(directory.config).spec
    if directory.config_fingerprint() != record.get("config", directory.config_fingerprint()):
        raise RunError(
            f"{directory.config} was edited since the comparison started: "
            "its trials would not be those that are finished",
            hint="undo the edit, or start a new comparison from that file",
        )
    workers = record.get("workers") if workers is None else workers
    stage = first_stage(spec, workers).as_before(record)
    record |= {
        "workers": workers,
        "status": "running",
        "pid": os.getpid(),
        "resumed": [*record.get("resumed", []), list(command)],
    }
    directory.write_record(record)
    return ComparisonSession(directory, spec, record, stage)


class ComparisonSession:
    """A comparison while it runs: iterating makes it happen, and says how far it is.

    Raises InterruptedRunError after SIGINT or SIGTERM: finished pieces are kept. StorageError
    where the disk refuses; TrainingError where an error ended every trial.
    """

    def __init__(
        self,
        directory: ComparisonDirectory,
        spec: ComparisonSpec,
        record: dict[str, Any],
        stage: Stage,
    ) -> None:
        self.directory = directory
        self.spec = spec
        self.stage = stage
        self._record = record
        self._before = float(record.get("seconds") or 0.0)
        self._began = time.monotonic()
        self._result: ComparisonResult | None = None
        self._iterator: Iterator[Advance] | None = None

    def __iter__(self) -> Iterator[Advance]:
        """Go on with the comparison; a second iterator takes over where the first was left."""
        if self._iterator is None:
            self._iterator = self._run()
        return self._iterator

    @property
    def resume_command(self) -> str:
        """What to type to go on with this comparison."""
        return f"lossbench compare --resume {self.directory.argument}"

    def outlook(self) -> dict[str, Any]:
        """Return what is about to be done: trials, groups, pieces, about how long."""
        stage = self.stage
        return describe.outlook(self.spec, stage.name, len(stage.trials), stage.work)

    def result(self) -> ComparisonResult:
        """Return what the comparison came to; does what is left of it first."""
        for _ in self:
            pass
        if self._result is None:
            raise RunError(f"comparison {self.directory.id} did not come to its end")
        return self._result

    def _run(self) -> Iterator[Advance]:
        self._began = time.monotonic()
        claim = self._claim()
        with Interrupts() as interrupts:
            try:
                yield from self._stages(interrupts)
            except InterruptedRunError as error:
                self._end("interrupted", error.message)
                raise
            except KeyboardInterrupt:
                self._end("interrupted", "stopped at once by a second signal")
                raise self._interrupted(interrupts.received or 2) from None
            except GeneratorExit:
                self._end("interrupted", "its caller left it")
                raise
            except StorageError as error:
                self._end("failed", error.message)
                hint = f"{error.hint or 'then go on'}: {self.resume_command}"
                raise StorageError(error.message, hint=hint) from error
            except BaseException as error:
                self._end("failed", str(error) or type(error).__name__)
                raise
            finally:
                claim.close()

    def _claim(self) -> storage.Appender:
        """Keep other processes from resuming this comparison while it is worked on."""
        config = self.directory.config
        try:
            return storage.Appender(config, keep=config.stat().st_size, claim=True)
        except BlockingIOError:
            raise RunError(
                f"comparison {self.directory.id} is being worked on by another process"
            ) from None

    def _stages(self, interrupts: Interrupts) -> Iterator[Advance]:
        """Search where that is asked for, train the trials that count, and judge them."""
        found: Mapping[str, Any] = {}
        if self.stage.name == SEARCH:
            searched = yield from self._train(self.stage, interrupts)
            trials, found = tuned.chosen_trials(self.spec, self.stage.trials, searched)
            self._begin_final(trials)
        pieces = yield from self._train(self.stage, interrupts)
        self._finish(pieces, found)

    def _begin_final(self, trials: tuple[Trial, ...]) -> None:
        """Cut the trials that count into pieces, with the values that the search chose."""
        stage = stage_of(FINAL, trials, self._record.get("workers"))
        check_room(stage.work, len(trials), self.directory.path)
        self.stage = stage.as_before(self._record)
        self._record["work"][FINAL] = self.stage.work.record()
        self.directory.write_record(self._record)

    def _train(self, stage: Stage, interrupts: Interrupts) -> Generator[Advance, None, Pieces]:
        """Train the pieces that are missing, and return all of them."""
        pieces, missing = Pieces(), []
        for chunk, specs in stage.pieces():
            stored = self.directory.read_piece(stage.piece_name(chunk.number))
            if stored is None:
                missing.append((chunk, specs))
            elif tuple(stored[0]["trials"].tolist()) != chunk.trials:
                file = self.directory.piece(stage.piece_name(chunk.number))
                raise RunError(f"{file} holds other trials than its plan says", hint=REMOVE_PIECE)
            else:
                pieces.add(*stored)
        told = Tally(stage, finished=len(pieces))
        for news in work_off(missing, stage.work.surveys, stage.work.workers):
            if isinstance(news, chunks.ChunkResult):
                self._keep(pieces, stage, news)
                yield told.finished(news)
            elif news is not None:
                yield told.advanced(news)
            if interrupts.received is not None:
                raise self._interrupted(interrupts.received)
        failed = [text for facts in pieces.facts for text in _errors(facts)]
        if len(failed) == len(stage.trials):
            raise TrainingError(f"an error ended every trial: {failed[0]}")
        return pieces

    def _keep(self, pieces: Pieces, stage: Stage, result: "chunks.ChunkResult") -> None:
        """Store a finished piece. One that an error ended is not stored: a resume tries again."""
        arrays, facts = piece_of(result)
        if not _errors(facts):
            self.directory.write_piece(stage.piece_name(result.chunk), arrays, facts)
        pieces.add(arrays, facts)

    def _interrupted(self, number: int) -> InterruptedRunError:
        return InterruptedRunError(
            f"comparison {self.directory.id} was interrupted; its finished pieces are kept",
            signal_number=number,
            hint=f"to go on: {self.resume_command}",
        )

    def _finish(self, pieces: Pieces, found: Mapping[str, Any]) -> None:
        """Write trials, curves and summary; then the pieces are no longer needed."""
        directory, spec = self.directory, self.spec
        judging.describe_end(self._record, spec, self.stage, found)
        directory.write_record(self._record)
        columns = judging.write_whole(directory, spec, self.stage, pieces)
        table, comparison, summary = judging.judge(directory, spec, columns, found)
        self._end("done", None)
        directory.remove_pieces()
        seconds = self._record["seconds"]
        self._result = ComparisonResult(directory.path, table, comparison, summary, seconds)

    def _end(self, status: str, why: str | None) -> None:
        """Write the status; on a disk that refuses even that, the comparison shows as killed."""
        seconds = self._before + time.monotonic() - self._began
        self._record |= {"status": status, "reason": why, "ended": now()}
        self._record["seconds"] = round(seconds, 6)
        try:
            self.directory.write_record(self._record)
        except StorageError:
            if status == "done":
                raise


REMOVE_PIECE = "remove that file: its trials are then trained again"


def _errors(facts: Mapping[str, Any]) -> list[str]:
    """Return what ended the trials of a piece, where that was an error."""
    pairs = zip(facts["status"], facts["detail"], strict=True)
    return [detail for status, detail in pairs if status == "failed"]
