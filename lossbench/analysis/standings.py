"""What each contender came to: values, failures, times to the target; counted, never dropped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lossbench.analysis.curves import Array
from lossbench.analysis.statistics import Interval, mean_interval
from lossbench.analysis.table import BEST, END, Moment, Scale, Table
from lossbench.analysis.times import UNITS, mean_heights, times_to
from lossbench.lazy import np


@dataclass(frozen=True)
class Summary:
    """Values over the seeds.

    finite:   how many there are; the others are failures.
    mean, interval: of the finite ones. The interval is of the mean, or, for ratios, of the
              geometric mean, which is then its estimate.
    median:   over all trials, failures being the worst: infinite where half of them failed.
    """

    trials: int
    finite: int
    mean: float
    interval: Interval
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Failures:
    """How many trials failed in one way, and the step where each began, where it is known."""

    trials: int
    steps: tuple[int, ...]

    @property
    def typical(self) -> float | None:
        """The median step where it began."""
        return float(np.median(self.steps)) if self.steps else None


@dataclass(frozen=True)
class Reached:
    """How a contender did against a target.

    censored: trials that did not get there. median: unit -> the median over all trials, infinite
    where half of them did not; units whose cost is not known are left out.
    """

    metric: str
    value: float
    trials: int
    reached: int
    censored: int
    median: Mapping[str, float]


@dataclass(frozen=True)
class Standing:
    """One contender on one problem.

    area:   mean height of the curve while it trained, where a curve was recorded.
    rank:   1 + the number of contenders that are shown to be better; contenders that are not
            separated share it. With `rank_to`, the last rank it may have, it is an interval of
            ranks. None where contenders cannot be ranked.
    """

    contender: str
    problem: str
    trials: int
    missing: int
    diverged: Failures
    stalled: Failures
    failed: Failures
    final: Summary
    best: Summary | None
    area: Summary | None
    targets: tuple[Reached, ...]
    at_floor: bool
    rank: int | None = None
    rank_to: int | None = None


def summarize(values: Array, scale: Scale) -> Summary:
    """Summarize values of which the infinite ones are failures."""
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if scale == "ratio" and len(finite):
        interval = mean_interval(np.log(finite)).map(math.exp)
    else:
        interval = mean_interval(finite)
    return Summary(
        trials=len(values),
        finite=len(finite),
        mean=float(finite.mean()) if len(finite) else math.nan,
        interval=interval,
        median=float(np.median(values)) if len(values) else math.nan,
        lowest=float(finite.min()) if len(finite) else math.nan,
        highest=float(finite.max()) if len(finite) else math.nan,
    )


def failures(table: Table, rows: Array, status: str) -> Failures:
    """Count the trials with this status."""
    hit = rows[table.status[rows] == status]
    steps = table.failed_at[hit]
    return Failures(len(hit), tuple(sorted(steps[steps >= 0].tolist())))


def reached(table: Table, rows: Array, metric: str, value: float) -> Reached:
    """Return how the trials in these rows did against a target."""
    arrived = np.isfinite(times_to(table, metric, value).reached[rows])
    medians: dict[str, float] = {}
    for unit in UNITS:
        if unit == "epochs" and table.traces[metric].epochs is None:
            continue
        times = times_to(table, metric, value, unit).reached[rows]
        if len(times) and not np.isnan(times).any():
            medians[unit] = float(np.median(times))
    return Reached(metric, value, len(rows), int(arrived.sum()), int((~arrived).sum()), medians)


def values_at(table: Table, metric: str, moment: Moment) -> Array | None:
    """Return a metric's values at a moment; none where they were not recorded."""
    stored = table.final if moment == END else table.best
    if metric in stored or metric in table.traces:
        return table.values(metric, moment)
    return None


def standing(
    table: Table,
    name: str,
    problem: str,
    metric: str,
    targets: Mapping[str, float],
    *,
    at_floor: bool,
) -> Standing:
    """Return what a contender came to on a problem; its rank is not known yet."""
    rows, scale = table.rows(name, problem), table.scale(metric)
    best = values_at(table, metric, BEST)
    area = None
    if metric in table.traces:
        heights = mean_heights(table, metric, rows)
        area = summarize(np.where(np.isnan(heights), table.metric(metric).worst, heights), scale)
    mine = (table.contender == table.names.index(name)) & (
        table.problem == table.problems.index(problem)
    )
    return Standing(
        contender=name,
        problem=problem,
        trials=len(rows),
        missing=int((mine & (table.status == "missing")).sum()),
        diverged=failures(table, rows, "diverged"),
        stalled=failures(table, rows, "stalled"),
        failed=failures(table, rows, "failed"),
        final=summarize(table.values(metric)[rows], scale),
        best=None if best is None else summarize(best[rows], scale),
        area=area,
        targets=tuple(reached(table, rows, key, value) for key, value in targets.items()),
        at_floor=at_floor,
    )
