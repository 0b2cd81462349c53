"""Finished runs as a table of a comparison."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.analysis.compare import compare
from lossbench.analysis.source import run_table
from lossbench.config.read import load as read
from lossbench.errors import RunError, UsageError
from lossbench.rundir.runs import Run
from lossbench.session import actions

BASE: dict[str, Any] = {
    "name": "demo",
    "dataset": {"name": "iris"},
    "network": {"name": "mlp", "hidden": [5]},
    "loss": "cross_entropy",
    "optimizer": {"name": "sgd", "lr": 0.05},
    "train": {"epochs": 2, "batch_size": 35, "device": "cpu"},
    "metrics": ["accuracy"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Train a run; the same one is trained once."""
    made: dict[str, Run] = {}
    folder = tmp_path_factory.mktemp("runs")

    def make(*overrides: str, runs_dir: Path = folder, **blocks: Any) -> Run:
        key = repr((overrides, blocks))
        if key not in made:
            loaded = read(mapping={**BASE, **blocks}, overrides=overrides)
            made[key] = actions.start(loaded, runs_dir=runs_dir, command=[]).result().run
        return made[key]

    return make


def test_runs_that_differ_in_the_seed_only_are_one_contender_and_seeds_pair(trained):
    runs = [
        trained("optimizer=adam", "optimizer.lr=0.05", f"train.seed={seed}") for seed in (0, 1, 2)
    ] + [trained(f"train.seed={seed}") for seed in (2, 0, 1)]
    table = run_table(runs)
    assert table.names == ("adam", "sgd")
    assert len(table) == 6
    ours, theirs = table.pairs("adam", "sgd")
    assert table.seed[ours].tolist() == table.seed[theirs].tolist() == [0, 1, 2]
    for row, run in enumerate(runs):
        at = [
            index
            for index, name in enumerate(table.names)
            if name in run.config["optimizer"]["name"]
        ]
        assert table.contender[row] == at[0]
        assert (
            table.final["validation/accuracy"][row] == run.summary["final"]["validation/accuracy"]
        )
        assert table.final["test/accuracy"][row] == run.summary["test"]["accuracy"]
        steps, losses = run.curve("train/loss")
        np.testing.assert_array_equal(table.traces["train/loss"].values[row], losses)
        np.testing.assert_array_equal(table.traces["train/loss"].steps[row], steps)
        np.testing.assert_array_equal(
            table.traces["validation/loss"].values[row], run.curve("validation/loss")[1]
        )
    assert [contender.rate for contender in table.contenders] == [0.05, 0.05]
    assert [contender.loss for contender in table.contenders] == [table.contenders[0].loss] * 2
    assert not table.metric("validation/accuracy").lower_is_better
    assert table.metric("validation/loss").lower_is_better
    result = compare(table)
    assert {standing.contender for standing in result.standings} == {"adam", "sgd"}
    assert any("seeds cannot" in text for text in result.warnings)


def test_how_a_run_is_carried_out_makes_no_other_contender(trained):
    one = trained("train.seed=0")
    other = trained("train.seed=1", "train.step=plain", "train.checkpoint_every=5", name="again")
    rival = trained("optimizer.lr=0.01")
    assert run_table([one, other, rival]).names == ("lr=0.05", "lr=0.01")


def test_contenders_are_named_by_what_distinguishes_them(trained):
    runs = [
        trained(),
        trained("optimizer.lr=0.01"),
        trained("optimizer.lr=0.01", "activation=gelu"),
    ]
    names = run_table(runs).names
    assert len(set(names)) == 3
    assert "lr=0.05" in names[0]
    assert "gelu" in names[2]


def test_where_much_differs_the_runs_names_are_taken(trained):
    much = ("train.batch_size=21", "network.hidden=[4]", "activation=tanh", "optimizer=adam")
    assert run_table([trained(name="small"), trained(*much, name="large")]).names == (
        "small",
        "large",
    )


def test_one_contender_is_nothing_to_compare(trained):
    with pytest.raises(UsageError, match="nothing to compare"):
        run_table([trained("train.seed=0"), trained("train.seed=1")])


def test_the_same_run_twice_is_refused(trained):
    with pytest.raises(UsageError, match="named twice"):
        run_table([trained(), trained()])


def test_the_same_config_and_seed_twice_is_refused(trained):
    with pytest.raises(UsageError, match="again: the same config and seed 0"):
        run_table([trained(), trained(name="twin")])


def test_runs_of_other_data_and_lengths_are_flagged(trained):
    runs = [trained(), trained("dataset.seed=1", "train.epochs=3")]
    warnings = compare(run_table(runs)).warnings
    assert any("different data" in text for text in warnings)
    assert any("steps" in text for text in warnings)


def test_only_what_all_recorded_is_compared(trained):
    table = run_table([trained(), trained("metrics=[f1]", "optimizer.lr=0.01")])
    assert set(table.metrics) == {"train/loss", "validation/loss", "test/loss"}


def test_runs_without_a_common_metric_are_refused(trained, tmp_path):
    one, other = trained(), trained("optimizer.lr=0.01", "metrics=[f1]", runs_dir=tmp_path)
    renamed = other.directory.metrics.read_text().replace('"loss"', '"other"')
    other.directory.metrics.write_text(renamed)
    other.directory.summary.write_text('{"status": "done", "final": {"validation/f1": 0.5}}')
    with pytest.raises(UsageError, match=r"no metric .*f1"):
        run_table([one, Run(other.directory)])


def test_a_run_that_diverged_is_a_result(trained):
    real = {"dataset": {"name": "friedman", "samples": 100}, "loss": "mse", "metrics": []}
    wild = trained("optimizer.lr=1e25", **real)
    assert wild.status == "diverged"
    table = run_table([wild, trained(**real)])
    assert table.status.tolist() == ["diverged", "done"]
    assert table.failed_at[0] == wild.summary["diverged"]["step"]
    assert "validation/loss" in table.metrics
    assert np.isinf(table.values("validation/loss")[0])
    assert compare(table).standings[0].contender == "lr=0.05"


def test_a_run_that_stopped_early_keeps_its_last_value(trained):
    stops = trained(
        "train.epochs=20",
        "train.early_stopping={metric: validation/accuracy, patience: 1}",
        "optimizer.lr=0.000001",
    )
    table = run_table([stops, trained("train.epochs=20")])
    assert table.status.tolist() == ["stopped", "done"]
    assert np.isfinite(table.values("validation/loss")).all()


def test_a_run_that_is_not_finished_is_refused(trained, tmp_path):
    loaded = read(mapping=BASE)
    session = actions.start(loaded, runs_dir=tmp_path, command=[])
    next(iter(session))
    iter(session).close()  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=r"not finished \(interrupted\)") as caught:
        run_table([trained(), Run(session.directory)])
    assert "lossbench train --resume" in str(caught.value)
