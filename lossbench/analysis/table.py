"""All trials of a comparison as arrays: the one value that the rest of the analysis works on.

A trial is one contender on one problem with one seed. Trials with the same problem and seed are
paired: they started from the same weights and saw the same batches where shapes allow. What became
of a trial is a status; a failure is a result and stays in the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lossbench.analysis.curves import Array
from lossbench.analysis.traces import Traces, carried
from lossbench.errors import UnknownNameError, UsageError
from lossbench.lazy import np

Scale = Literal["ratio", "difference"]
"""How two values are held against each other: A / B, or A - B."""

STATUSES = ("done", "stopped", "stalled", "diverged", "failed", "missing")
"""done: all its steps. stopped: early stopping. stalled: done, its loss pinned at the uninformed
level. diverged: its loss became infinite or not a number. failed: an error ended it. missing: not
trained (yet): the only one that is no result."""

FAILURES = frozenset({"diverged", "failed"})
"""A trial that has no final weights: at the end it ranks below every trial that has some."""


@dataclass(frozen=True)
class Metric:
    """A quantity that was measured, `split/name`, and how to read it.

    scale:  fixes how values are compared; by default as ratios where lower is better and every
            value of the comparison is positive, else as differences.
    floors: problem -> the best value that can be expected (noise, Bayes error), where known.
    """

    name: str
    lower_is_better: bool = True
    scale: Scale | None = None
    floors: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_loss(self) -> bool:
        """Whether this is what the contenders were trained on: different losses do not compare."""
        return self.name.rpartition("/")[2] == "loss"

    @property
    def worst(self) -> float:
        """The value that stands for a failure: infinitely bad."""
        return float("inf") if self.lower_is_better else float("-inf")


@dataclass(frozen=True)
class Contender:
    """One of those that are compared, and what must be said about it.

    loss:               the loss it was trained on, knobs included.
    rate:               its learning rate; `tuned` says that it was searched for, `rate_at_edge`
                        that the best one lay at the edge of the range searched.
    seconds_per_step:   measured alone, never inside a shared step.
    gradients_per_step: gradient evaluations that one step takes (SAM: 2).
    data, steps:        fingerprint of its data and length of its training, where known: contenders
                        that differ in them are flagged.
    """

    name: str
    loss: str = ""
    rate: float | None = None
    tuned: bool = False
    rate_at_edge: bool = False
    seconds_per_step: float | None = None
    gradients_per_step: float = 1.0
    data: str = ""
    steps: int | None = None


@dataclass(frozen=True)
class Moment:
    """When a metric is looked at: at the end, at its best, or at a step."""

    kind: Literal["end", "best", "step"] = "end"
    step: int | None = None

    def __str__(self) -> str:
        """Say it as a claim does."""
        if self.kind == "step":
            return f"at step {self.step}"
        return "at the end" if self.kind == "end" else "at its best"


END = Moment()
BEST = Moment("best")


@dataclass(frozen=True)
class Trial:
    """One trial on its way into a table; `failed_at` is the step where its failure began."""

    contender: str
    seed: int
    problem: str = ""
    status: str = "done"
    failed_at: int | None = None
    final: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """The trials of a comparison, one entry per trial in every array.

    contender, problem: positions in `contenders` and `problems`.
    failed_at:          the step where a failure or a stall began; -1 where none did or none is
                        known.
    final, best:        metric -> the last weights' value, the best value; NaN where there is none.
    """

    contenders: tuple[Contender, ...]
    metrics: Mapping[str, Metric]
    contender: Array
    seed: Array
    problem: Array
    status: Array
    failed_at: Array
    final: Mapping[str, Array]
    best: Mapping[str, Array]
    traces: Mapping[str, Traces] = field(default_factory=dict)
    problems: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        self._check_names()
        self._check_lengths()
        cells = list(
            zip(self.contender.tolist(), self.problem.tolist(), self.seed.tolist(), strict=True)
        )
        if len(set(cells)) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            raise UsageError(
                f"two trials of '{self.contenders[twice[0]].name}' have the seed {twice[2]}"
            )

    def _check_names(self) -> None:
        for what, names in (("contenders", self.names), ("problems", self.problems)):
            for name in names:
                if names.count(name) > 1:
                    raise UsageError(f"two {what} have the name '{name}'")
        for status in sorted(set(self.status.tolist()) - set(STATUSES)):
            raise UnknownNameError("status", status, STATUSES)

    def _check_lengths(self) -> None:
        columns = {
            "problem": self.problem,
            "seed": self.seed,
            "status": self.status,
            "failed_at": self.failed_at,
            **{f"final {name}": column for name, column in self.final.items()},
            **{f"best {name}": column for name, column in self.best.items()},
            **{f"curve of {name}": traces.values for name, traces in self.traces.items()},
        }
        for name, column in columns.items():
            if len(column) != len(self):
                raise UsageError(f"{len(self)} trials, but {len(column)} entries in '{name}'")
        measured = set(self.final) | set(self.best) | set(self.traces)
        if measured - set(self.metrics):
            raise UsageError(f"no metric is described for {sorted(measured - set(self.metrics))}")

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.contender)

    @property
    def names(self) -> tuple[str, ...]:
        """The contenders' names, in order."""
        return tuple(contender.name for contender in self.contenders)

    def find(self, name: str) -> Contender:
        """Return a contender by name. Raises UnknownNameError."""
        for contender in self.contenders:
            if contender.name == name:
                return contender
        raise UnknownNameError("contender", name, self.names)

    def metric(self, name: str) -> Metric:
        """Return a metric by name. Raises UnknownNameError."""
        if name not in self.metrics:
            raise UnknownNameError("metric", name, self.metrics)
        return self.metrics[name]

    def rows(self, name: str, problem: str | None = None) -> Array:
        """Return the positions of a contender's trials, by problem and seed; missing ones not."""
        chosen = self.contender == self.names.index(self.find(name).name)
        chosen &= self.status != "missing"
        if problem is not None:
            chosen &= self.problem == self.problems.index(problem)
        found = np.flatnonzero(chosen)
        return found[np.lexsort((self.seed[found], self.problem[found]))]

    def pairs(self, first: str, second: str, problem: str | None = None) -> tuple[Array, Array]:
        """Return the positions of the trials that two contenders have in common, side by side."""
        ours = {self._cell(row): row for row in self.rows(first, problem).tolist()}
        theirs = {self._cell(row): row for row in self.rows(second, problem).tolist()}
        cells = [cell for cell in ours if cell in theirs]
        return (
            np.array([ours[cell] for cell in cells], dtype=np.int64),
            np.array([theirs[cell] for cell in cells], dtype=np.int64),
        )

    def _cell(self, row: int) -> tuple[int, int]:
        return int(self.problem[row]), int(self.seed[row])

    def values(self, metric: str, moment: Moment = END) -> Array:
        """Return a metric's value per trial; a failure is infinitely bad, a missing trial NaN.

        At the end a trial that diverged or failed has no weights: a failure, whatever was measured
        last. At a step, or at its best, it still counts with what it had reached by then. A trial
        that stopped early keeps the value at which it stopped.
        """
        described = self.metric(metric)
        if (self.status == "missing").all():
            return np.full(len(self), np.nan)
        lost = np.isin(self.status, sorted(FAILURES))
        if moment.kind == "end":
            found = self.final.get(metric)
            found = self._last(metric) if found is None else found
            found = np.where(lost, np.nan, found)
        elif moment.kind == "best":
            found = self._best(described)
        else:
            found = self._at_step(metric, int(moment.step or 0), lost)
        found = np.where(np.isfinite(found), found, described.worst)
        return np.where(self.status == "missing", np.nan, found)

    def _curve(self, metric: str) -> Traces:
        if metric not in self.traces:
            raise UsageError(
                f"no curve of '{metric}' was recorded",
                hint=f"there are curves of {', '.join(sorted(self.traces)) or 'nothing'}",
            )
        return self.traces[metric]

    def _last(self, metric: str) -> Array:
        """Return the last finite value of each trial's curve."""
        return carried(self._curve(metric).settled())[:, -1]

    def _best(self, metric: Metric) -> Array:
        if metric.name in self.best:
            return self.best[metric.name]
        if metric.name not in self.traces:
            raise UsageError(f"no best value and no curve of '{metric.name}' was recorded")
        values = self.traces[metric.name].settled()
        empty = np.where(np.isfinite(values), values, metric.worst)
        return empty.min(axis=1) if metric.lower_is_better else empty.max(axis=1)

    def _at_step(self, metric: str, step: int, lost: Array) -> Array:
        """Return the value at the last recorded point not after the step."""
        curve = self._curve(metric)
        first, last = np.nanmin(curve.steps), np.nanmax(curve.steps)
        if not first <= step <= last:
            raise UsageError(
                f"'{metric}' was recorded from step {first:g} to step {last:g}, not at step {step}"
            )
        seen = np.where(curve.steps <= step, curve.values, np.nan)
        gone = lost & ((self.failed_at < 0) | (self.failed_at <= step))
        return np.where(gone, np.nan, carried(seen)[:, -1])

    def scale(self, metric: str) -> Scale:
        """Return how values of a metric are compared, the same for all contenders."""
        described = self.metric(metric)
        if described.scale is not None:
            return described.scale
        if not described.lower_is_better:
            return "difference"
        columns = [column for store in (self.final, self.best) for column in _held(store, metric)]
        columns += [traces.values.ravel() for traces in _held(self.traces, metric)]
        values = np.concatenate(columns) if columns else np.array([])
        values = values[np.isfinite(values)]
        return "ratio" if len(values) and bool((values > 0).all()) else "difference"

    @classmethod
    def from_trials(
        cls,
        trials: Iterable[Trial],
        contenders: Sequence[Contender | str],
        metrics: Iterable[Metric | str],
        traces: Mapping[str, Traces] | None = None,
    ) -> "Table":
        """Arrange trials; `traces` has a row per trial in the same order."""
        trials = tuple(trials)
        known = tuple(Contender(item) if isinstance(item, str) else item for item in contenders)
        places = {contender.name: place for place, contender in enumerate(known)}
        for trial in trials:
            if trial.contender not in places:
                raise UnknownNameError("contender", trial.contender, places)
        problems = tuple(dict.fromkeys(trial.problem for trial in trials)) or ("",)
        return cls(
            contenders=known,
            metrics={
                item.name: item
                for item in (Metric(item) if isinstance(item, str) else item for item in metrics)
            },
            contender=_whole(places[trial.contender] for trial in trials),
            seed=_whole(trial.seed for trial in trials),
            problem=_whole(problems.index(trial.problem) for trial in trials),
            status=np.array([trial.status for trial in trials], dtype=object),
            failed_at=_whole(
                -1 if trial.failed_at is None else trial.failed_at for trial in trials
            ),
            final=_columns(trial.final for trial in trials),
            best=_columns(trial.best for trial in trials),
            traces=dict(traces or {}),
            problems=problems,
        )

    @classmethod
    def from_values(
        cls,
        values: Mapping[str, Sequence[float]],
        metric: Metric | str = "validation/loss",
        seeds: Sequence[int] | None = None,
    ) -> "Table":
        """Arrange final values by contender, one per seed; what is not finite has diverged."""
        described = Metric(metric) if isinstance(metric, str) else metric
        trials = []
        for name, finals in values.items():
            for seed, value in zip(seeds or range(len(finals)), finals, strict=True):
                status = "done" if np.isfinite(value) else "diverged"
                measured = {described.name: float(value)}
                trials.append(Trial(name, seed, status=status, final=measured))
        return cls.from_trials(trials, tuple(values), [described])


def _held(store: Mapping[str, Any], name: str) -> list[Any]:
    return [store[name]] if name in store else []


def _whole(numbers: Iterable[int]) -> Array:
    return np.array(list(numbers), dtype=np.int64)


def _columns(rows: Iterable[Mapping[str, float]]) -> dict[str, Array]:
    """Return a column per name that any row holds, NaN where one does not."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names
    }
