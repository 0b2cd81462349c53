"""Where a point walked over a landscape of two coordinates, and the frame that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lossbench.analysis.curves import Array
from lossbench.analysis.table import Table
from lossbench.errors import UsageError
from lossbench.lazy import np

COORDINATES = ("validation/first_coordinate", "validation/second_coordinate")
MARGIN = 0.1
LEAST_SIDE = 0.4
SMALLEST = 0.1
FARTHEST = 1.0
"""How far the frame follows a path out of the box of beginnings and minima, in its sizes."""

RUNAWAY = 5.0
"""A path that covers more than so many sizes of the box has no say in the frame."""


@dataclass(frozen=True, eq=False)
class Path:
    """The points of one trial in their order, the beginning included where it is known."""

    contender: str
    problem: str
    seed: int
    x: Array
    y: Array


def paths(table: Table, problem: str, seeds: int | None = None) -> tuple[Path, ...]:
    """Return the paths of the first `seeds` trials of every contender; of all unless given.

    Raises UsageError where the coordinates were not recorded.
    """
    missing = [name for name in COORDINATES if name not in table.traces]
    if missing:
        names = ", ".join(name.partition("/")[2] for name in COORDINATES)
        raise UsageError(
            f"no curve of '{missing[0]}' was recorded: nobody knows where the point was",
            hint=f"compare with metrics=[{names}]",
        )
    found = []
    for name in table.names:
        for row in table.rows(name, problem)[:seeds].tolist():
            x, y = (np.asarray(table.traces[metric].values[row]) for metric in COORDINATES)
            known = np.isfinite(x) & np.isfinite(y)
            seed = int(table.seed[row])
            found.append(Path(name, problem, seed, x[known], y[known]))
    return tuple(found)


def begun_at(path: Path, start: tuple[float, float]) -> Path:
    """Return the path with the point before the first step, which no evaluation has seen."""
    x, y = (np.concatenate([[at], axis]) for at, axis in zip(start, (path.x, path.y), strict=True))
    return replace(path, x=x, y=y)


Frame = tuple[tuple[float, float], tuple[float, float]]


def frame(walked: Sequence[Path], minima: Array) -> Frame:
    """Return the ends of x and y that show the paths and the minima they were after.

    What runs away is cut off: a diverged path must not shrink the landscape to a dot. Of several
    minima those that no path was near are left out.
    """
    wanted = np.asarray(minima, dtype=np.float64).reshape(-1, 2)
    walks = [np.stack([path.x, path.y], axis=1) for path in walked if len(path.x)]
    begun = np.array([points[0] for points in walks]).reshape(-1, 2)
    core = np.concatenate([_nearest(wanted, begun), begun])
    size = max(float(np.ptp(core, axis=0).max()), SMALLEST)
    steady = [points for points in walks if np.ptp(points, axis=0).max() <= RUNAWAY * size]
    ended = np.array([points[-1] for points in steady]).reshape(-1, 2)
    core = np.concatenate([core, _nearest(wanted, ended)])
    low, high = core.min(axis=0), core.max(axis=0)
    size = max(float((high - low).max()), SMALLEST)
    everything = np.concatenate([core, *steady])
    low = np.maximum(everything.min(axis=0), low - FARTHEST * size)
    high = np.minimum(everything.max(axis=0), high + FARTHEST * size)
    middle, half = (low + high) / 2, np.maximum(high - low, LEAST_SIDE * size) * (0.5 + MARGIN)
    low, high = middle - half, middle + half
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _nearest(minima: Array, points: Array) -> Array:
    """Return the minima that are the nearest one of some point; all where there is no point."""
    if not len(points):
        return minima
    away = np.linalg.norm(points[:, None] - minima[None], axis=2)
    return minima[np.unique(away.argmin(axis=1))]


def contour_levels(heights: Array, count: int = 13) -> tuple[float, ...]:
    """Return heights between which equal shares of the landscape lie.

    Valleys show as clearly as cliffs, whatever the scale of the function.
    """
    finite = heights[np.isfinite(heights)]
    shares = np.linspace(0.02, 0.97, count)
    return tuple(dict.fromkeys(float(value) for value in np.quantile(finite, shares)))
