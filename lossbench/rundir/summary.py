"""What a run came to: final values, best values, the test; computed from its rows alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from lossbench.rundir.records import Row

_NOT_VALUES = frozenset({"step", "epoch", "split", "weights", "lr", "nonfinite"})


def summarize(rows: Iterable[Row], lower_is_better: Mapping[str, bool]) -> dict[str, Any]:
    """Return the values of a run that people ask for first.

    final:        {"validation/loss": ...}: the last weights over whole splits.
    best:         {"validation/loss": {"value", "step", "epoch"}}: the best that was seen on
                  validation data, by the metric's own direction; metrics whose direction is not
                  given are left out.
    best_weights: {"train/loss": ...}: the weights that are kept, over whole splits.
    test:         {"accuracy": ...}: the same weights on test data, looked at once.
    """
    final: dict[str, Any] = {}
    best: dict[str, Any] = {}
    best_weights: dict[str, Any] = {}
    for row in rows:
        weights = row.get("weights")
        if weights is None:  # the loss of one batch
            continue
        for metric, value in row.items():
            if metric in _NOT_VALUES:
                continue
            name = f"{row['split']}/{metric}"
            if weights == "best":
                best_weights[name] = value
                continue
            final[name] = value
            if metric in lower_is_better and row["split"] == "validation" and value is not None:
                sign = 1 if lower_is_better[metric] else -1
                if name not in best or sign * value < sign * best[name]["value"]:
                    best[name] = {"value": value, "step": row["step"], "epoch": row["epoch"]}
    return {
        "final": final,
        "best": best,
        "best_weights": best_weights,
        "test": {
            name.removeprefix("test/"): value
            for name, value in {**final, **best_weights}.items()
            if name.startswith("test/")
        },
    }
