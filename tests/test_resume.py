"""A run that was cut off, anywhere, goes on to the very numbers of one that was not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench.config.read import load
from lossbench.errors import LossbenchError, RunError, UsageError
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.finding import all_runs
from lossbench.session import actions as session
from lossbench.session.actions import Session
from lossbench.training.events import EpochDone, SafePoint

EVERY_POINT = "train.checkpoint_every=0.000001"

BASE: dict[str, Any] = {
    "name": "demo",
    "dataset": {"name": "moons", "samples": 80},
    "network": {"name": "mlp", "hidden": [6], "dropout": 0.3},
    "loss": "cross_entropy",
    "optimizer": {"name": "adam", "lr": 0.02},
    "train": {"epochs": 4, "batch_size": 16, "seed": 5, "device": "cpu"},
    "metrics": ["accuracy"],
}

# What a run carries from step to step, in different places: each must be in the checkpoint.
CARRYING: dict[str, dict[str, Any]] = {
    "dropout, schedule and momentum": {
        "schedule": {"name": "one_cycle", "max_lr": 0.1},
        "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9},
    },
    "batch norm and a plateau": {
        "network": {"name": "mlp", "hidden": [6], "norm": "batch", "dropout": 0.1},
        "schedule": {"name": "reduce_on_plateau", "patience": 0},
    },
    "early stopping": {
        "optimizer": {"name": "adam", "lr": 0.3},
        "train": {
            **BASE["train"], "epochs": 9, "early_stopping": {"patience": 1, "min_delta": 0.01},
        },
    },
    "accumulation and clipping": {
        "train": {**BASE["train"], "accumulate": 2, "clip_norm": 0.5, "step": "plain"},
    },
    "torch's random activation": {"activation": "rrelu"},
    "a problem with noise": {
        "dataset": {"name": "surface", "start": [-1.2, 1.0], "noise": 0.5}, "network": "point",
        "loss": "value", "metrics": ["distance", "first_coordinate", "second_coordinate"],
        "train": {**BASE["train"], "batch_size": "full"},
    },
}  # fmt: skip


def begin(runs_dir: Path, *overrides: str, **blocks: Any) -> Session:
    return session.start(load(mapping={**BASE, **blocks}, overrides=overrides), runs_dir=runs_dir)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a safe point follow every step, instead of every quarter of a second."""
    monkeypatch.setattr("lossbench.training.loop.WATCH_SECONDS", 0.0)


@pytest.fixture
def finished(tmp_path: Path) -> RunDirectory:
    return begin(tmp_path, EVERY_POINT).result().run.directory


# --- the same bytes ---------------------------------------------------------------------------


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("case", CARRYING)
def test_a_resume_from_any_safe_point_ends_in_the_same_bytes(tmp_path: Path, case: str) -> None:
    blocks = CARRYING[case]
    running = begin(tmp_path / "whole", EVERY_POINT, **blocks)
    copies: list[Path] = []
    for event in running:
        if isinstance(event, SafePoint):
            # Every third of the five of an epoch: in time each of its places comes up.
            copy = tmp_path / "cut" / f"at-{event.step}-{len(copies)}" / running.directory.id
            copies.append(copy)
            if len(copies) % 3 == 1:
                shutil.copytree(running.directory.path, copy)
    whole = running.result()
    expected = (whole.path / "metrics.jsonl").read_bytes()
    weights = whole.run.weights()
    for copy in filter(Path.exists, copies):
        result = session.resume(str(copy)).result()
        assert (copy / "metrics.jsonl").read_bytes() == expected, copy.parent.name
        assert (copy / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()
        for name, value in result.run.weights().items():
            assert torch.equal(value, weights[name]), (copy.parent.name, name)
        assert result.summary | {"seconds": 0} == whole.summary | {"seconds": 0}


def test_the_early_stopping_case_stops_early(tmp_path: Path) -> None:
    result = begin(tmp_path, **CARRYING["early stopping"]).result()
    assert result.summary["epochs"] < 9
    assert result.summary["early_stopping"]["epoch"] == result.summary["epochs"]
    assert "has not improved" in result.run.record["reason"]


KILLED = '''
"""Train runs that kill themselves, each at another moment; every one in a process of its own."""

import os, pathlib, signal, sys

from lossbench.session import actions as session
from lossbench.rundir import storage
from lossbench.config.read import load
from lossbench.training import build, loop, predict  # imported once, inherited by every child

loop.WATCH_SECONDS = 0.0
config, where = sys.argv[1:3]
build.build([load(config).spec])  # so that what the first one imports is inherited too


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, number, then):
    """Do `then` in place of the call number `number`."""
    real, calls = getattr(owner, name), 0
    def counting(*arguments):
        nonlocal calls
        calls += 1
        return then(real, *arguments) if calls == number else real(*arguments)
    setattr(owner, name, counting)


def half_a_write(real, descriptor, content):
    real(descriptor, content[: len(content) // 2])
    die()


def after(real, *arguments):
    real(*arguments)
    die()


MOMENTS = {
    "before the first step": lambda: setattr(loop, "train", die),
    **{f"in write {n}": lambda n=n: at_call(os, "write", n, half_a_write) for n in (4, 5, 8, 13)},
    **{f"before rename {n}": lambda n=n: at_call(os, "replace", n, die) for n in (4, 6)},
    **{f"after rename {n}": lambda n=n: at_call(os, "replace", n, after) for n in (4, 7)},
    "before the summary": lambda: at_call(session.RunDirectory, "write_summary", 1, die),
    "before the last status": lambda: at_call(session.RunDirectory, "write_record", 2, die),
}

for moment, arm in MOMENTS.items():
    child = os.fork()
    if child == 0:
        loaded = load(config, [f"name={moment.replace(' ', '-')}"])
        arm()
        session.start(loaded, runs_dir=pathlib.Path(where)).result()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (moment, status)
print(len(MOMENTS))
'''


def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL in the middle of writes and renames: half lines, half checkpoints, no summary."""
    (tmp_path / "killed.py").write_text(KILLED)
    config = tmp_path / "config.yaml"
    config.write_text(
        "dataset: {name: moons, samples: 50}\n"
        "network: {name: mlp, hidden: [6], dropout: 0.3}\n"
        "loss: cross_entropy\noptimizer: {name: adam, lr: 0.02}\n"
        "train:\n  {epochs: 3, batch_size: 16, device: cpu, step: plain,\n"
        "   checkpoint_every: 0.000001, early_stopping: {patience: 2}}\n"
    )
    runs_dir = tmp_path / "runs"
    answer = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py"), str(config), str(runs_dir)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert answer.returncode == 0, answer.stderr
    whole = session.train(config, runs_dir=tmp_path / "whole")
    expected = (whole.path / "metrics.jsonl").read_bytes()
    killed = all_runs(runs_dir)
    assert len(killed) == int(answer.stdout)
    for run in killed:
        assert run.status() == "killed", run.path
        assert session.resume(run.id, runs_dir=runs_dir).result().status == "done"
        assert run.metrics.read_bytes() == expected, run.path
        assert not list(run.path.rglob("*.tmp"))
        steps = [row["step"] for row in run.read_metrics() if "weights" not in row]
        assert steps == sorted(set(steps))
        epochs = [row["epoch"] for row in run.read_timing()]
        assert epochs == sorted(set(epochs))


def test_a_run_without_a_checkpoint_starts_again(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole").result()
    running = begin(tmp_path / "cut")
    events = iter(running)
    for event in events:
        if isinstance(event, EpochDone):
            break
    events.close()  # type: ignore[attr-defined]
    assert not running.directory.checkpoint.exists()
    with running.directory.metrics.open("ab") as file:
        file.write(b'{"step": 5, "epo')
    again = session.resume("latest", runs_dir=tmp_path / "cut")
    assert again.notes[0] == "going on from step 0"
    again.result()
    metrics = (whole.path / "metrics.jsonl").read_bytes()
    assert running.directory.metrics.read_bytes() == metrics


def test_a_resumed_run_says_so(finished: RunDirectory, tmp_path: Path) -> None:
    before = finished.read_record()
    seconds = before["seconds"]
    session.resume(
        finished.id, ["train.epochs=6"], runs_dir=tmp_path, command=["lossbench", "train"]
    ).result()
    record = finished.read_record()
    (again,) = record["resumed"]
    assert (again["from_step"], again["command"]) == (16, ["lossbench", "train"])
    assert again["changes"] == {"train.epochs": [4, 6]}
    assert record["started"] == before["started"]
    assert record["seconds"] > seconds


# --- more epochs ------------------------------------------------------------------------------


def test_a_finished_run_goes_on_as_if_it_had_been_planned_longer(
    finished: RunDirectory, tmp_path: Path
) -> None:
    longer = begin(tmp_path / "longer", "train.epochs=7").result()
    result = session.resume(finished.id, ["train.epochs=7"], runs_dir=tmp_path).result()
    assert finished.metrics.read_bytes() == (longer.path / "metrics.jsonl").read_bytes()
    assert result.summary["epochs"] == 7
    assert result.run.config["train"]["epochs"] == 7
    # It is now a run of seven epochs, for everyone who reads it.
    assert load(finished.resolved).spec.train.epochs == 7
    with pytest.raises(RunError, match="is done: 7 epochs"):
        session.resume(finished.id, runs_dir=tmp_path)
    session.resume(finished.id, ["train.epochs=8"], runs_dir=tmp_path).result()


def test_a_finished_run_that_goes_on_has_no_old_summary(
    finished: RunDirectory, tmp_path: Path
) -> None:
    running = session.resume(finished.id, ["train.epochs=8"], runs_dir=tmp_path)
    assert finished.read_summary() is None
    assert not finished.metrics_csv.exists()
    running.result()
    assert finished.read_summary() is not None


def test_a_schedule_that_knows_the_end_cannot_be_made_longer(tmp_path: Path) -> None:
    schedule = {"name": "cosine_with_warmup", "warmup_steps": 2}
    result = begin(tmp_path, schedule=schedule).result()
    with pytest.raises(RunError, match=r"cosine_with_warmup depends on the length of the run"):
        session.resume(result.id, ["train.epochs=8"], runs_dir=tmp_path)
    assert result.run.record["status"] == "done"
    assert result.run.record["config"]["train"]["epochs"] == 4
    with pytest.raises(RunError, match="is done: 4 epochs") as caught:
        session.resume(result.id, runs_dir=tmp_path)
    assert "its schedule cosine_with_warmup ends there" in str(caught.value.hint)


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    result = begin(tmp_path, **CARRYING["early stopping"]).result()
    with pytest.raises(RunError, match="stopped early at epoch"):
        session.resume(result.id, ["train.epochs=50"], runs_dir=tmp_path)


def test_fewer_epochs_than_were_made_are_refused(finished: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has made 4 epochs"):
        session.resume(finished.id, ["train.epochs=2"], runs_dir=tmp_path)


# --- refusals ---------------------------------------------------------------------------------


@pytest.fixture
def cut(tmp_path: Path) -> RunDirectory:
    """A run that was left after two epochs, with a checkpoint."""
    running = begin(tmp_path, EVERY_POINT)
    events = iter(running)
    for event in events:
        if isinstance(event, SafePoint) and event.epoch == 2:
            break
    events.close()  # type: ignore[attr-defined]
    assert running.directory.read_record()["status"] == "interrupted"
    return running.directory


def refused(run: RunDirectory, *overrides: str) -> LossbenchError:
    """Return the refusal, having seen that it changed nothing."""
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    with pytest.raises(LossbenchError) as caught:
        session.resume(str(run.path), overrides)
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before
    assert caught.value.exit_code == 2
    return caught.value


def test_harmless_changes_are_taken(cut: RunDirectory, tmp_path: Path) -> None:
    overrides = ["train.checkpoint_every=100", "train.threads=1", "train.device=auto"]
    assert session.resume(cut.id, overrides, runs_dir=tmp_path).result().status == "done"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.5", "optimizer.lr: 0.02 became 0.5"),
        ("loss=nll", "loss.name: cross_entropy became nll"),
        ("train.seed=9", "train.seed: 5 became 9"),
        ("name=other", "name: demo became other"),
    ],
)
def test_changes_of_the_past_are_refused(cut: RunDirectory, override: str, said: str) -> None:
    error = refused(cut, override)
    assert said in error.message
    assert "may change: train.epochs" in str(error.hint)


def test_the_plan_of_the_first_step_is_kept(
    cut: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may plan otherwise; the other way of computing has other last bits."""
    planned = cut.read_record()["plan"]
    monkeypatch.setattr("lossbench.training.plan.FUSE_BELOW", 0)
    assert session.resume(cut.id, runs_dir=tmp_path).job.plan.record() == planned


def test_wrong_overrides_point_at_the_argument(cut: RunDirectory) -> None:
    assert "train.epoch" in str(refused(cut, "train.epoch=9"))


@pytest.mark.parametrize("name", ["config.yaml", "config.resolved.yaml"])
def test_an_edited_config_is_refused_with_what_differs(cut: RunDirectory, name: str) -> None:
    file = cut.path / name
    file.write_text(file.read_text().replace("0.02", "0.5"))
    error = refused(cut)
    assert f"was edited since it started: {name}" in error.message
    assert "0.02" in error.message
    assert "0.5" in error.message


def test_a_missing_config_is_refused(cut: RunDirectory) -> None:
    cut.resolved.unlink()
    assert "config.resolved.yaml is gone" in refused(cut).message


def test_an_edited_loss_is_refused(tmp_path: Path) -> None:
    text = "def robust(prediction, target):\n    return (prediction - target).abs()\n"
    (tmp_path / "my_loss.py").write_text(text)
    (tmp_path / "config.yaml").write_text(
        "dataset: {name: sine, samples: 60}\nloss: my_loss.py:robust\noptimizer: adam\n"
        "train: {epochs: 2, device: cpu}\n"
    )
    result = session.train(tmp_path / "config.yaml", runs_dir=tmp_path / "runs")
    # The user's own copy may change as it likes: the run has its own.
    (tmp_path / "my_loss.py").write_text("def robust(prediction, target):\n    return 1 / 0\n")
    session.resume("latest", ["train.epochs=3"], runs_dir=tmp_path / "runs").result()
    (result.path / "files" / "my_loss.py").write_text(text.replace("abs()", "square()"))
    error = refused(result.run.directory, "train.epochs=4")
    assert "files/my_loss.py has other content" in error.message


def test_other_data_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    lines = ["x,y", *(f"{n / 10},{n * n}" for n in range(60))]
    file.write_text("\n".join(lines))
    dataset = {"name": "csv", "path": str(file), "target": "y"}
    result = begin(tmp_path / "runs", dataset=dataset, loss="mse", metrics=[]).result()
    file.write_text("\n".join([*lines[:-1], "5.9,0"]))
    error = refused(result.run.directory, "train.epochs=9")
    assert "the data are not those that the run began with" in error.message


@pytest.mark.parametrize("damage", ["truncated", "foreign", "of another run"])
def test_a_checkpoint_that_is_not_this_runs_is_refused(
    cut: RunDirectory, tmp_path: Path, damage: str
) -> None:
    if damage == "truncated":
        cut.checkpoint.write_bytes(cut.checkpoint.read_bytes()[:-1000])
    elif damage == "foreign":
        torch.save({"model": torch.zeros(3)}, cut.checkpoint)
    else:
        other = begin(tmp_path / "other", EVERY_POINT).result()
        shutil.copy(other.run.directory.checkpoint, cut.checkpoint)
    error = refused(cut)
    assert "last.pt" in error.message


def test_metrics_shorter_than_the_checkpoint_are_refused(cut: RunDirectory) -> None:
    cut.metrics.write_bytes(cut.metrics.read_bytes()[:100])
    assert "has 100 bytes" in refused(cut).message


def test_a_missing_or_damaged_record_is_refused(cut: RunDirectory) -> None:
    cut.record.write_text(cut.record.read_text()[:100])
    assert "run.json is damaged" in refused(cut).message
    cut.record.unlink()
    assert "holds no run.json" in refused(cut).message


def test_a_running_run_is_refused(tmp_path: Path) -> None:
    running = begin(tmp_path)
    events = iter(running)
    next(events)
    with pytest.raises(RunError, match=f"is still running, as process {os.getpid()}"):
        session.resume("latest", runs_dir=tmp_path)
    assert running.directory.status() == "running"
    events.close()  # type: ignore[attr-defined]


def test_of_two_resumes_at_once_one_wins(
    cut: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen the run at rest; the claim decides."""
    first = session.resume(cut.id, runs_dir=tmp_path)
    monkeypatch.setattr(RunDirectory, "is_running", lambda _: False)
    with pytest.raises(RunError, match="is being resumed by another process"):
        session.resume(cut.id, runs_dir=tmp_path)
    assert first.result().status == "done"


def test_a_device_that_is_not_there_is_refused(cut: RunDirectory) -> None:
    assert isinstance(refused(cut, "train.device=cuda:77"), UsageError)


def test_unknown_runs_are_refused(tmp_path: Path, finished: RunDirectory) -> None:
    with pytest.raises(RunError, match="there is no run 'nonsense'"):
        session.resume("nonsense", runs_dir=tmp_path)
