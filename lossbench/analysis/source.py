"""Where tables come from: the directory of a comparison, or the directories of finished runs.

A comparison of last month enters here, and takes the same path as one that has just ended.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.times import stalled_at
from lossbench.analysis.traces import Traces
from lossbench.errors import RunError, UsageError
from lossbench.lazy import np
from lossbench.rundir.comparison import ComparisonDirectory

FINAL, BEST, CURVE = "final/", "best/", "curve/"
DEFAULT = "default"
"""The role of a trial that shows what a tuned contender does untuned: no row of the table."""

WINDOW = 20
"""Batches whose mean loss says where a trial stands."""


def comparison_table(directory: ComparisonDirectory) -> Table:
    """Return the trials of a finished comparison.

    Raises RunError where a piece of it is missing.
    """
    record = directory.read_record()
    rows = directory.read_trials()
    arrays, _ = directory.read_curves()
    chosen = [index for index, row in enumerate(rows) if row.get("role") != DEFAULT]
    trials = [_trial(rows[index]) for index in chosen]
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


def _trial(row: Mapping[str, str]) -> Trial:
    status = row["status"]
    return Trial(
        contender=row["contender"],
        seed=int(row["seed"]),
        problem=row["problem"],
        status=status,
        failed_at=int(row["ended"]) if status == "diverged" else None,
        final=_values(row, FINAL),
        best=_values(row, BEST),
    )


def _values(row: Mapping[str, str], opening: str) -> dict[str, float]:
    return {
        name.removeprefix(opening): _number(text)
        for name, text in row.items()
        if name.startswith(opening)
    }


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")


def _traces(arrays: Mapping[str, Any], chosen: Sequence[int], trials: int) -> dict[str, Traces]:
    found = {}
    for name, values in arrays.items():
        if not name.startswith(CURVE):
            continue
        if len(values) != trials:
            raise RunError(f"{len(values)} curves of '{name}', but {trials} trials: damaged")
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
                found[index] = _stalled(found[index], int(since[index]))
    return found


def _stalled(trial: Trial, step: int) -> Trial:
    return Trial(
        trial.contender, trial.seed, trial.problem, "stalled", step, trial.final, trial.best
    )


def run_table(runs: Sequence[Any]) -> Table:
    """Return finished runs as a table: runs that differ in their seed only are one contender.

    `runs` are what `lossbench.load` gives. Raises UsageError for fewer than two contenders.
    """
    raise UsageError("not yet")
