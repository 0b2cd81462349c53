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

    def settled(self) -> Array:
        """Return the mean of the last `window` finite values at each point; NaN where none is.

        The sum is formed anew for every point: a running sum would never recover its digits after
        one spike of 1e20. It is computed once, and not to be written to.
        """
        return self._settled

    @cached_property
    def _settled(self) -> Array:
        known = np.isfinite(self.values)
        if self.window == 1:
            return np.where(known, self.values, np.nan)
        clean = np.where(known, self.values, 0.0)
        total, count = np.zeros_like(clean), np.zeros_like(clean)
        for back in range(min(self.window, clean.shape[1])):
            total[:, back:] += clean[:, : clean.shape[1] - back]
            count[:, back:] += known[:, : clean.shape[1] - back]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known, total / count, np.nan)


def carried(values: Array) -> Array:
    """Fill what is not finite with the last finite value before it along the points."""
    places = np.where(np.isfinite(values), np.arange(values.shape[1]), -1)
    latest = np.maximum.accumulate(places, axis=1)
    filled = np.take_along_axis(values, np.maximum(latest, 0), axis=1)
    return np.where(latest >= 0, filled, np.nan)
