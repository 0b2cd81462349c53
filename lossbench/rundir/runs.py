"""What lies in a runs directory: listed, shown, compared, removed. Needs no torch.

run = lossbench.load("runs/cubic/20260101-120000-s0-bcdf")
run.status, run.config["optimizer"], run.summary["test"]
run.metrics["loss"], run.curve("validation/loss"), run.weights()
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lossbench.errors import RunError, UnknownNameError
from lossbench.rundir.differences import differences
from lossbench.rundir.directory import RUNS, RunDirectory
from lossbench.rundir.finding import all_runs, find
from lossbench.rundir.records import Row, columns_of, csv_text, json_text

_NOT_VALUES = frozenset({"step", "epoch", "split", "weights", "nonfinite"})

_EXPORTED = ("started", "ended", "seconds", "versions", "git", "plan", "job", "data")


@dataclass(frozen=True)
class Run:
    """A run that was made, read from its directory when it is asked for."""

    directory: RunDirectory

    @property
    def id(self) -> str:
        """Its id."""
        return self.directory.id

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.directory.path

    @property
    def status(self) -> str:
        """What became of it: running, done, failed, diverged, interrupted, killed, broken."""
        return self.directory.status()

    @cached_property
    def record(self) -> dict[str, Any]:
        """All of run.json: command, versions, commit, plan, seeds, times."""
        return self.directory.read_record()

    @property
    def config(self) -> dict[str, Any]:
        """The whole config, every default filled in."""
        config: dict[str, Any] = self.record.get("config", {})
        return config

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Final and best values (see summary.py); empty until the run has come to its end."""
        return self.directory.read_summary() or {}

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of metrics.jsonl, as they stand there."""
        return self.directory.read_metrics()

    @cached_property
    def metrics(self) -> dict[str, list[Any]]:
        """All rows as columns of one length: step, epoch, split, weights, loss, lr, ...

        None where a row has no such value. `pandas.DataFrame(run.metrics)` is a table.
        """
        return columns_of(self.rows)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of a curve: `train/loss`, `validation/accuracy`, `train/lr`.

        Of the training split these are the values of each step's batch. Raises RunError naming
        the curves that there are.
        """
        split, _, metric = name.partition("/")
        points = [
            (row["step"], _value(row, metric))
            for row in self.rows
            if row["split"] == split and metric in row and _on_curve(row)
        ]
        if not points:
            raise RunError(f"run {self.id} has no curve '{name}'", hint=", ".join(self.curves()))
        steps, values = zip(*points, strict=True)
        return list(steps), list(values)

    def curves(self) -> list[str]:
        """Return the names of the curves that there are."""
        names: dict[str, None] = {}
        for row in self.rows:
            if row.get("weights") == (None if row["split"] == "train" else "current"):
                not_values = {"step", "epoch", "split", "weights", "nonfinite"}
                names.update(
                    {f"{row['split']}/{key}": None for key in row if key not in not_values}
                )
        return list(names)

    def weights(self) -> dict[str, Any]:
        """Return the best weights, by name, as tensors."""
        return self.directory.read_model()[0]


def load(reference: str | Path, *, runs_dir: str | Path = RUNS) -> Run:
    """Return a run: a path, an id or its unique beginning, or `latest`.

    Raises RunError naming the nearest.
    """
    return Run(find(Path(runs_dir), reference))


def overview(runs_dir: Path) -> list[dict[str, Any]]:
    """Return a line about every run, the oldest first, for a table or for JSON."""
    return [_line(Run(directory)) for directory in all_runs(runs_dir)]


def show(reference: str, runs_dir: Path) -> dict[str, Any]:
    """Return all that is known of a run: its record, summary, files and size."""
    run = load(reference, runs_dir=runs_dir)
    record = {key: value for key, value in run.record.items() if key not in ("given", "hashes")}
    return {
        **record,
        "status": run.status,
        "path": str(run.path),
        "bytes": run.directory.size(),
        "files": sorted(
            str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()
        ),
        "summary": run.summary,
    }


def compare(left: str, right: str, runs_dir: Path) -> dict[str, Any]:
    """Return what differs between two runs: keys of the config, and values of the summary.

    config:  {"optimizer.lr": [0.1, 0.2]}, only where they differ.
    metrics: {"final validation/loss": {"left", "right", "difference"}}, wherever either has one;
             the difference is none where one has none, and between values of different losses.
    """
    one, other = (load(reference, runs_dir=runs_dir) for reference in (left, right))
    ours, theirs = _values(one), _values(other)
    same_loss = one.config.get("loss") == other.config.get("loss")

    def alike(name: str) -> bool:
        """Tell whether a quantity means the same in both: two losses share no unit."""
        return same_loss or not name.endswith("/loss")

    metrics = {}
    for name in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(name), theirs.get(name)
        metrics[name] = {
            "left": a,
            "right": b,
            "difference": None if a is None or b is None or not alike(name) else b - a,
        }
    changed = {key: list(pair) for key, pair in differences(one.config, other.config).items()}
    versions = differences(one.record.get("versions", {}), other.record.get("versions", {}))
    return {
        "left": one.id,
        "right": other.id,
        "config": changed,
        "versions": {key: list(pair) for key, pair in versions.items()},
        "metrics": metrics,
    }


def remove(references: Sequence[str], runs_dir: Path) -> list[str]:
    """Remove runs and return their ids; nothing is removed unless all are found and at rest."""
    found = {run.path: run for run in (find(runs_dir, reference) for reference in references)}
    for run in found.values():
        if run.is_running():
            raise RunError(f"run {run.id} is still running: nothing was removed")
    for run in found.values():
        run.delete()
    return [run.id for run in found.values()]


def _line(run: Run) -> dict[str, Any]:
    name = run.path.parent.name
    try:
        record, summary = run.record, run.summary
    except RunError as error:
        return {"id": run.id, "name": name, "status": "broken", "reason": error.message}
    config = record.get("config", {})
    train = config.get("train", {})
    return {
        "id": run.id,
        "name": record.get("name", name),
        "status": run.status,
        "started": record.get("started"),
        "seconds": record.get("seconds"),
        "seed": train.get("seed"),
        "epochs": train.get("epochs"),
        "epochs_made": _epochs_made(run),
        "dataset": _name(config.get("dataset")),
        "loss": _name(config.get("loss")),
        "optimizer": _name(config.get("optimizer")),
        "metrics": {
            **{
                name: value for name, value in summary.get("final", {}).items() if value is not None
            },
            **{f"test/{name}": value for name, value in summary.get("test", {}).items()},
        },
    }


def _epochs_made(run: Run) -> int | None:
    """Return the epoch that the run has come to, none where nobody wrote it down."""
    if "epochs" in run.summary:
        return int(run.summary["epochs"])
    # A process that was killed wrote no such thing, and what stands there is of an earlier one.
    return run.record.get("epochs") if run.status in ("interrupted", "failed") else None


def _name(block: Any) -> Any:
    return block.get("name") if isinstance(block, dict) else block


def _values(run: Run) -> dict[str, float | None]:
    """Return the numbers of a summary, by a name that says which weights."""
    summary = run.summary
    best = {name: found.get("value") for name, found in summary.get("best", {}).items()}
    groups = {"final": summary.get("final", {}), "best": best, "test": summary.get("test", {})}
    return {
        f"{group} {name}": value
        for group, values in groups.items()
        for name, value in values.items()
    }


def _on_curve(row: Row) -> bool:
    """Tell a point of a curve: a step's batch in training, else the weights of that moment."""
    return row.get("weights") == (None if row["split"] == "train" else "current")


def _value(row: Row, metric: str) -> float:
    value = row[metric]
    return float(row["nonfinite"][metric]) if value is None else float(value)


def export(reference: str, form: str, *, runs_dir: Path) -> str:
    """Return a run as text: `csv` (its metrics as a table) or `json` (all of it, as columns).

    Raises UnknownNameError for another format.
    """
    run = load(reference, runs_dir=runs_dir)
    if form == "csv":
        return csv_text(run.rows)
    if form == "json":
        return json_text(
            {
                "run": run.id,
                "status": run.status,
                "config": run.config,
                "record": {key: run.record.get(key) for key in _EXPORTED},
                "summary": run.summary,
                "metrics": run.metrics,
            }
        )
    raise UnknownNameError("format", form, ("csv", "json"))
