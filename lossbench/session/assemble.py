"""The pieces of a comparison as arrays that are stored, and put together to the whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lossbench.lazy import np

if TYPE_CHECKING:
    from lossbench.training.chunks import ChunkResult

CURVE, STEPS, EPOCHS, FINAL, BEST = "curve/", "steps/", "epochs/", "final/", "best/"

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
    """The finished pieces of a stage, by trial."""

    arrays: list[Arrays] = field(default_factory=list)
    facts: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Take in a finished piece."""
        self.arrays.append(arrays)
        self.facts.append(facts)

    def positions(self) -> dict[int, tuple[int, int]]:
        """Return where each trial is: its piece and its row there."""
        return {
            int(trial): (piece, row)
            for piece, arrays in enumerate(self.arrays)
            for row, trial in enumerate(arrays["trials"])
        }

    def outcome(self, piece: int, row: int) -> dict[str, Any]:
        """Return what became of a trial, flat: a row of trials.csv."""
        arrays, facts = self.arrays[piece], self.facts[piece]
        plan = facts["facts"].get("plan", {})
        found: dict[str, Any] = {
            "status": facts["status"][row],
            "ended": int(arrays["ended"][row]),
            "detail": facts["detail"][row] or None,
            "fused": plan.get("step") == "fused",
            "best_step": int(arrays["best_step"][row]),
        }
        for name, values in arrays.items():
            if name.startswith((FINAL, BEST)):
                found[name] = shortest(values[row])
        return found

    def final(self, metric: str, trials: Iterable[int]) -> list[float]:
        """Return a metric's value with the last weights, for these trials."""
        where = self.positions()
        found = []
        for trial in trials:
            piece, row = where[trial]
            failed = self.facts[piece]["status"][row] == "diverged"
            value = self.arrays[piece].get(FINAL + metric)
            found.append(float("nan") if failed or value is None else float(value[row]))
        return found

    def curves(self, trials: Sequence[int]) -> Arrays:
        """Return the curves of these trials: [trials, points] per metric, NaN where none is.

        The axes (steps and epochs of each split) have a row per trial where they differ, else one
        row serves all.
        """
        where = self.positions()
        names = list(dict.fromkeys(n for arrays in self.arrays for n in arrays))
        found: Arrays = {}
        for name in names:
            if not name.startswith((CURVE, STEPS, EPOCHS)):
                continue
            rows = [self._row(name, *where[trial]) for trial in trials]
            points = max(len(row) for row in rows)
            whole = np.full((len(rows), points), np.nan, dtype=np.float32)
            for index, row in enumerate(rows):
                whole[index, : len(row)] = row
            axis = not name.startswith(CURVE)
            if (
                axis
                and len(whole)
                and np.array_equal(whole, np.broadcast_to(whole[0], whole.shape))
            ):
                whole = whole[0].copy()
            found[name] = whole
        return found

    def _row(self, name: str, piece: int, row: int) -> Any:
        values = self.arrays[piece].get(name)
        if values is None:
            return np.empty(0, dtype=np.float32)
        return values[row] if name.startswith(CURVE) else values


def shortest(value: Any) -> float | None:
    """Return a number with the digits that a float32 has, none where it is not a number."""
    number = float(value)
    return float(f"{number:.9g}") if np.isfinite(number) else None
