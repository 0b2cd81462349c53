"""Where the trials of each contender stood while they trained: a middle line and a band of seeds.

What the band is: at every point the median over the trials of a contender, and the range from their
10th to their 90th percentile; with fewer than `QUANTILES_FROM` trials, from the lowest to the
highest. It shows how far apart single runs lie, and is no interval of the median. A trial that
diverged or failed counts as infinitely bad from there on, so the band widens and the line ends
where half of the trials are lost: nobody looks better for the trials that are missing. A trial that
stopped early keeps its last value.

The losses of single batches are smoothed along each trial first (`smooth_rows`): a band of raw ones
would show the noise of the batches, not the spread of the seeds.
"""

from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.curves import LEAST_RADIUS, SMOOTHING_SHARE, Array
from lossbench.analysis.table import FAILURES, Table
from lossbench.analysis.traces import carried
from lossbench.lazy import np

LOW, HIGH = 0.1, 0.9
QUANTILES_FROM = 10
MOST_POINTS = 300
"""Points of a smoothed curve: more than a printed column can show, few enough for 10 000 trials."""

TRIALS_AT_ONCE = 2000

By = Literal["steps", "epochs", "seconds"]


@dataclass(frozen=True, eq=False)
class Course:
    """The course of a metric over the trials of one contender on one problem.

    epochs, seconds: the same points on other axes, where they are known; seconds are steps times
                     the contender's own cost per step measured alone.
    middle, low, high: infinitely bad where so many trials are lost.
    """

    contender: str
    problem: str
    trials: int
    steps: Array
    epochs: Array | None
    seconds: Array | None
    middle: Array
    low: Array
    high: Array

    def axis(self, by: By) -> Array | None:
        """Return the points on an axis, where they are known."""
        return {"steps": self.steps, "epochs": self.epochs, "seconds": self.seconds}[by]


def spread_words(trials: int) -> str:
    """Say what the band over so many trials reaches from and to."""
    if trials >= QUANTILES_FROM:
        return f"{LOW:.0%} to {HIGH:.0%}".replace("%", " %").replace(" % to", " to")
    return "lowest to highest"


def courses(table: Table, metric: str, problem: str | None = None) -> tuple[Course, ...]:
    """Return the course of a metric for every contender that has trials, by problem."""
    traces = table.traces[metric]
    problems = table.problems if problem is None else (problem,)
    found = [
        _course(table, metric, name, place, rows)
        for place in problems
        for name in table.names
        if len(rows := table.rows(name, place))
    ]
    return tuple(item for item in found if item is not None) if traces.values.size else ()


def _course(table: Table, metric: str, name: str, problem: str, rows: Array) -> Course | None:
    traces = table.traces[metric]
    known = np.isfinite(traces.values[rows])
    if not known.any():
        return None
    # Trials of one contender differ in their seed only: the longest gives the points for all.
    longest = rows[np.isfinite(traces.steps[rows]).sum(axis=1).argmax()]
    points = np.flatnonzero(np.isfinite(traces.steps[longest]))
    steps = traces.steps[longest][points]
    epochs = None if traces.epochs is None else _fractional(traces.epochs[longest][points], steps)
    values = traces.values[rows][:, points]
    if traces.window > 1:
        places, values = _smoothed(values)
        inner = np.arange(len(points))
        steps = np.interp(places, inner, steps)
        epochs = None if epochs is None else np.interp(places, inner, epochs)
    worst = table.metric(metric).worst
    lost = np.isin(table.status[rows], sorted(FAILURES))
    levels = _with_failures(values, lost, worst)
    low, middle, high = _spread(levels)
    cost = table.find(name).seconds_per_step
    return Course(
        contender=name, problem=problem, trials=len(rows), steps=steps, epochs=epochs,
        seconds=None if cost is None else steps * cost, middle=middle, low=low, high=high,
    )  # fmt: skip


def _fractional(epochs: Array, steps: Array) -> Array:
    """Return epochs that are passed gradually: a step's epoch alone would pile its steps up."""
    if len(epochs) < 2 or len(np.unique(epochs)) == len(epochs):
        return epochs
    return steps * (epochs[-1] / steps[-1])


def _with_failures(values: Array, lost: Array, worst: float) -> Array:
    """Let failures be infinitely bad from their last value on, and all others keep theirs."""
    filled = carried(values)
    places = np.arange(values.shape[1])
    last = np.where(np.isfinite(values), places, -1).max(axis=1)
    gone = lost[:, None] & (places > last[:, None])
    return np.where(gone | ~np.isfinite(filled), worst, filled)


def _spread(levels: Array) -> tuple[Array, Array, Array]:
    """Return low, middle and high over the trials at each point."""
    ordered = np.sort(levels, axis=0)
    low, high = (LOW, HIGH) if len(levels) >= QUANTILES_FROM else (0.0, 1.0)
    return _quantile(ordered, low), _quantile(ordered, 0.5), _quantile(ordered, high)


def _quantile(ordered: Array, share: float) -> Array:
    """Return the quantile of sorted rows, between two of them on their line; infinities hold."""
    place = share * (len(ordered) - 1)
    below, above = ordered[int(np.floor(place))], ordered[int(np.ceil(place))]
    part = place - np.floor(place)
    with np.errstate(invalid="ignore"):
        between = below + part * (above - below)
    return np.where(np.isfinite(below) & np.isfinite(above), between, above if part else below)


# --- smoothing --------------------------------------------------------------------------------


def _smoothed(values: Array) -> tuple[Array, Array]:
    """Return positions and smoothed curves [trials, points] of at most MOST_POINTS points."""
    places, means = bucket_rows(values, MOST_POINTS)
    radius = round(means.shape[1] * SMOOTHING_SHARE)
    finite = means[np.isfinite(means)]
    positive = len(finite) > 0 and bool((finite > 0).all())
    return places, smooth_rows(means, radius, logarithmic=positive)


def bucket_rows(values: Array, count: int) -> tuple[Array, Array]:
    """Return the middles and, per row, the means of `count` equal stretches (`bucket_means`)."""
    length = values.shape[1]
    count = max(1, min(count, length))
    edges = np.linspace(0, length, count + 1).round().astype(np.int64)
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges[:-1], axis=1)
    numbers = np.add.reduceat(known.astype(np.float64), edges[:-1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (edges[:-1] + edges[1:] - 1) / 2, sums / numbers


def smooth_rows(values: Array, radius: int, *, logarithmic: bool = False) -> Array:
    """Smooth each row of [trials, points] exactly as `curves.smooth` smooths one curve.

    The weights of a point are the same for all trials, so the sums of the fitted lines are a few
    products of matrices.
    """
    values = np.asarray(values, dtype=np.float64)
    if radius < 1 or values.shape[1] < 3:
        return values.copy()
    if logarithmic:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(smooth_rows(np.log(values), radius))
    starts = range(0, len(values), TRIALS_AT_ONCE)
    blocks = [_lines(values[start : start + TRIALS_AT_ONCE], radius) for start in starts]
    return np.concatenate(blocks)


def _lines(values: Array, radius: int) -> Array:
    """Return the height of the weighted line through the points around each point."""
    points = np.arange(values.shape[1])
    u = (points[None, :] - points[:, None]).astype(np.float64)
    reach = np.minimum(radius, points + LEAST_RADIUS)[:, None]
    near = np.abs(u) <= reach
    weight = np.where(near, (1 - np.abs(u / (reach + 1)) ** 3) ** 3, 0.0)
    known = np.isfinite(values)
    # Around zero the sums keep their digits, however large the values are.
    centre = _centres(values, known)
    y = np.where(known, values - centre, 0.0)
    here = known.astype(np.float64)
    mass, first, second = (here @ (weight * u**power).T for power in range(3))
    height, slope = y @ weight.T, y @ (weight * u).T
    spread = mass * second - first * first
    with np.errstate(invalid="ignore", divide="ignore"):
        line = (second * height - first * slope) / spread
        lone = height / mass
    fitted = np.where(spread > 1e-9 * mass * mass, line, lone) + centre
    return np.where(known, fitted, np.nan)


def _centres(values: Array, known: Array) -> Array:
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    means: Array = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / counts
    return means
