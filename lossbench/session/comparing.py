"""A comparison while it runs: pieces trained, recorded as they finish, and judged at the end."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.analysis.claims import parse_all
from lossbench.analysis.compare import Comparison, compare
from lossbench.analysis.source import DEFAULT, comparison_table
from lossbench.analysis.table import Table
from lossbench.config.comparison import ComparisonSpec, LoadedComparison, Trial
from lossbench.config.trials import claim_facts, dump_comparison, load_comparison
from lossbench.errors import InterruptedRunError, RunError
from lossbench.lazy import LazyModule
from lossbench.rundir import environment
from lossbench.rundir.comparison import ComparisonDirectory, find_comparison
from lossbench.rundir.directory import RUNS
from lossbench.session import describe, tuned
from lossbench.session.assemble import Pieces, piece_of
from lossbench.session.interrupts import Interrupts
from lossbench.session.running import now
from lossbench.session.workers import work_off

if TYPE_CHECKING:
    from lossbench.training import chunks, groups, plan
    from lossbench.training.chunks import Progress, Work
else:
    chunks = LazyModule("lossbench.training.chunks")
    groups = LazyModule("lossbench.training.groups")
    plan = LazyModule("lossbench.training.plan")

FORMAT = 1
SEARCH, FINAL = "search", "final"
"""The stages of a comparison: the search for knobs (where asked for), and the trials that count."""


@dataclass(frozen=True)
class Stage:
    """Trials that are trained in one go, by their numbers, and the pieces they are cut into."""

    name: str
    trials: tuple[Trial, ...]
    work: "Work"

    def pieces(self) -> list[tuple[Any, list[Any]]]:
        """Return every piece with the specs of its trials."""
        by_number = {trial.number: trial.spec for trial in self.trials}
        return [(c, [by_number[number] for number in c.trials]) for c in self.work.chunks]

    def piece_name(self, number: int) -> str:
        """Return the name under which a piece is stored."""
        return f"{self.name}-{number:05d}"


@dataclass(frozen=True)
class Advance:
    """How far a comparison has come: what a person who waits wants to know."""

    stage: str
    trials_done: int
    trials: int
    steps_done: int
    steps: int
    losses: Mapping[str, float]
    """The latest training loss of each contender, averaged over those of its trials seen."""


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison came to."""

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
    spec = loaded.spec
    parse_all(spec.claims, **claim_facts(loaded))
    stage = _stage(spec, SEARCH if spec.tune else FINAL, workers)
    return spec, stage


def _stage(
    spec: ComparisonSpec,
    name: str,
    workers: int | None,
    trials: Sequence[Trial] | None = None,
) -> Stage:
    if trials is None:
        trials = tuned.search_trials(spec) if name == SEARCH else spec.trials
    specs = [trial.spec for trial in trials]
    numbers = [trial.number for trial in trials]
    work = chunks.plan_work(specs, numbers, workers=workers, cores=os.cpu_count() or 1)
    return Stage(name, tuple(trials), work)


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
    """Check everything, and only then make the comparison's directory; nothing is trained yet."""
    spec, stage = prepare(loaded, workers=workers)
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
            "pid": os.getpid(),
            "given": loaded.text,
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
    reference: str, *, runs_dir: Path = RUNS, command: Sequence[str] = ()
) -> "ComparisonSession":
    """Go on with a comparison that was interrupted: what is finished is not made again.

    Raises RunError where there is none, or it has come to its end.
    """
    directory = find_comparison(runs_dir, reference)
    record = directory.read_record()
    if record.get("status") == "done":
        raise RunError(f"comparison {directory.id} is finished: there is nothing to go on with")
    spec = load_comparison(directory.config).spec
    name = SEARCH if spec.tune else FINAL
    stage = _with_plan(_stage(spec, name, record.get("workers")), record["work"].get(name))
    record |= {"status": "running", "resumed": [*record.get("resumed", []), list(command)]}
    directory.write_record(record)
    return ComparisonSession(directory, spec, record, stage)


def _with_plan(stage: Stage, recorded: Mapping[str, Any] | None) -> Stage:
    """Return the stage cut as it was cut before, so that its finished pieces fit."""
    if recorded is None:
        return stage
    cut = tuple(
        groups.Chunk(
            piece["number"],
            piece["group"],
            tuple(piece["trials"]),
            plan.Plan.from_record(piece["plan"]),
        )
        for piece in recorded["chunks"]
    )
    return replace(stage, work=replace(stage.work, chunks=cut))


class ComparisonSession:
    """A comparison while it runs: iterating makes it happen, and says how far it is.

    Raises InterruptedRunError after SIGINT or SIGTERM: finished pieces are kept.
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
        self._result: ComparisonResult | None = None
        self._iterator: Iterator[Advance] | None = None

    def __iter__(self) -> Iterator[Advance]:
        """Go on with the comparison."""
        if self._iterator is None:
            self._iterator = self._run()
        return self._iterator

    @property
    def resume_command(self) -> str:
        """What to type to go on with this comparison."""
        return f"lossbench compare --resume {self.directory.id}"

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
        with Interrupts() as interrupts:
            try:
                trials: tuple[Trial, ...] = self.spec.trials
                found: Mapping[str, Any] = {}
                if self.stage.name == SEARCH:
                    searched = yield from self._train(self.stage, interrupts)
                    trials, found = tuned.chosen_trials(self.spec, self.stage.trials, searched)
                    final = _stage(self.spec, FINAL, self._record.get("workers"), trials)
                    self.stage = _with_plan(final, self._record["work"].get(FINAL))
                    self._record["work"][FINAL] = self.stage.work.record()
                    self.directory.write_record(self._record)
                pieces = yield from self._train(self.stage, interrupts)
                self._finish(pieces, trials, found)
            except (InterruptedRunError, KeyboardInterrupt, GeneratorExit) as error:
                self._end("interrupted", str(error) or "stopped")
                raise
            except BaseException as error:
                self._end("failed", str(error) or type(error).__name__)
                raise

    def _train(self, stage: Stage, interrupts: Interrupts) -> Generator[Advance, None, Pieces]:
        """Train the pieces that are missing, and return all of them."""
        pieces, missing = Pieces(), []
        for chunk, specs in stage.pieces():
            stored = self.directory.read_piece(stage.piece_name(chunk.number))
            if stored is None:
                missing.append((chunk, specs))
            else:
                pieces.add(*stored)
        told = _Told(stage, done=sum(len(arrays["trials"]) for arrays in pieces.arrays))
        for news in work_off(missing, stage.work.surveys, stage.work.workers):
            if isinstance(news, chunks.ChunkResult):
                arrays, facts = piece_of(news)
                self.directory.write_piece(stage.piece_name(news.chunk), arrays, facts)
                pieces.add(arrays, facts)
                yield told.finished(news.chunk, len(news.trials))
            else:
                yield told.advanced(news)
            if interrupts.received is not None:
                raise self._interrupted(interrupts.received)
        return pieces

    def _interrupted(self, number: int) -> InterruptedRunError:
        return InterruptedRunError(
            f"comparison {self.directory.id} was interrupted; its finished pieces are kept",
            signal_number=number,
            hint=f"to go on: {self.resume_command}",
        )

    def _finish(self, pieces: Pieces, trials: Sequence[Trial], found: Mapping[str, Any]) -> None:
        """Write trials, curves and summary; then the pieces are no longer needed."""
        directory, spec, surveys = self.directory, self.spec, self.stage.work.surveys
        where = pieces.positions()
        levels = describe.uninformed(self.stage.work, trials)
        rows = [
            {
                "trial": trial.number,
                "contender": trial.contender,
                "problem": trial.problem,
                "seed": trial.seed,
                "role": tuned.role(trial, spec),
                **{key: describe.shown(value) for key, value in trial.values.items()},
                **pieces.outcome(*where[trial.number]),
                "uninformed": levels.get(trial.number),
            }
            for trial in trials
        ]
        self._record |= {
            "contenders": describe.contenders(spec, trials, self.stage.work, found),
            "lower_is_better": describe.directions(surveys),
            "floors": describe.floors(spec, trials, self.stage.work),
            "tuned": found,
        }
        directory.write_record(self._record)
        directory.write_trials(rows)
        numbers = [trial.number for trial in trials]
        directory.write_curves(pieces.curves(numbers), {"trials": numbers})
        table = comparison_table(directory)
        target = dict([spec.target]) if spec.target is not None else None
        comparison = compare(table, claims=spec.claims, target=target)
        default = [row for row in rows if row["role"] == DEFAULT]
        summary = comparison.record() | {"tuned": tuned.record(found, default, comparison.metric)}
        directory.write_summary(summary)
        self._end("done", None)
        directory.remove_pieces()
        seconds = self._record["seconds"]
        self._result = ComparisonResult(directory.path, table, comparison, summary, seconds)

    def _end(self, status: str, why: str | None) -> None:
        ended = now()
        self._record |= {"status": status, "reason": why, "ended": ended}
        self._record["seconds"] = describe.seconds_between(self._record["started"], ended)
        self.directory.write_record(self._record)


class _Told:
    """Adds up the news of the pieces."""

    def __init__(self, stage: Stage, done: int) -> None:
        self._stage, self._done = stage, done
        self._contender = {trial.number: trial.contender for trial in stage.trials}
        self._steps: dict[int, int] = {}
        self._latest: dict[int, float] = {}
        self._total = sum(
            found.order.steps_per_epoch * found.spec.train.epochs * len(chunk.trials)
            for chunk in stage.work.chunks
            for found in [stage.work.surveys[chunk.group]]
        )

    def advanced(self, news: "Progress") -> Advance:
        """Take in what a piece says."""
        self._steps[news.chunk] = news.step * len(news.trials)
        self._latest |= zip(news.trials, map(float, news.losses), strict=True)
        return self._advance()

    def finished(self, chunk: int, trials: int) -> Advance:
        """Take in that a piece is finished."""
        del chunk
        self._done += trials
        return self._advance()

    def _advance(self) -> Advance:
        by_contender: dict[str, list[float]] = {}
        for number, loss in self._latest.items():
            if loss == loss:
                by_contender.setdefault(self._contender[number], []).append(loss)
        return Advance(
            stage=self._stage.name,
            trials_done=self._done,
            trials=len(self._stage.trials),
            steps_done=sum(self._steps.values()),
            steps=self._total,
            losses={name: sum(v) / len(v) for name, v in by_contender.items()},
        )
