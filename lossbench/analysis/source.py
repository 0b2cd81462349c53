"""Where tables come from: the directory of a comparison, or (`run_table`) those of finished runs.

A comparison of last month enters here, and takes the same path as one that has just ended.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lossbench.analysis.runs import run_table
from lossbench.analysis.table import Contender, Metric, Table
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
    columns = directory.read_trial_columns()
    arrays, _ = directory.read_curves()
    try:
        return _table(record, columns, arrays)
    except (KeyError, IndexError, TypeError, ValueError, UsageError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(
            f"comparison {directory.id} is damaged: its files do not fit together ({why})",
            hint=f"it can be made again from {directory.config}",
        ) from error


def _table(
    record: Mapping[str, Any], columns: Mapping[str, Sequence[str]], arrays: Mapping[str, Any]
) -> Table:
    trials = len(columns["trial"])
    roles = columns.get("role", [""] * trials)
    chosen = np.array([row for row, role in enumerate(roles) if role != DEFAULT], dtype=np.int64)
    texts = {name: np.array(column, dtype=object)[chosen] for name, column in columns.items()}
    traces = _traces(arrays, chosen, trials)
    # Test data are looked at once, with the best weights: that is their end.
    finals = {
        name: name.partition("/")[2] for name in texts if name.startswith((FINAL, f"{BEST}test/"))
    }
    bests = {name: name.partition("/")[2] for name in texts if name.startswith(BEST)}
    contenders = tuple(Contender(**described) for described in record["contenders"])
    problems = tuple(dict.fromkeys(texts["problem"].tolist())) or ("",)
    status, failed_at = texts["status"], np.full(len(chosen), -1, dtype=np.int64)
    diverged = status == "diverged"
    failed_at[diverged] = texts["ended"][diverged].astype(np.int64)
    if "train/loss" in traces:
        levels = _numbers(texts["uninformed"]) if "uninformed" in texts else np.nan
        since = stalled_at(traces["train/loss"], levels)
        stalled = (since >= 0) & (status == "done")
        failed_at[stalled], status[stalled] = since[stalled], "stalled"
    return Table(
        contenders=contenders,
        metrics=_metrics(record, dict.fromkeys([*traces, *finals.values(), *bests.values()])),
        contender=_places(texts["contender"], [contender.name for contender in contenders]),
        seed=texts["seed"].astype(np.int64),
        problem=_places(texts["problem"], problems),
        status=status,
        failed_at=failed_at,
        final={metric: _numbers(texts[name]) for name, metric in finals.items()},
        best={metric: _numbers(texts[name]) for name, metric in bests.items()},
        traces=traces,
        problems=problems,
    )


def _metrics(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Metric]:
    lower, floors = record["lower_is_better"], record.get("floors", {})
    return {
        name: Metric(name, lower.get(name.rpartition("/")[2], True), floors=floors.get(name, {}))
        for name in names
    }


def _places(column: Any, names: Sequence[str]) -> Any:
    """Return for each name of a column where it stands among all."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in column.tolist()], dtype=np.int64)


def _numbers(column: Any) -> Any:
    """Return a column of text as numbers; an empty cell is NaN."""
    return np.array([float(text) if text else np.nan for text in column.tolist()], dtype=np.float64)


def _traces(arrays: Mapping[str, Any], chosen: Any, trials: int) -> dict[str, Traces]:
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
        found[metric] = Traces(steps, values[chosen], epochs, window)
    return found


def _axis(arrays: Mapping[str, Any], name: str, chosen: Any) -> Any:
    axis = arrays[name]
    return axis if axis.ndim == 1 else axis[chosen]
