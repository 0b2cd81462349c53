"""The curves of a metric over the training of many trials."""

from dataclasses import dataclass
from functools import cached_property

from lossbench.analysis.curves import Array
from lossbench.errors import UsageError
from lossbench.lazy import np


@dataclass(frozen=True, eq=False)
class Traces:
    """A metric over training: values[trial, point] after steps[point], or steps[trial, point].

    NaN stands where nothing was recorded or the value was not a number. `window` is the number of
    points whose mean says where a trial stands: 1 for evaluations of whole splits, more for the
    losses of single batches, of which a lucky one says nothing.
    """

    steps: Array
    values: Array
    epochs: Array | None = None
    window: int = 1

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2:
            raise UsageError(f"curves are [trials, points], these are of shape {values.shape}")
        object.__setattr__(self, "values", values)
        for name in ("steps", "epochs"):
            axis = getattr(self, name)
            if axis is None:
                continue
            axis = np.asarray(axis, dtype=np.float64)
            if axis.shape not in (values.shape, values.shape[1:]):
                raise UsageError(
                    f"the {name} of curves of shape {values.shape} are of shape {axis.shape}"
                )
            object.__setattr__(self, name, np.broadcast_to(axis, values.shape))
        if self.window < 1:
            raise UsageError(f"a window has at least one point, not {self.window}")

    def settled(self, rows: Array | None = None) -> Array:
        """Return the mean of the last `window` finite values at each point; NaN where none is.

        The sum is formed anew for every point: a running sum would never recover its digits after
        one spike of 1e20. Of all trials it is computed once, and not to be written to; `rows`
        chooses some of them.
        """
        return self._settled if rows is None else _means(self.values[rows], self.window)

    def settled_at(self, points: Array) -> Array:
        """Return where each trial stands at a point of its own: `settled`, at one place a row."""
        places = points[:, None] - np.arange(self.window)
        last = np.take_along_axis(self.values, np.maximum(places, 0), axis=1)
        known = np.isfinite(last) & (places >= 0)
        with np.errstate(invalid="ignore"):
            means = np.where(known, last, 0.0).sum(axis=1) / known.sum(axis=1)
        return np.where(known[:, 0], means, np.nan)

    @cached_property
    def _settled(self) -> Array:
        found = np.empty_like(self.values)
        rows = max(1, _BLOCK // max(1, self.values.shape[1]))
        for start in range(0, len(found), rows):
            found[start : start + rows] = _means(self.values[start : start + rows], self.window)
        return found


_BLOCK = 1 << 15  # values whose means are formed at a time: they stay in the cache


def _means(values: Array, window: int) -> Array:
    """Return at each point of each row the mean of the last `window` finite values."""
    known = np.isfinite(values)
    if window == 1:
        return np.where(known, values, np.nan)
    total = _sums(np.where(known, values, 0.0), window)
    count = _sums(known.astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, total / count, np.nan)


def _sums(values: Array, window: int) -> Array:
    """Return at each point the sum of the last `window` values: pairs, fours, eights, and so on."""
    found, reach = np.zeros_like(values), 0
    power, width = values, 1
    while True:
        if window & width:
            # The sum of `width` values that end where those already taken begin.
            found[:, reach:] += power[:, : values.shape[1] - reach]
            reach += width
        if reach >= min(window, values.shape[1]):
            return found
        double = power.copy()
        double[:, width:] += power[:, :-width]
        power, width = double, 2 * width


def carried(values: Array) -> Array:
    """Fill what is not finite with the last finite value before it along the points."""
    places = np.where(np.isfinite(values), np.arange(values.shape[1]), -1)
    latest = np.maximum.accumulate(places, axis=1)
    filled = np.take_along_axis(values, np.maximum(latest, 0), axis=1)
    return np.where(latest >= 0, filled, np.nan)
