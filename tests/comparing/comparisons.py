"""A small comparison, and what a finished one says: shared by the tests of this folder."""

import json
import os
from pathlib import Path
from typing import Any

from lossbench.config.trials import load_comparison
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.session import comparing
from lossbench.session.comparing import ComparisonResult, ComparisonSession

ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}
"""Of a process that is started from here: this source, one thread."""

BASE: dict[str, Any] = {
    "name": "demo",
    "dataset": {"name": "iris"},
    "network": {"name": "mlp", "hidden": [5]},
    "activation": "tanh",
    "loss": "cross_entropy",
    "train": {"epochs": 2, "batch_size": 21, "device": "cpu"},
    "metrics": ["accuracy"],
    "vary": {
        "optimizer": {
            "SGD": {"name": "sgd", "lr": 0.05},
            "Adam": {"name": "adam", "lr": 0.05},
        }
    },
    "seeds": 3,
}

TWO_NETWORKS = {"network.hidden": [[4], [6]]}
"""An axis that makes two groups, hence at least two pieces."""


def begin(
    runs_dir: Path, *overrides: str, workers: int | None = 1, **blocks: Any
) -> ComparisonSession:
    loaded = load_comparison(mapping={**BASE, **blocks}, overrides=overrides)
    return comparing.start(loaded, runs_dir=runs_dir, workers=workers, command=["test"])


def done(runs_dir: Path, *overrides: str, **blocks: Any) -> ComparisonResult:
    return begin(runs_dir, *overrides, **blocks).result()


def directory_of(result: ComparisonResult) -> ComparisonDirectory:
    return ComparisonDirectory(result.path)


TIMED = ("seconds", "seconds_per_step", "started", "ended")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def contents(path: Path) -> dict[str, Any]:
    """What a finished comparison says, byte for byte where it says no times."""
    directory = ComparisonDirectory(path)
    return {
        "trials": directory.trials.read_bytes(),
        "curves": directory.curves.read_bytes(),
        "summary": without_times(json.loads(directory.summary.read_text())),
    }


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = contents(one), contents(other)
    assert ours["trials"] == theirs["trials"]
    assert ours["curves"] == theirs["curves"]
    assert ours["summary"] == theirs["summary"]


THREE_GROUPS = {**BASE["vary"], "network.hidden": [[4], [6], [7]]}
"""One axis more, that makes three groups."""

TUNED = {
    **BASE,
    "vary": {**BASE["vary"], "network.hidden": [[4], [6]]},
    "tune": {"optimizer.lr": {"log_uniform": [0.001, 0.5]}, "trials": 3, "seeds": 2,
             "metric": "validation/accuracy"},
}  # fmt: skip


def result_record(result: ComparisonResult) -> dict[str, Any]:
    return directory_of(result).read_record()
