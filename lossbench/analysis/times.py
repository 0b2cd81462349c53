"""When a trial reached a target, and how much it had made of its course: censored, never dropped.

A trial that did not reach the target has the time "later than its end". It takes part in every
comparison: against a trial that reached the target within that span it is slower, for certain;
where its own training was shorter than the other took, nobody knows, and the pair is a tie. A trial
that diverged or failed never reaches it, however long it would have been given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lossbench.analysis.curves import Array
from lossbench.analysis.paired import Pair, compare_pairs
from lossbench.analysis.table import FAILURES, Table
from lossbench.analysis.traces import Traces
from lossbench.errors import UsageError
from lossbench.lazy import np

Unit = Literal["steps", "epochs", "gradients", "seconds"]
UNITS: tuple[Unit, ...] = ("steps", "epochs", "gradients", "seconds")


@dataclass(frozen=True, eq=False)
class Times:
    """Per trial the time to a target (infinite: not reached) and the time it was watched for.

    The watch of a trial that failed is infinite: it would never have come. Both are NaN where the
    unit is not known for a contender (seconds without a measured cost per step).
    """

    reached: Array
    watched: Array


def times_to(table: Table, metric: str, value: float, unit: Unit = "steps") -> Times:
    """Return when each trial's metric first was at the value or beyond it.

    The first recorded point counts; nothing is interpolated. Losses of single batches are averaged
    over their window first, since one lucky batch is no arrival. Seconds are steps times the
    contender's cost per step measured alone.
    """
    described = table.metric(metric)
    if metric not in table.traces:
        raise UsageError(
            f"no curve of '{metric}' was recorded: nobody knows when it reached {value:g}",
            hint=f"there are curves of {', '.join(sorted(table.traces)) or 'nothing'}",
        )
    traces = table.traces[metric]
    levels = traces.settled()
    with np.errstate(invalid="ignore"):
        there = levels <= value if described.lower_is_better else levels >= value
    axis = _axis(table, metric, unit)
    place = there.argmax(axis=1)
    at = np.take_along_axis(axis, place[:, None], axis=1)[:, 0]
    known = ~np.isnan(axis).all(axis=1)
    reached = np.where(there.any(axis=1), at, np.inf)
    seen = np.where(np.isfinite(levels), axis, -np.inf).max(axis=1, initial=-np.inf)
    watched = np.where(np.isin(table.status, sorted(FAILURES)), np.inf, np.maximum(seen, 0.0))
    return Times(np.where(known, reached, np.nan), np.where(known, watched, np.nan))


def _axis(table: Table, metric: str, unit: Unit) -> Array:
    """Return [trials, points]: how much had been spent at each point."""
    traces = table.traces[metric]
    if unit == "epochs":
        if traces.epochs is None:
            raise UsageError(f"the curve of '{metric}' has no epochs")
        return traces.epochs
    if unit == "steps":
        return traces.steps
    costs: Sequence[float | None] = [
        contender.gradients_per_step if unit == "gradients" else contender.seconds_per_step
        for contender in table.contenders
    ]
    per_step = np.array([np.nan if cost is None else cost for cost in costs], dtype=np.float64)
    return traces.steps * per_step[table.contender][:, None]


def compare_times(
    table: Table,
    names: tuple[str, str],
    metric: str,
    value: float,
    unit: Unit = "steps",
    *,
    problem: str | None = None,
    seed: int | Any = 0,
) -> Pair:
    """Compare the times to a target of two contenders by signed ranks of their paired ratios.

    Differences instead of ratios where a target was reached at time zero.
    """
    times = times_to(table, metric, value, unit)
    first, second = table.pairs(*names, problem)
    if np.isnan(times.watched[first]).any() or np.isnan(times.watched[second]).any():
        raise UsageError(f"the {unit} per step of '{names[0]}' and '{names[1]}' are not known")
    a, b = times.reached[first], times.reached[second]
    # Censored before the other arrived: it could still have come first.
    unknown = (np.isinf(a) & np.isfinite(b) & (times.watched[first] < b)) | (
        np.isinf(b) & np.isfinite(a) & (times.watched[second] < a)
    )
    positive = bool((a > 0).all() and (b > 0).all())
    return compare_pairs(
        names, a, b, scale="ratio" if positive else "difference", ranks=True, unknown=unknown,
        seed=seed,
    )  # fmt: skip


def area_under_curve(axis: Array, values: Array) -> Any:
    """Return the area under a curve by trapezoids, exact for straight lines between its points.

    Several curves have their points along the last axis. NaN where a value is not finite: the area
    of a course that broke off says nothing.
    """
    axis, values = np.asarray(axis, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)[()]
    whole = np.isfinite(values).all(axis=-1)
    with np.errstate(invalid="ignore", over="ignore"):
        area = (np.diff(axis, axis=-1) * (values[..., 1:] + values[..., :-1])).sum(axis=-1) / 2
    return np.where(whole, area, np.nan)[()]


def mean_heights(table: Table, metric: str, rows: Array | None = None) -> Array:
    """Return each trial's area under the curve over its length: the metric's mean while it trained.

    A trial that stopped early keeps its last value to the end of the longest course. A trial that
    failed has none (NaN), nor has one with a gap. `rows` chooses trials: all by default.
    """
    traces = table.traces[metric]
    chosen = np.arange(len(table)) if rows is None else rows
    axis, values, status = traces.steps[chosen], traces.values[chosen], table.status[chosen]
    known = ~np.isnan(values)
    first = known.argmax(axis=1)[:, None]
    last = values.shape[1] - 1 - known[:, ::-1].argmax(axis=1)[:, None]
    # Before its first and after its last value a course stands still, which adds nothing.
    places = np.clip(np.arange(values.shape[1]), first, last)
    axis, values = np.take_along_axis(axis, places, 1), np.take_along_axis(values, places, 1)
    end = np.where(status == "stopped", np.nanmax(traces.steps), axis[:, -1])
    axis = np.concatenate((axis, np.fmax(end, axis[:, -1])[:, None]), axis=1)
    values = np.concatenate((values, values[:, -1:]), axis=1)
    length = axis[:, -1] - axis[:, 0]
    failed = np.isin(status, sorted({*FAILURES, "missing"}))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = area_under_curve(axis, values) / length
    return np.where(~failed & (length > 0), heights, np.nan)


def stalled_at(
    traces: Traces, level: float | Array, *, tolerance: float = 0.02, share: float = 0.25
) -> Array:
    """Return the step from which each trial's loss stayed at the uninformed level; -1: it did not.

    `level` is the loss of the best prediction that ignores the input (log of the number of classes,
    variance of the targets), for all trials or for each; NaN where it is not known. Pinned means
    within `tolerance` of it, as a share of it, up to the end and over at least the last `share` of
    the course.
    """
    levels = np.broadcast_to(np.asarray(level, dtype=np.float64), len(traces.values))
    recorded = np.isfinite(traces.values)
    points = traces.values.shape[1]
    last = points - 1 - recorded[:, ::-1].argmax(axis=1)
    # Few trials end at the level: the others need no second look.
    ends = traces.settled_at(last)
    near = np.abs(ends - levels) <= (tolerance + 1e-9) * np.abs(levels)
    found = np.full(len(levels), -1, dtype=np.int64)
    rows = np.flatnonzero(near)
    if len(rows) == 0:
        return found
    values, recorded, last = traces.settled(rows), recorded[rows], last[rows]
    pinned = np.abs(values - levels[rows, None]) <= tolerance * np.abs(levels[rows, None])
    pinned |= np.isnan(traces.values[rows])  # what was not recorded does not speak against it
    since = points - np.cumprod(pinned[:, ::-1], axis=1).sum(axis=1)
    first = recorded.argmax(axis=1)
    since = np.maximum(since, first)
    stuck = (last - since + 1) >= np.maximum(1, share * (last - first + 1))
    stuck &= since <= last
    steps = traces.steps[rows, np.minimum(since, points - 1)]
    found[rows] = np.where(stuck, steps, -1)
    return found
