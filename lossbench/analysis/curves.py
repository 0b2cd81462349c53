"""What a run's metrics say as columns, and what a picture needs of them: smoothing, thinning.

Rows of `metrics.jsonl` come in, NumPy columns go out. A value that is not finite is NaN here.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lossbench.lazy import np

Array = Any
"""A NumPy array (the annotation must not import NumPy)."""

RAW_POINTS = 4000
"""Above this many steps a raw curve is drawn as its extremes: a printed column has no more dots."""

SMOOTH_POINTS = 1000
SMOOTHING_SHARE = 1 / 10
LEAST_RADIUS = 2
DECADES_FOR_LOG = 1.3


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity over the run: value after (for a batch's loss: of) each of these steps."""

    steps: Array
    epochs: Array
    values: Array

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Curves:
    """All that a run recorded while it trained.

    steps:       the loss of every step's batch.
    evaluations: split -> metric -> its values at the evaluations during training.
    """

    steps: Series
    evaluations: Mapping[str, Mapping[str, Series]] = field(default_factory=dict)


NOT_VALUES = frozenset({"step", "epoch", "split", "weights", "nonfinite", "lr"})
"""The keys of a row that measure nothing."""


def as_float(value: Any) -> float:
    """Return a recorded value as a float; what strict JSON could not say (null) is NaN."""
    return float("nan") if value is None else float(value)


def series(rows: Iterable[Mapping[str, Any]], metric: str) -> Series:
    """Collect one quantity from the rows that hold it."""
    held = [row for row in rows if metric in row]
    return Series(
        np.array([row["step"] for row in held], dtype=np.int64),
        np.array([as_float(row.get("epoch")) for row in held], dtype=np.float64),
        np.array([as_float(row[metric]) for row in held], dtype=np.float64),
    )


def curves(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """Arrange the rows of `metrics.jsonl`.

    A step's row says no weights; an evaluation's says "current" or, at the end, "best". Curves are
    of the current ones. Training data are evaluated at the end only: that is no curve.
    """
    steps = []
    evaluated: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        if "weights" not in row:
            steps.append(row)
        elif row["weights"] == "current":
            # The last epoch's weights are evaluated once more at the end: one point, not two.
            evaluated.setdefault(row["split"], {})[row["step"]] = row
    evaluations: dict[str, dict[str, Series]] = {}
    for split, by_step in evaluated.items():
        held = [by_step[step] for step in sorted(by_step)]
        names = dict.fromkeys(name for row in held for name in row if name not in NOT_VALUES)
        evaluations[split] = {name: series(held, name) for name in names}
    return Curves(series(steps, "loss"), evaluations)


def smooth(values: Array, radius: int, *, logarithmic: bool = False) -> Array:
    """Smooth a curve by a straight line fitted around each point, near points counting more.

    Formula: the value at 0 of the line a + b u minimising sum_u w(u) (y[i + u] - a - b u)^2 with
             the tricube weight w(u) = (1 - |u / (r + 1)|^3)^3 for |u| <= r,
             and r = min(radius, i + 2)
    Note:    a fitted line, unlike a moving average, has no lag and no flattened ends. The window
             grows from the first point on, since a loss falls fastest at the start. Points that
             are not finite are left out, and stay so. With `logarithmic` the logarithms are
             smoothed: the line then runs through the middle of what a logarithmic axis shows.
    Reference: Cleveland, Robust Locally Weighted Regression and Smoothing Scatterplots, 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    if radius < 1 or len(values) < 3:
        return values.copy()
    if logarithmic:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(smooth(np.log(values), radius))
    smoothed = np.full(len(values), np.nan)
    for place in np.flatnonzero(np.isfinite(values)).tolist():
        reach = min(radius, place + LEAST_RADIUS)
        window = np.arange(max(0, place - reach), min(len(values), place + reach + 1))
        smoothed[place] = _line_at(window - place, values[window], reach)
    return smoothed


def _line_at(offsets: Array, values: Array, reach: int) -> float:
    """Return the height at offset 0 of the weighted line through the finite values."""
    known = np.isfinite(values)
    u, y = offsets[known].astype(np.float64), values[known]
    weight = (1 - np.abs(u / (reach + 1)) ** 3) ** 3
    mass, first, second = weight.sum(), weight @ u, weight @ (u * u)
    spread = mass * second - first * first
    if spread <= 1e-9 * mass * mass:  # a lone point has no slope: it is its own line
        return float(weight @ y / mass)
    return float((second * (weight @ y) - first * (weight @ (u * y))) / spread)


def bucket_means(values: Array, count: int) -> tuple[Array, Array]:
    """Return the middles (positions) and means of `count` equal stretches of a curve.

    A stretch without any finite value has the mean NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    count = max(1, min(count, len(values)))
    edges = np.linspace(0, len(values), count + 1).round().astype(np.int64)
    known = np.isfinite(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), edges[:-1])
    numbers = np.add.reduceat(known.astype(np.float64), edges[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / numbers
    return (edges[:-1] + edges[1:] - 1) / 2, means


def thin(x: Array, y: Array, points: int = RAW_POINTS) -> tuple[Array, Array]:
    """Keep of a long curve the lowest and the highest point of each stretch, in their order.

    Drawn as a line it looks like the whole curve: no spike is lost.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(y) <= points:
        return x, y
    edges = np.linspace(0, len(y), points // 2 + 1).round().astype(np.int64)
    kept: list[int] = []
    for start, end in itertools.pairwise(edges.tolist()):
        stretch = y[start:end]
        if not np.isfinite(stretch).any():
            kept.append(start)
            continue
        extremes = {start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))}
        kept.extend(sorted(extremes))
    return x[kept], y[kept]


def trend(curve: Series) -> Series:
    """Return the smoothed course of a curve of single batches, on at most SMOOTH_POINTS points.

    The window is a fixed share of the run, so that the picture does not depend on its length.
    """
    positions, means = bucket_means(curve.values, SMOOTH_POINTS)
    radius = round(len(means) * SMOOTHING_SHARE)
    finite = means[np.isfinite(means)]
    positive = len(finite) > 0 and bool((finite > 0).all())
    smoothed = smooth(means, radius, logarithmic=positive)
    places = np.arange(len(curve), dtype=np.float64)
    return Series(
        np.interp(positions, places, curve.steps.astype(np.float64)),
        np.interp(positions, places, curve.epochs),
        smoothed,
    )


def wants_log(*columns: Sequence[float] | Array) -> bool:
    """Tell whether curves are readable only on a logarithmic axis: positive, over wide a range."""
    parts = [np.asarray(column, dtype=np.float64).ravel() for column in columns]
    values = np.concatenate(parts) if parts else np.array([])
    values = values[np.isfinite(values)]
    if len(values) == 0 or values.min() <= 0:
        return False
    return bool(np.log10(values.max() / values.min()) >= DECADES_FOR_LOG)


def best(values: Array, *, lower_is_better: bool = True) -> int | None:
    """Return the position of the first best value; none where no value is finite."""
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).any():
        return None
    return int(np.nanargmin(values) if lower_is_better else np.nanargmax(values))


SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float] | Array, width: int) -> str:
    """Draw a curve in one line of text, logarithmically where it spans decades.

    A stretch without a finite value is a blank.
    """
    if len(values) == 0 or width < 1:
        return ""
    _, means = bucket_means(np.asarray(values, dtype=np.float64), width)
    if wants_log(means):
        means = np.log(means)
    known = np.isfinite(means)
    if not known.any():
        return " " * len(means)
    low, high = means[known].min(), means[known].max()
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    levels = np.where(known, np.nan_to_num((means - low) * scale).round(), 0).astype(int)
    return "".join(
        SPARKS[level] if seen else " " for level, seen in zip(levels, known, strict=True)
    )
