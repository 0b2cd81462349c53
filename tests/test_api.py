"""What `import lossbench` offers, and what it does not cost."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lossbench
from lossbench._version import __version__
from lossbench.cli.main import run as command_line
from lossbench.errors import RunError
from lossbench.rundir.loading import ComparisonRun
from lossbench.rundir.runs import Run

CONFIG = (
    "name: demo\ndataset: {name: moons, samples: 60}\nloss: cross_entropy\n"
    "optimizer: {name: adam, lr: 0.01}\nnetwork: {name: mlp, hidden: [4]}\n"
    "train: {epochs: 2, batch_size: 16, device: cpu}\n"
)


def test_the_import_is_light() -> None:
    program = (
        "import sys, lossbench; assert lossbench.__version__; dir(lossbench)\n"
        "heavy = ('torch', 'numpy', 'matplotlib', 'yaml', 'pydantic', 'rich', 'sklearn')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_the_session_imports_no_torch_by_itself() -> None:
    program = "import sys, lossbench.session.actions; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_every_promised_name_is_there() -> None:
    assert lossbench.__version__ == __version__
    for name in lossbench.__all__:
        assert getattr(lossbench, name) is not None
        assert name in dir(lossbench)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = lossbench.trian


def test_components_are_ordinary_functions() -> None:
    x, y = torch.tensor([0.0, 2.0]), torch.zeros(2)
    assert float(lossbench.losses.mse(x, y, reduction="mean")) == 2.0
    torch.testing.assert_close(lossbench.activations.relu(x - 1), torch.tensor([0.0, 1.0]))


def test_training_and_loading(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    result = lossbench.train(tmp_path / "config.yaml", "optimizer.lr=0.1", runs_dir=tmp_path)
    assert result.status == "done"
    run = lossbench.load(result.path)
    assert isinstance(run, Run)
    assert run.config["optimizer"]["lr"] == 0.1
    assert run.summary == result.summary
    lengths = {len(column) for column in run.metrics.values()}
    assert lengths == {len(run.rows)}
    steps, losses = run.curve("train/loss")
    assert steps == list(range(1, 7))
    assert all(isinstance(loss, float) for loss in losses)
    assert run.curve("validation/accuracy")[0] == [3, 6]
    assert set(run.curves()) >= {"train/loss", "train/lr", "validation/loss"}
    with pytest.raises(RunError, match="has no curve 'train/accurracy'"):
        run.curve("train/accurracy")
    assert all(torch.isfinite(value).all() for value in run.weights().values())
    assert lossbench.load("latest", runs_dir=tmp_path).id == result.id


def test_loading_a_comparison(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = ["--runs-dir", str(tmp_path / "runs"), "--seeds", "3", "-q"]
    # The second contender is called as a number looks, and diverges.
    axis = "optimizer={Adam: adam, 1e9: {name: sgd, lr: 1e+38}}"
    command_line(["compare", str(tmp_path / "config.yaml"), "--vary", axis, *options])
    found = lossbench.load("latest", runs_dir=tmp_path / "runs")
    assert isinstance(found, ComparisonRun)
    assert lossbench.load(found.path) == found
    assert found.status == "done"
    trials, summary = found.trials, found.summary
    assert trials["contender"] == ["Adam"] * 3 + ["1e9"] * 3
    assert trials["seed"] == [0, 1, 2] * 2
    assert {len(column) for column in trials.values()} == {6}
    assert trials["status"][3:] == ["diverged"] * 3
    assert trials["final/validation/accuracy"][3] is None
    (adam,) = [item for item in summary["standings"] if item["contender"] == "Adam"]
    mean = sum(trials["final/validation/accuracy"][:3]) / 3
    assert adam["trials"] == 3
    assert mean > 0
    curve = found.curves["train/loss"]
    assert {len(column) for column in curve.values()} == {len(curve["trial"])}
    assert curve["step"][curve["trial"] == 1].tolist() == list(range(1, 7))
    assert curve["epoch"].max() == 2
    steps, losses = found.curve("validation/loss", 2)
    assert steps == [3, 6]
    assert losses[-1] == pytest.approx(trials["final/validation/loss"][2])
    # A trial has points as far as it came.
    assert len(found.curve("train/loss", 4)[0]) < 6
    with pytest.raises(RunError, match="has no curve 'train/los'"):
        found.curve("train/los", 0)
    with pytest.raises(RunError, match="there is no trial 6"):
        found.curve("train/loss", 6)


def test_loading_a_comparison_that_is_not_finished(tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "20260101-120000-c6-bcdf"
    folder.mkdir(parents=True)
    (folder / "comparison.yaml").write_text("")
    found = lossbench.load(folder)
    assert isinstance(found, ComparisonRun)
    with pytest.raises(RunError, match=r"has no trials\.csv: it did not come to its end"):
        _ = found.trials
    with pytest.raises(RunError, match="there is no run 'nothing'"):
        lossbench.load("nothing", runs_dir=tmp_path)


def test_training_from_a_mapping(tmp_path: Path) -> None:
    config = {"dataset": "xor", "loss": "cross_entropy", "optimizer": "sgd"}
    result = lossbench.train(config, "train.epochs=1", runs_dir=tmp_path)
    assert result.run.config["train"]["epochs"] == 1
    assert (result.path / "config.yaml").read_text().startswith("dataset: xor")
