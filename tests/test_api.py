"""What `import lossbench` offers, and what it does not cost."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lossbench
from lossbench._version import __version__
from lossbench.errors import RunError

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


def test_training_from_a_mapping(tmp_path: Path) -> None:
    config = {"dataset": "xor", "loss": "cross_entropy", "optimizer": "sgd"}
    result = lossbench.train(config, "train.epochs=1", runs_dir=tmp_path)
    assert result.run.config["train"]["epochs"] == 1
    assert (result.path / "config.yaml").read_text().startswith("dataset: xor")
