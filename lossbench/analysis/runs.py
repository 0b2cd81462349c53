"""Finished runs as a table: those that differ in their seed only are one contender."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.curves import Curves, Series, curves
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.traces import Traces
from lossbench.errors import RunError, UsageError
from lossbench.lazy import np
from lossbench.rundir.labels import labels
from lossbench.rundir.runs import Run

NO_CONTENDER = ("name", "metrics")
"""Blocks that make no other contender: what a run is called, and what is measured of it."""

SAME_RESULT = ("seed", "checkpoint_every", "device", "threads", "step")
"""Keys of `train` that make no other contender: the seed, and how a run is carried out."""

TRAIN_LOSS = "train/loss"
KINDS = ("steps", "epochs", "values")


@dataclass(frozen=True)
class _Read:
    """One run, read: its config without what makes no other contender, and what it recorded."""

    run: Run
    config: dict[str, Any]
    seed: int
    status: str
    failed_at: int | None
    final: dict[str, float]
    best: dict[str, float]
    curves: Mapping[str, Series]

    @property
    def metrics(self) -> frozenset[str]:
        """All that was measured."""
        return frozenset({*self.final, *self.best, *self.curves})


def run_table(runs: Sequence[Run], *, window: int = 20) -> Table:
    """Return finished runs as a table; they are paired by their seeds.

    Only metrics that all contenders recorded take part. What their data and lengths are is kept,
    so that unequal ones are flagged.
    Raises UsageError for fewer than two contenders, for the same run twice, and where no metric is
    common; RunError for a run that is not finished.
    """
    read = [_read(run) for run in runs]
    groups = _groups(read)
    names = _names(groups)
    if len(groups) < 2:
        raise UsageError(
            f"{len(runs)} runs of one contender: there is nothing to compare",
            hint="runs that differ in train.seed only are one contender; "
            "add a run with another optimizer, loss, network ...",
        )
    common = _common(groups, names)
    trials = [
        Trial(
            contender=name,
            seed=one.seed,
            status=one.status,
            failed_at=one.failed_at,
            final={metric: v for metric, v in one.final.items() if metric in common},
            best={metric: v for metric, v in one.best.items() if metric in common},
        )
        for name, group in zip(names, groups, strict=True)
        for one in group
    ]
    ordered = [one for group in groups for one in group]
    contenders = [_contender(name, group) for name, group in zip(names, groups, strict=True)]
    lower = _directions(ordered)
    floors = _floors(ordered)
    metrics = [
        Metric(name, lower.get(name.rpartition("/")[2], True), floors=floors.get(name, {}))
        for name in common
    ]
    return Table.from_trials(trials, contenders, metrics, _traces(ordered, common, window))


def _read(run: Run) -> _Read:
    summary, status = run.summary, run.status
    if status not in ("done", "diverged", "failed") or (status != "failed" and not summary):
        raise RunError(
            f"run {run.id} is not finished ({status}): only finished runs are compared",
            hint=f"to go on with it: lossbench train --resume {run.directory.argument}",
        )
    config = {key: value for key, value in run.config.items() if key not in NO_CONTENDER}
    train = config.get("train", {})
    config["train"] = {key: value for key, value in train.items() if key not in SAME_RESULT}
    recorded = curves(run.rows)
    stopped = summary.get("diverged") or {}
    final = _numbers(summary.get("final", {}))
    final |= {f"test/{name}": v for name, v in _numbers(summary.get("test", {})).items()}
    best = {name: found.get("value") for name, found in summary.get("best", {}).items()}
    return _Read(
        run=run,
        config=config,
        seed=int(train.get("seed", 0)),
        status="stopped" if "early_stopping" in summary else status,
        failed_at=stopped.get("step"),
        final=final,
        best=_numbers(best),
        curves=_named(recorded),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float("nan") if v is None else float(v) for name, v in values.items()}


def _named(recorded: Curves) -> dict[str, Series]:
    """Return the curves by their names, `train/loss` being those of the batches."""
    found = {TRAIN_LOSS: recorded.steps} if len(recorded.steps) else {}
    for metric, series in recorded.evaluations.get("validation", {}).items():
        found[f"validation/{metric}"] = series
    return found


def _groups(read: Sequence[_Read]) -> list[list[_Read]]:
    """Return the runs by contender, in the order in which they came."""
    groups: list[list[_Read]] = []
    for one in read:
        home = next((group for group in groups if group[0].config == one.config), None)
        if home is None:
            groups.append([one])
            continue
        twin = next((other for other in home if other.seed == one.seed), None)
        if twin is not None:
            same = (
                "named twice" if twin.run.path == one.run.path else f"that of {twin.run.id} again"
            )
            raise UsageError(
                f"run {one.run.id} is {same}: the same config and seed {one.seed}",
                hint="leave one of them out, or give it another train.seed",
            )
        home.append(one)
    return groups


def _names(groups: Sequence[Sequence[_Read]]) -> list[str]:
    """Name each contender by what distinguishes it, else by its runs' name, else by an id."""
    ids = [group[0].run.id for group in groups]
    told = labels([group[0].config for group in groups], ids)
    given = [str(group[0].run.record.get("name", "")) for group in groups]
    if told == ids and all(given) and len(set(given)) == len(given):
        return given
    return told


def _common(groups: Sequence[Sequence[_Read]], names: Sequence[str]) -> list[str]:
    """Return the metrics that all contenders recorded, in order.

    A run that broke off before its first evaluation says nothing about what is measured.
    """
    sets = []
    for group in groups:
        whole = [one for one in group if one.status not in ("diverged", "failed")] or group
        sets.append(frozenset[str]().union(*(one.metrics for one in whole)))
    ended = [
        found
        for found, group in zip(sets, groups, strict=True)
        if any(one.status not in ("diverged", "failed") for one in group)
    ]
    common = frozenset.intersection(*(ended or sets))
    if not common:
        told = "; ".join(
            f"{name}: {', '.join(sorted(found)) or 'nothing'}"
            for name, found in zip(names, sets, strict=True)
        )
        raise UsageError(f"no metric was recorded by all of these runs ({told})")
    return sorted(common, key=lambda name: (name.partition("/")[0] != "validation", name))


def _contender(name: str, group: Sequence[_Read]) -> Contender:
    config, first = group[0].config, group[0].run
    loss = dict(config.get("loss", {}))
    kind = str(loss.pop("name", ""))
    knobs = ", ".join(f"{key}={value!r}" for key, value in loss.items() if key != "impl")
    rate = config.get("optimizer", {}).get("lr")
    return Contender(
        name,
        loss=f"{kind}({knobs})" if knobs else kind,
        rate=None if rate is None else float(rate),
        data="; ".join(sorted({str(one.run.record.get("data")) for one in group})),
        steps=first.record.get("job", {}).get("total_steps"),
    )


def _directions(read: Sequence[_Read]) -> dict[str, bool]:
    """Return for every metric whether lower is better, as the runs say."""
    found: dict[str, bool] = {}
    for one in read:
        found |= one.run.record.get("job", {}).get("lower_is_better", {})
    return found


def _floors(read: Sequence[_Read]) -> dict[str, dict[str, float]]:
    """Return the best that can be expected, where all runs know of the same."""
    known = [one.run.record.get("job", {}).get("floor", {}) for one in read]
    return {
        f"{split}/{name}": {"": float(value)}
        for name, value in known[0].items()
        if all(other.get(name) == value for other in known)
        for split in ("validation", "test")
    }


def _traces(read: Sequence[_Read], common: Sequence[str], window: int) -> dict[str, Traces]:
    found = {}
    for name in common:
        rows = [one.curves.get(name) for one in read]
        points = max((len(row) for row in rows if row is not None), default=0)
        if not points:
            continue
        columns = {kind: np.full((len(read), points), np.nan) for kind in KINDS}
        for index, row in enumerate(rows):
            if row is not None:
                for kind in KINDS:
                    columns[kind][index, : len(row)] = getattr(row, kind)
        batches = name == TRAIN_LOSS
        mean_of = max(1, min(window, points // 5)) if batches else 1
        found[name] = Traces(columns["steps"], columns["values"], columns["epochs"], mean_of)
    return found
