"""From a config to a finished run directory: what is written, repeated, refused, interrupted."""

import errno
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.config.read import Loaded, load
from lossbench.errors import (
    DataError,
    DivergedError,
    InterruptedRunError,
    RunError,
    StorageError,
    UsageError,
)
from lossbench.rundir import records
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.finding import all_runs, find
from lossbench.session import actions as session
from lossbench.session.actions import RunResult, Session
from lossbench.session.divergence import causes
from lossbench.training.events import Event, Finished, SafePoint, StepsDone

CONFIG: dict[str, Any] = {
    "name": "demo",
    "dataset": {"name": "moons", "samples": 80},
    "network": {"name": "mlp", "hidden": [6], "dropout": 0.2},
    "loss": "cross_entropy",
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"epochs": 3, "batch_size": 16, "seed": 3, "device": "cpu"},
    "metrics": ["accuracy"],
}


def loaded(*overrides: str, **blocks: Any) -> Loaded:
    return load(mapping={**CONFIG, **blocks}, overrides=overrides)


def begin(runs_dir: Path, *overrides: str, **blocks: Any) -> Session:
    return session.start(loaded(*overrides, **blocks), runs_dir=runs_dir, command=["a", "test"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that went well; no test may change it."""
    return begin(tmp_path_factory.mktemp("runs")).result()


# --- what is written --------------------------------------------------------------------------


def test_every_file_is_there_and_every_json_is_strict(finished: RunResult) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    names = {str(file.relative_to(finished.path)) for file in finished.path.rglob("*")}
    assert names == {
        "config.yaml", "config.resolved.yaml", "run.json", "metrics.jsonl", "timing.jsonl",
        "metrics.csv", "summary.json", "checkpoints", "checkpoints/last.pt", "model.safetensors",
    }  # fmt: skip
    for file in finished.path.glob("*.json"):
        json.loads(file.read_text(), parse_constant=refuse)
    for file in finished.path.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            values = json.loads(line, parse_constant=refuse).values()
            assert not any(isinstance(value, dict | list) for value in values)


def test_there_is_a_row_for_every_step_and_every_evaluation(finished: RunResult) -> None:
    rows = finished.run.rows
    steps = [row for row in rows if "weights" not in row]
    assert [row["step"] for row in steps] == list(range(1, 13))
    assert [row["epoch"] for row in steps] == [1] * 4 + [2] * 4 + [3] * 4
    assert {row["lr"] for row in steps} == {0.01}
    evaluations = [(row["step"], row["split"], row["weights"]) for row in rows if "weights" in row]
    assert evaluations[:3] == [(step, "validation", "current") for step in (4, 8, 12)]
    assert (12, "train", "current") in evaluations
    assert (12, "test", "best") in evaluations
    assert all(0 <= row["accuracy"] <= 1 for row in rows if "weights" in row)


def test_no_times_are_in_the_metrics(finished: RunResult) -> None:
    text = (finished.path / "metrics.jsonl").read_text()
    assert "second" not in text
    assert "time" not in text
    assert [row["epoch"] for row in finished.run.directory.read_timing()] == [1, 2, 3]


def test_the_record_says_how_the_run_was_made(finished: RunResult) -> None:
    record = finished.run.record
    assert record["id"] == finished.id
    assert record["status"] == finished.status == "done"
    assert record["command"] == ["a", "test"]
    assert record["seeds"] == {"train": 3, "dataset": 0}
    assert record["device"] == "cpu"
    assert record["plan"]["step"] in ("fused", "plain")
    assert {"python", "torch", "numpy", "lossbench"} <= set(record["versions"])
    assert len(record["data"]) == 64
    assert record["started"] < record["ended"]
    assert record["started"].endswith("+00:00")
    assert record["config"]["optimizer"]["betas"] == [0.9, 0.999]
    for name, value in record["hashes"].items():
        assert hashlib.sha256((finished.path / name).read_bytes()).hexdigest() == value
    assert os.uname().nodename not in finished.run.directory.record.read_text()


def test_the_summary_agrees_with_the_rows(finished: RunResult) -> None:
    rows, summary = finished.run.rows, finished.summary
    validation = [row for row in rows if row["split"] == "validation"]
    assert summary["final"]["validation/loss"] == validation[-1]["loss"]
    best = min(validation, key=lambda row: row["loss"])
    assert summary["best"]["validation/loss"] == {
        "value": best["loss"], "step": best["step"], "epoch": best["epoch"],
    }  # fmt: skip
    assert summary["best_step"] == best["step"]
    (tested,) = (row for row in rows if row["split"] == "test")
    assert summary["test"] == {"loss": tested["loss"], "accuracy": tested["accuracy"]}
    assert (summary["steps"], summary["epochs"]) == (12, 3)
    assert json.loads((finished.path / "summary.json").read_text()) == summary


def test_the_table_is_the_rows(finished: RunResult) -> None:
    assert (finished.path / "metrics.csv").read_text() == records.csv_text(finished.run.rows)


def test_the_weights_are_the_best_ones_and_say_what_they_are(finished: RunResult) -> None:
    weights, description = finished.run.directory.read_model()
    assert description["network"]["hidden"] == [6]
    assert description["inputs"] == [2]
    assert description["outputs"] == [2]
    assert sorted(value.numel() for value in weights.values()) == [2, 6, 12, 12]


# --- repeating --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_the_same_config_and_seed_give_the_same_bytes(tmp_path: Path, step: str) -> None:
    first, second, other = (
        begin(tmp_path, f"train.step={step}", f"train.seed={seed}").result() for seed in (1, 1, 2)
    )
    for name in ("metrics.jsonl", "metrics.csv"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    assert (first.path / "metrics.jsonl").read_bytes() != (
        other.path / "metrics.jsonl"
    ).read_bytes()
    ours, theirs = first.run.weights(), second.run.weights()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_the_resolved_config_repeats_the_run(finished: RunResult, tmp_path: Path) -> None:
    again = session.train(finished.path / "config.resolved.yaml", runs_dir=tmp_path)
    metrics = (again.path / "metrics.jsonl").read_bytes()
    assert metrics == (finished.path / "metrics.jsonl").read_bytes()


LOSS = """
import torch

def robust(prediction, target, *, power: float = 2.0):
    '''A loss of the user's own.'''
    return (prediction - target).abs() ** power
"""


def test_the_users_file_travels_with_the_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "my_loss.py").write_text(LOSS)
    (mine / "config.yaml").write_text(
        "# my own loss\nname: own\ndataset: {name: sine, samples: 60}\n"
        "loss: {name: my_loss.py:robust, power: 1.5}\noptimizer: adam\n"
        "train: {epochs: 2, batch_size: 16, device: cpu}\n"
    )
    first = session.train(mine / "config.yaml", runs_dir=tmp_path / "runs")
    assert (first.path / "config.yaml").read_text().startswith("# my own loss")
    assert (first.path / "files" / "my_loss.py").read_text() == LOSS
    assert "files/my_loss.py" in first.run.record["hashes"]
    moved = tmp_path / "elsewhere"
    first.path.rename(moved)
    (mine / "my_loss.py").unlink()
    again = session.train(moved / "config.resolved.yaml", runs_dir=tmp_path / "runs")
    assert (again.path / "metrics.jsonl").read_bytes() == (moved / "metrics.jsonl").read_bytes()


def test_the_modules_beside_the_users_file_travel_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a runs directory is usually named relative to where one is
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "my_loss.py").write_text(
        "from powers import power\n\n\ndef robust(prediction, target):\n"
        "    return power((prediction - target).abs())\n"
    )
    (mine / "powers.py").write_text(
        "from exponents import exponent\n\n\ndef power(x):\n    return x ** exponent\n"
    )
    (mine / "exponents.py").write_text("exponent = 1.5\n")
    (mine / "config.yaml").write_text(
        "name: own\ndataset: {name: sine, samples: 60}\nloss: my_loss.py:robust\n"
        "optimizer: adam\ntrain: {epochs: 2, batch_size: 16, device: cpu}\n"
    )
    first = session.train("mine/config.yaml", runs_dir="runs")
    copies = sorted(path.name for path in (first.path / "files").iterdir())
    assert copies == ["exponents.py", "my_loss.py", "powers.py"]
    # The same file with another neighbour is another loss, also in the same process.
    (mine / "exponents.py").write_text("exponent = 2.5\n")
    other = session.train("mine/config.yaml", runs_dir="runs")
    assert other.run.rows[0]["loss"] != first.run.rows[0]["loss"]
    for file in mine.iterdir():
        file.unlink()
    again = session.train(first.path / "config.resolved.yaml", runs_dir="runs")
    assert (again.path / "metrics.jsonl").read_bytes() == (
        first.path / "metrics.jsonl"
    ).read_bytes()
    longer = session.resume(first.id, ["train.epochs=3"], runs_dir=Path("runs")).result()
    assert longer.summary["epochs"] == 3
    (first.path / "files" / "exponents.py").write_text("exponent = 9\n")
    with pytest.raises(RunError, match=r"exponents\.py has other content"):
        session.resume(first.id, ["train.epochs=4"], runs_dir=Path("runs"))


# --- refusals: nothing is left behind ---------------------------------------------------------


def test_what_does_not_fit_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        begin(tmp_path / "runs", "train.batch_size=5000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calls", range(6))
def test_a_disk_that_fills_while_starting_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """At whichever write the disk is full: never half a directory."""
    prepared = loaded()
    fill_disk(monkeypatch, after=calls)
    if calls >= 3:  # config, resolved config, record: then the run has begun
        running = session.start(prepared, runs_dir=tmp_path / "runs")
        with pytest.raises(StorageError, match="No space left on device"):
            running.result()
        return
    with pytest.raises(UsageError, match="cannot make a run directory in") as caught:
        session.start(prepared, runs_dir=tmp_path / "runs")
    assert "No space left on device" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let the disk be full from the write number `after` on."""
    real, made = os.write, 0

    def write(descriptor: int, content: Any) -> int:
        nonlocal made
        made += 1
        if made > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", write)


def test_a_disk_that_fills_while_training_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begin(tmp_path, "train.checkpoint_every=0.000001")
    with monkeypatch.context() as full:
        fill_disk(full, after=3)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            running.result()
    assert f"--resume {running.directory.id}" in str(caught.value.hint)
    assert running.directory.status() == "killed"  # run.json could not be written either
    whole = begin(tmp_path).result()
    assert session.resume(running.directory.id, runs_dir=tmp_path).result().status == "done"
    metrics = running.directory.metrics.read_bytes()
    assert metrics == (whole.path / "metrics.jsonl").read_bytes()


def test_space_that_comes_back_lets_the_status_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begin(tmp_path)
    real = RunDirectory.write_checkpoint

    def refuse(self: RunDirectory, content: Any) -> None:
        raise StorageError("cannot write last.pt: No space left on device")

    monkeypatch.setattr(RunDirectory, "write_checkpoint", refuse)
    with pytest.raises(StorageError):
        running.result()
    monkeypatch.setattr(RunDirectory, "write_checkpoint", real)
    record = running.directory.read_record()
    assert record["status"] == "failed"
    assert "No space left" in record["reason"]


def test_an_error_in_training_fails_the_run_and_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begin(tmp_path)
    event_stream(monkeypatch, break_after=2)
    with pytest.raises(ZeroDivisionError):
        running.result()
    record = running.directory.read_record()
    assert (record["status"], record["reason"]) == ("failed", "after 2")
    assert not running.directory.is_running()
    with pytest.raises(RunError, match="did not come to its end"):
        running.result()


def event_stream(monkeypatch: pytest.MonkeyPatch, *, break_after: int) -> None:
    """Let the loop raise after some events."""
    from lossbench.training import loop

    real = loop.train

    def train(*arguments: Any) -> Iterator[Event]:
        for number, event in enumerate(real(*arguments), start=1):
            yield event
            if number == break_after:
                raise ZeroDivisionError(f"after {number}")

    monkeypatch.setattr("lossbench.training.loop.train", train)
    monkeypatch.setattr("lossbench.session.running.loop.train", train)


# --- divergence -------------------------------------------------------------------------------


def diverging(runs_dir: Path) -> RunResult:
    return begin(
        runs_dir, "optimizer={name: sgd, lr: 1e20}", "network.dropout=0", "activation=identity",
        dataset={"name": "sine", "samples": 60}, loss="mse", metrics=["mae"],
    ).result()  # fmt: skip


def test_a_diverged_run_says_where_and_why(tmp_path: Path) -> None:
    result = diverging(tmp_path)
    assert result.status == "diverged"
    found = result.summary["diverged"]
    rows = [row for row in result.run.rows if "weights" not in row]
    assert rows[-1]["loss"] is None
    assert rows[-1]["nonfinite"]["loss"] in ("inf", "nan")
    assert rows[-1]["step"] == found["step"]
    assert all(row["loss"] is not None for row in rows[:-1])
    assert [point["step"] for point in found["last_finite"]] == [row["step"] for row in rows[:-1]]
    assert "the learning rate is too high: 1e+20" in " ".join(found["causes"])
    assert isinstance(result.error, DivergedError)
    assert f"step {found['step']}" in str(result.error)
    assert result.error.exit_code == 1
    record = result.run.record
    assert record["status"] == "diverged"
    assert str(found["step"]) in record["reason"]
    with pytest.raises(RunError, match="going on would lead there again"):
        session.resume(result.id, runs_dir=tmp_path)


def test_weights_that_the_last_step_destroyed_are_a_divergence(tmp_path: Path) -> None:
    # One step: its loss is that of the first weights, and finite.
    result = begin(
        tmp_path, "optimizer={name: sgd, lr: 1e30}", "train.epochs=1", "train.batch_size=full"
    ).result()
    steps = [row for row in result.run.rows if "weights" not in row]
    assert [row["loss"] is None for row in steps] == [False]
    assert result.status == "diverged"
    found = result.summary["diverged"]
    assert (found["step"], [point["step"] for point in found["last_finite"]]) == (1, [1])
    assert "whole training split" in found["detail"]
    assert not any(row["split"] == "test" for row in result.run.rows)


def test_a_run_that_is_done_has_no_error(finished: RunResult) -> None:
    assert finished.error is None


def test_the_causes_follow_from_what_was_seen() -> None:
    spec = loaded().spec
    ran_away = causes(spec, 5, [(2, 1.0), (3, 10.0), (4, 1e6)])
    assert ran_away[0].startswith("the loss ran away (1 became 1e+06): the learning rate is too")
    assert "optimizer.lr=0.001" in ran_away[0]
    assert "already the first loss" in causes(spec, 1, [])[0]
    half = loaded("train.amp=float16", "dataset.standardize=false").spec
    words = " ".join(causes(half, 9, [(8, 1.0)]))
    assert "bfloat16" in words
    assert "dataset.standardize=true" in words
    assert "clip_norm" not in " ".join(causes(loaded("train.clip_norm=1").spec, 9, [(8, 1.0)]))


@pytest.mark.parametrize("knob", ["loss.ignore_index=1", "loss.weight=[0, 1, 1]"])
def test_a_batch_in_which_nothing_counts_is_named_as_the_cause(tmp_path: Path, knob: str) -> None:
    result = begin(tmp_path, knob, "train.batch_size=1", dataset="iris").result()
    assert result.status == "diverged"
    assert "no sample counts" in " ".join(result.summary["diverged"]["causes"])
    assert "no sample counts" not in " ".join(causes(loaded().spec, 5, []))


# --- interrupts -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    running = begin(tmp_path)

    def watch() -> None:
        for event in running:
            if isinstance(event, StepsDone) and event.epoch == 2:
                os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError) as caught:
        watch()
    assert caught.value.exit_code == 128 + number
    assert f"lossbench train --resume {running.directory.id}" in str(caught.value.hint)
    assert signal.getsignal(number) is before
    record = running.directory.read_record()
    assert record["status"] == "interrupted"
    assert record["steps"] == 8
    checkpoint = running.directory.read_checkpoint()
    assert checkpoint is not None
    assert checkpoint["metrics_bytes"] == running.directory.metrics.stat().st_size
    assert not running.directory.is_running()


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    running = begin(tmp_path)

    def train(*arguments: Any) -> Any:  # a step that takes long: nobody looks for the first signal
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second signal did not end it")

    running.job.step.train = train  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError, match="stopped at once") as caught:
        running.result()
    assert caught.value.exit_code == 130
    assert running.directory.read_record()["status"] == "interrupted"


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running = begin(tmp_path)
        for event in running:
            if isinstance(event, StepsDone):
                assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                os.kill(os.getpid(), signal.SIGINT)
        assert running.result().status == "done"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_can_be_trained_in_another_thread(tmp_path: Path) -> None:
    results: list[RunResult] = []
    thread = threading.Thread(target=lambda: results.append(begin(tmp_path).result()))
    thread.start()
    thread.join()
    assert results[0].status == "done"


def test_a_run_left_by_its_caller_can_be_continued(tmp_path: Path) -> None:
    running = begin(tmp_path)
    events = iter(running)
    next(events)
    events.close()  # type: ignore[attr-defined]
    record = running.directory.read_record()
    assert (record["status"], record["reason"]) == ("interrupted", "its caller left it")
    assert session.resume("latest", runs_dir=tmp_path).result().status == "done"


def test_every_event_was_recorded_when_it_is_seen(tmp_path: Path) -> None:
    running = begin(tmp_path)
    seen = 0
    for event in running:
        if isinstance(event, StepsDone):
            seen += event.losses.shape[1]
        if isinstance(event, SafePoint | Finished):
            rows = running.directory.read_metrics()
            assert sum("weights" not in row for row in rows) == seen
        assert running.directory.status() == "running"


# --- trying and predicting --------------------------------------------------------------------


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = session.dry_run(loaded())
    assert list(tmp_path.iterdir()) == []
    assert answer["parameters"] == 32
    assert answer["samples"]["train"] == 56
    assert answer["total_steps"] == 12
    assert answer["estimate"]["seconds"] > 0
    assert answer["plan"]["reason"]
    json.dumps(records.plain(answer), allow_nan=False)


@pytest.fixture
def questions(tmp_path: Path) -> Callable[[str], Path]:
    def write(kind: str) -> Path:
        inputs = np.array([[0.0, 1.0], [1.0, -0.5], [2.0, 0.5]])
        file = tmp_path / f"questions.{kind}"
        if kind == "npz":
            np.savez(file, x=inputs)
        else:
            lines = ["id,x2,x1", *(f"a{i},{b},{a}" for i, (a, b) in enumerate(inputs))]
            file.write_text("\n".join(lines))
        return file

    return write


def test_predictions_are_the_same_from_csv_and_npz(
    finished: RunResult, questions: Callable[[str], Path]
) -> None:
    runs_dir = finished.path.parent.parent
    from_csv = session.predict("latest", questions("csv"), runs_dir=runs_dir)
    assert from_csv == session.predict(str(finished.path), questions("npz"), runs_dir=runs_dir)
    assert len(from_csv) == 3
    for row in from_csv:
        probabilities = {name: row[f"probability_{name}"] for name in ("upper", "lower")}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert max(probabilities, key=lambda name: probabilities[name]) == row["label"]


def test_bad_questions_are_refused_with_the_place(finished: RunResult, tmp_path: Path) -> None:
    runs_dir = finished.path.parent.parent
    file = tmp_path / "bad.csv"
    file.write_text("x1,x2\n1,2\n3,four\n")
    with pytest.raises(DataError, match=r"bad\.csv:3"):
        session.predict("latest", file, runs_dir=runs_dir)
    file.write_text("x1,y\n1,2\n")
    with pytest.raises(DataError, match="there is no column 'x2'"):
        session.predict("latest", file, runs_dir=runs_dir)


def test_numbers_are_predicted_in_the_datas_own_units(tmp_path: Path) -> None:
    """y = 1000 + x: a prediction near 0 would be one in standardized units."""
    x = np.linspace(-1, 1, 60)
    lines = ["x,y", *(f"{value},{1000 + value}" for value in x)]
    (tmp_path / "line.csv").write_text("\n".join(lines))
    dataset = {"name": "csv", "path": str(tmp_path / "line.csv"), "target": "y"}
    result = begin(tmp_path / "runs", dataset=dataset, loss="mse", metrics=[]).result()
    (tmp_path / "x.csv").write_text("x\n0.5\n")
    (row,) = session.predict(result.id, tmp_path / "x.csv", runs_dir=tmp_path / "runs")
    assert 990 < row["prediction"] < 1010


# --- export -----------------------------------------------------------------------------------


def test_a_run_is_exported_whole(finished: RunResult) -> None:
    runs_dir = finished.path.parent.parent
    assert session.export("latest", "csv", runs_dir=runs_dir) == records.csv_text(finished.run.rows)
    whole = json.loads(session.export("latest", "json", runs_dir=runs_dir))
    assert whole["run"] == finished.id
    assert whole["summary"] == finished.summary
    assert len(whole["metrics"]["loss"]) == len(finished.run.rows)
    with pytest.raises(UsageError, match="there is no format 'xls'"):
        session.export("latest", "xls", runs_dir=runs_dir)


def test_runs_lie_apart(finished: RunResult) -> None:
    assert [run.path for run in all_runs(finished.path.parent.parent)] == [finished.path]
    assert find(finished.path.parent.parent, "latest").path == finished.path
