"""Where tables come from: the directory of a comparison, or (`run_table`) those of finished runs.

A comparison of last month enters here, and takes the same path as one that has just ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lossbench.analysis.runs import run_table
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.times import stalled_at
from lossbench.analysis.traces import Traces
from lossbench.errors import RunError, UsageError
from lossbench.lazy import np
from lossbench.rundir.comparison import ComparisonDirectory

__all__ = ["DEFAULT", "comparison_table", "run_table"]

FINAL, BEST, CURVE = "final/", "best/", "curve/"
DEFAULT = "default"
"""The role of a trial that shows what a tuned contender does untuned: no row of the table."""

WINDOW = 20
"""Batches whose mean loss says where a trial stands."""


def comparison_table(directory: ComparisonDirectory) -> Table:
    """Return the trials of a finished comparison.

    Raises RunError where a file of it is missing or damaged.
    """
    record = directory.read_record()
    rows = directory.read_trials()
    arrays, _ = directory.read_curves()
    try:
        return _table(record, rows, arrays)
    except (KeyError, IndexError, TypeError, ValueError, UsageError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(
            f"comparison {directory.id} is damaged: its files do not fit together ({why})",
            hint=f"it can be made again from {directory.config}",
        ) from error


def _table(
    record: Mapping[str, Any], rows: Sequence[Mapping[str, str]], arrays: Mapping[str, Any]
) -> Table:
    chosen = [index for index, row in enumerate(rows) if row.get("role") != DEFAULT]
    columns = _Columns.of(rows[0] if rows else ())
    trials = [_trial(rows[index], columns) for index in chosen]
    traces = _traces(arrays, chosen, len(rows))
    levels = np.array([_number(rows[index].get("uninformed")) for index in chosen])
    trials = _with_stalls(trials, traces, levels)
    lower = record["lower_is_better"]
    names = dict.fromkeys([*traces, *(n for trial in trials for n in (*trial.final, *trial.best))])
    floors = record.get("floors", {})
    metrics = [
        Metric(name, lower.get(name.rpartition("/")[2], True), floors=floors.get(name, {}))
        for name in names
    ]
    contenders = [Contender(**described) for described in record["contenders"]]
    return Table.from_trials(trials, contenders, metrics, traces)


def _trial(row: Mapping[str, str], values: "_Columns") -> Trial:
    status = row["status"]
    return Trial(
        contender=row["contender"],
        seed=int(row["seed"]),
        problem=row["problem"],
        status=status,
        failed_at=int(row["ended"]) if status == "diverged" else None,
        final={metric: _number(row[column]) for column, metric in values.final},
        best={metric: _number(row[column]) for column, metric in values.best},
    )


@dataclass(frozen=True)
class _Columns:
    """The columns of trials.csv that hold values, with their metrics."""

    final: Sequence[tuple[str, str]]
    best: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, names: Iterable[str]) -> "_Columns":
        """Find them. Test data are looked at once, with the best weights: that is their end."""
        pairs = [(name, name.partition("/")[2]) for name in names]
        final = [pair for pair in pairs if pair[0].startswith((FINAL, f"{BEST}test/"))]
        return cls(final, [pair for pair in pairs if pair[0].startswith(BEST)])


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")


def _traces(arrays: Mapping[str, Any], chosen: Sequence[int], trials: int) -> dict[str, Traces]:
    found = {}
    for name, values in arrays.items():
        if not name.startswith(CURVE):
            continue
        if len(values) != trials:
            raise RunError(f"{len(values)} curves of '{name}', but {trials} trials")
        metric = name.removeprefix(CURVE)
        split = metric.partition("/")[0]
        steps, epochs = (_axis(arrays, f"{kind}/{split}", chosen) for kind in ("steps", "epochs"))
        window = WINDOW if split == "train" else 1
        window = max(1, min(window, values.shape[1] // 5))
        found[metric] = Traces(steps, values[list(chosen)], epochs, window)
    return found


def _axis(arrays: Mapping[str, Any], name: str, chosen: Sequence[int]) -> Any:
    axis = arrays[name]
    return axis if axis.ndim == 1 else axis[list(chosen)]


def _with_stalls(trials: Sequence[Trial], traces: Mapping[str, Traces], levels: Any) -> list[Trial]:
    """Mark the trials whose training loss stayed where no input is needed."""
    curve = traces.get("train/loss")
    if curve is None:
        return list(trials)
    found = list(trials)
    for level in np.unique(levels[np.isfinite(levels)]):
        since = stalled_at(curve, float(level))
        for index in np.flatnonzero((since >= 0) & (levels == level)):
            if found[index].status == "done":
                found[index] = replace(found[index], status="stalled", failed_at=int(since[index]))
    return found
