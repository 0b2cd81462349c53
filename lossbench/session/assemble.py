"""The pieces of a comparison as arrays that are stored, and put together to the whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lossbench.lazy import np
from lossbench.rundir.records import short_numbers

if TYPE_CHECKING:
    from lossbench.training.chunks import ChunkResult

CURVE, STEPS, EPOCHS, FINAL, BEST = "curve/", "steps/", "epochs/", "final/", "best/"

LOST = frozenset({"diverged", "failed"})
"""What becomes of a trial that has no last weights to be judged by."""

Arrays = dict[str, Any]


def piece_of(result: "ChunkResult") -> tuple[Arrays, dict[str, Any]]:
    """Return what is stored of a finished piece: arrays by name, and facts for JSON."""
    arrays: Arrays = {
        "trials": np.asarray(result.trials, dtype=np.int64),
        "ended": np.asarray(result.ended, dtype=np.int64),
        "best_step": np.asarray(result.best_step, dtype=np.int64),
    }
    for opening, named in (
        (CURVE, result.curves),
        (STEPS, result.steps),
        (EPOCHS, result.epochs),
        (FINAL, result.final),
        (BEST, result.best),
    ):
        arrays |= {opening + name: np.asarray(values) for name, values in named.items()}
    facts = {"status": result.status, "detail": result.detail, "facts": result.facts}
    return arrays, facts


@dataclass
class Pieces:
    """The finished pieces of a stage: trials are found in them by their numbers."""

    arrays: list[Arrays] = field(default_factory=list)
    facts: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Take in a finished piece."""
        self.arrays.append(arrays)
        self.facts.append(facts)

    def __len__(self) -> int:
        """Return the number of trials in the pieces."""
        return sum(len(arrays["trials"]) for arrays in self.arrays)

    def outcomes(self, trials: Sequence[int]) -> dict[str, list[Any]]:
        """Return what became of these trials: columns of trials.csv, values as text."""
        found: dict[str, Any] = {}
        for arrays, facts, rows, places in self._among(trials):
            for name, column in _outcomes(arrays, facts).items():
                if name not in found:
                    empty = None if column.dtype == object else np.nan
                    found[name] = np.full(len(trials), empty, dtype=column.dtype)
                found[name][places] = column[rows]
        known = [name for name in found if not name.startswith((FINAL, BEST))]
        measured = sorted(found.keys() - set(known), key=lambda name: (name.startswith(BEST), name))
        return {name: found[name].tolist() for name in known} | {
            name: short_numbers(found[name]) for name in measured
        }

    def final(self, metric: str, trials: Sequence[int]) -> list[float]:
        """Return a metric's value with the last weights, NaN for trials that have none."""
        found = np.full(len(trials), np.nan)
        for arrays, facts, rows, places in self._among(trials):
            value = arrays.get(FINAL + metric)
            if value is not None:
                lost = np.array([status in LOST for status in facts["status"]])
                found[places] = np.where(lost, np.nan, value)[rows]
        return [float(value) for value in found]

    def curves(self, trials: Sequence[int]) -> Arrays:
        """Return the curves of these trials: [trials, points] per metric, NaN where none is.

        An axis (the steps or epochs of a split) is one row where it serves all trials that have
        such a curve, else it has a row per trial.
        """
        pieces = list(self._among(trials))
        names = sorted({name for arrays, *_ in pieces for name in arrays})
        found: Arrays = {}
        for name in names:
            held = [piece for piece in pieces if name in piece[0]]
            if name.startswith(CURVE):
                points = max(arrays[name].shape[1] for arrays, *_ in held)
                whole = np.full((len(trials), points), np.nan, dtype=np.float32)
                for arrays, _, rows, places in held:
                    values = arrays[name]
                    whole[places, : values.shape[1]] = values[rows]
                found[name] = whole
            elif name.startswith((STEPS, EPOCHS)):
                found[name] = _axis([(piece[0][name], piece[3]) for piece in held], len(trials))
        return found

    def _among(self, trials: Sequence[int]) -> Iterator[tuple[Arrays, Mapping[str, Any], Any, Any]]:
        """Yield the pieces with some of these trials: their rows there, their places here."""
        place = {number: index for index, number in enumerate(trials)}
        for arrays, facts in zip(self.arrays, self.facts, strict=True):
            at = np.array([place.get(number, -1) for number in arrays["trials"].tolist()])
            rows = np.flatnonzero(at >= 0)
            if len(rows):
                yield arrays, facts, rows, at[rows]


def _outcomes(arrays: Arrays, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of a piece's trials: a column for each fact, a number for each value."""
    fused = facts["facts"].get("plan", {}).get("step") == "fused"
    told: dict[str, Sequence[Any]] = {
        "status": facts["status"],
        "ended": arrays["ended"].tolist(),
        "detail": [text or None for text in facts["detail"]],
        "fused": [fused] * len(arrays["trials"]),
        "best_step": arrays["best_step"].tolist(),
    }
    return {name: np.array(column, dtype=object) for name, column in told.items()} | {
        name: values.astype(np.float64)
        for name, values in arrays.items()
        if name.startswith((FINAL, BEST))
    }


def _axis(axes: Sequence[tuple[Any, Any]], trials: int) -> Any:
    """Return an axis: itself where all pieces have the same, else [trials, points] with NaN."""
    first = axes[0][0]
    if all(np.array_equal(axis, first) for axis, _ in axes):
        return first
    whole = np.full((trials, max(len(axis) for axis, _ in axes)), np.nan)
    for axis, places in axes:
        whole[places, : len(axis)] = axis
    return whole
