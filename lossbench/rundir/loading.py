"""A finished run or comparison as an object with plain columns. Needs no torch.

compared = lossbench.load("runs/optimizers_cubic/20260101-120000-c100-bcdf")
compared.trials["contender"], compared.curves["train/loss"]["value"], compared.summary["verdicts"]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lossbench.errors import RunError
from lossbench.lazy import np
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.rundir.comparisons import cell_value, find_any, status_of
from lossbench.rundir.directory import RUNS, RunDirectory
from lossbench.rundir.runs import Run

CURVE = "curve/"

TEXTS = frozenset({"contender", "problem", "role", "status", "detail"})
"""Columns of trials.csv that hold text, whatever it looks like: a contender may be called 1e-3."""


@dataclass(frozen=True)
class ComparisonRun:
    """A comparison that was made, read from its directory when it is asked for."""

    directory: ComparisonDirectory

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
        """What became of it: running, done, failed, interrupted, killed, broken."""
        return status_of(self.directory)

    @cached_property
    def record(self) -> dict[str, Any]:
        """All of run.json: command, versions, commit, plan, seeds, times."""
        return self.directory.read_record()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Ranking, intervals and verdicts. Raises RunError where it did not come to its end."""
        return self.directory.read_summary()

    @cached_property
    def trials(self) -> dict[str, list[Any]]:
        """The columns of trials.csv: contender, problem, seed, what was varied, final values, ...

        Numbers are numbers; None stands where a trial has no such value.
        """
        rows = self.directory.read_trials()
        return {
            name: [row[name] if name in TEXTS else cell_value(row[name]) for row in rows]
            for name in (rows[0] if rows else ())
        }

    @cached_property
    def curves(self) -> Mapping[str, Mapping[str, Any]]:
        """Every curve by its name (`train/loss`, `validation/accuracy`), for all trials.

        Each is four NumPy columns of one length: trial, step, epoch, value. Points that were not
        recorded (after a divergence or an early stop) have no row.
        """
        arrays, _ = self.directory.read_curves()
        return {
            name.removeprefix(CURVE): _columns(arrays, name.removeprefix(CURVE))
            for name in arrays
            if name.startswith(CURVE)
        }

    def curve(self, name: str, trial: int) -> tuple[list[int], list[float]]:
        """Return the steps and values of one trial's curve, as `Run.curve` does for a run.

        Raises RunError naming the curves that there are, or for a number that no trial has.
        """
        if name not in self.curves:
            raise RunError(
                f"comparison {self.id} has no curve '{name}'", hint=", ".join(self.curves)
            )
        count = len(next(iter(self.trials.values()), ()))
        if not 0 <= trial < count:
            raise RunError(
                f"there is no trial {trial} in comparison {self.id}",
                hint=f"its trials are numbered 0 to {count - 1}",
            )
        columns = self.curves[name]
        own = columns["trial"] == trial
        return columns["step"][own].tolist(), columns["value"][own].tolist()


def _columns(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a curve [trials, points] as columns; its axes are shared, or each trial's own."""
    values = arrays[f"{CURVE}{name}"]
    split = name.partition("/")[0]
    steps, epochs = (
        np.broadcast_to(arrays[f"{kind}/{split}"], values.shape) for kind in ("steps", "epochs")
    )
    trials = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    there = ~np.isnan(values)
    return {
        "trial": trials[there],
        "step": steps[there].astype(np.int64),
        "epoch": epochs[there],
        "value": values[there],
    }


def load(reference: str | Path, *, runs_dir: str | Path = RUNS) -> Run | ComparisonRun:
    """Return a run or a comparison: a path, an id or its unique beginning, or `latest`.

    Raises RunError naming the nearest.
    """
    found = find_any(Path(runs_dir), reference)
    return Run(found) if isinstance(found, RunDirectory) else ComparisonRun(found)
