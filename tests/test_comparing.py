"""A comparison from its file to its directory: every trial is the trial alone, however the work is
cut, spread, killed and resumed; what fails is a result, and what is missing is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.analysis.source import comparison_table
from lossbench.config.trials import load_comparison, trial_spec
from lossbench.errors import (
    ConfigError,
    InterruptedRunError,
    LossbenchError,
    RunError,
    StorageError,
    TrainingError,
    UsageError,
)
from lossbench.rundir import storage
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.session import comparing, room, workers
from lossbench.session.comparing import ComparisonResult, ComparisonSession
from lossbench.training import chunks as chunks_module
from lossbench.training.build import build
from lossbench.training.chunks import ChunkResult, Progress
from lossbench.training.events import Evaluated, StepsDone
from lossbench.training.loop import train

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


@pytest.fixture(autouse=True)
def _every_quarter_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step be news, so that there is a middle of a group to be interrupted in."""
    monkeypatch.setattr("lossbench.training.loop.WATCH_SECONDS", 0.0)


# --- the same trial ---------------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "optimizers": {},
    "two networks": {"vary": {**BASE["vary"], **TWO_NETWORKS}},
    "losses": {
        "vary": {"loss": ["cross_entropy", "multi_margin", "bce_with_logits"]},
        "optimizer": {"name": "adam", "lr": 0.02},
    },
    "two data sets": {
        "vary": {"dataset": ["iris", "wine"], "optimizer.lr": [0.1, 0.01]},
        "optimizer": "sgd",
    },
    "noisy labels, dropout and decay": {
        "dataset": {"name": "iris", "label_noise": 0.2},
        "network": {"name": "mlp", "hidden": [5], "dropout": 0.3},
        "vary": {"optimizer.weight_decay": [0.0, 0.1]},
        "optimizer": {"name": "adamw", "lr": 0.05},
    },
    "accumulation, clipping and a schedule": {
        "train": {**BASE["train"], "batch_size": 7, "accumulate": 3, "clip_norm": 0.5},
        "schedule": "cosine_annealing",
    },
    "early stopping": {
        "train": {
            **BASE["train"], "epochs": 6,
            "early_stopping": {"metric": "validation/accuracy", "patience": 1},
        },
    },
    "what cannot be fused": {"vary": {"optimizer": ["lbfgs", {"name": "sgd", "lr": 0.05}]}},
    "an activation that draws": {"vary": {"activation": ["rrelu", "relu"]}, "optimizer": "adam"},
    "a learned slope": {"vary": {"activation": ["prelu"], "optimizer.lr": [0.05, 0.01]},
                        "optimizer": "adam"},
}  # fmt: skip


def alone(spec: Any) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Train one run by itself; returns its curves, and the last value of each split."""
    losses, evaluated, last = [], {}, {}
    for event in train(build([spec])):
        if isinstance(event, StepsDone):
            losses.append(event.losses[0])
        elif isinstance(event, Evaluated):
            for name, values in event.values.items():
                last[f"{event.split}/{name}"] = float(values[0])
                if event.split == "validation":
                    evaluated.setdefault(f"validation/{name}", []).append(float(values[0]))
    curves = {"train/loss": np.concatenate(losses)}
    return curves | {name: np.array(values) for name, values in evaluated.items()}, last


@pytest.mark.parametrize("case", CASES)
def test_every_trial_is_that_trial_alone(case, tmp_path):
    result = done(tmp_path, **{"optimizer": "sgd", "seeds": 2, **CASES[case]})
    directory = directory_of(result)
    spec = load_comparison(directory.config).spec
    rows, (curves, _) = directory.read_trials(), directory.read_curves()
    assert len(rows) == len(spec.trials)
    for number in range(1, len(rows), 2):
        row, trial = rows[number], trial_spec(spec, number)
        assert (int(row["trial"]), row["contender"]) == (number, trial.contender)
        own, last = alone(trial.spec)
        for name, values in own.items():
            shared = curves[f"curve/{name}"][number]
            assert np.isnan(shared[len(values) :]).all()
            np.testing.assert_allclose(shared[: len(values)], values, rtol=2e-6, atol=1e-6)
        for name, value in last.items():
            kind = "best" if name.startswith("test/") else "final"
            assert float(row[f"{kind}/{name}"]) == pytest.approx(value, rel=2e-6, abs=1e-6)


def test_trials_say_whether_they_ran_fused(tmp_path):
    vary = {"optimizer": {"L-BFGS": "lbfgs", "SGD": {"name": "sgd", "lr": 0.05}}}
    result = done(tmp_path, vary=vary, seeds=2)
    rows = directory_of(result).read_trials()
    assert [(row["contender"], row["fused"]) for row in rows] == [
        ("L-BFGS", "False"), ("L-BFGS", "False"), ("SGD", "True"), ("SGD", "True"),
    ]  # fmt: skip
    record = directory_of(result).read_record()
    reasons = [chunk["plan"]["reason"] for chunk in record["work"]["final"]["chunks"]]
    assert "lbfgs" in reasons[0]
    assert "traced" in reasons[-1]


def test_the_same_seeds_give_the_same_batches_and_weights_to_all(tmp_path):
    """A contender under two names is one contender: its trials are identical bit for bit."""
    twice = {
        "optimizer": {"one": {"name": "adam", "lr": 0.02}, "two": {"name": "adam", "lr": 0.02}}
    }
    result = done(tmp_path, vary=twice)
    curves, _ = directory_of(result).read_curves()
    for name, values in curves.items():
        if name.startswith("curve/"):
            np.testing.assert_array_equal(values[:3], values[3:])


# --- spread over processes --------------------------------------------------------------------


def test_one_worker_and_two_give_the_same_numbers(tmp_path):
    vary = {**BASE["vary"], **TWO_NETWORKS}
    one = begin(tmp_path, vary=vary, workers=1).result()
    session = begin(tmp_path, vary=vary, workers=2)
    assert session.outlook()["pieces"] == 2
    advances = list(session)
    two = session.result()
    for name in ("trials", "curves"):
        assert contents(one.path)[name] == contents(two.path)[name]
    assert advances[-1].trials_done == advances[-1].trials == 12
    assert advances[-1].steps_done == advances[-1].steps == 12 * 10
    assert list(advances[-1].losses) == list(
        load_comparison(one.path / "comparison.yaml").spec.contenders
    )


SCRIPT = """
import sys
from pathlib import Path
from lossbench.config.trials import load_comparison_text
from lossbench.session import comparing
print("begins", flush=True)
loaded = load_comparison_text(Path(sys.argv[1]).read_text())
session = comparing.start(loaded, runs_dir=Path(sys.argv[2]), workers=int(sys.argv[3]))
for advance in session:
    print(advance.stage, advance.trials_done, flush=True)
print("path", session.result().path)
"""

LONG = """
name: long
dataset: iris
network: {name: mlp, hidden: [5]}
loss: cross_entropy
train: {epochs: 100000, batch_size: 21, device: cpu}
vary: {optimizer: [sgd, adam], network.hidden: [[4], [6]]}
seeds: 2
"""


def launch(tmp_path: Path, text: str, workers: int) -> "subprocess.Popen[str]":
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "long.yaml").write_text(text)
    return subprocess.Popen(
        [sys.executable, "script.py", "long.yaml", "runs", str(workers)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(text):
            return lines
    raise AssertionError(process.communicate()[1])


def children(process: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(text) for text in listed.stdout.split()]


def gone(process: int, seconds: float = 20.0) -> bool:
    """Tell whether a process ends within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_in_the_middle_of_the_work_of_two_processes(tmp_path):
    """And the script has no `if __name__ == "__main__"`: the workers must not run it again."""
    process = launch(tmp_path, LONG, workers=2)
    try:
        lines = read_until(process, "final")
        assert lines.count("begins") == 1
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1  # an uncaught InterruptedRunError
    assert "was interrupted" in errors
    assert "--resume" in errors
    assert "begins" not in rest
    assert all(gone(child) for child in started)
    record = json.loads(next((tmp_path / "runs").glob("long/*/run.json")).read_text())
    assert record["status"] == "interrupted"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    process = launch(tmp_path, LONG, workers=2)
    try:
        read_until(process, "final")
        started = children(process.pid)
        assert len(started) >= 2
    finally:
        process.kill()  # SIGKILL: no cleaning up
        process.communicate()
    assert all(gone(child) for child in started)


def test_a_worker_that_is_killed_is_said_so(tmp_path, monkeypatch):
    def broken(*_: Any) -> Any:
        raise workers.BrokenProcessPool("terminated abruptly")
        yield

    monkeypatch.setattr(workers, "wait", broken)
    session = begin(tmp_path, vary={**BASE["vary"], **TWO_NETWORKS}, workers=2)
    monkeypatch.setattr(workers, "wait", lambda *_, **__: next(broken()))
    with pytest.raises(TrainingError, match="ended from outside"):
        session.result()
    assert session.directory.read_record()["status"] == "failed"


# --- killed and resumed -----------------------------------------------------------------------

THREE_GROUPS = {**BASE["vary"], "network.hidden": [[4], [6], [7]]}

KILLED = """
import os, signal, sys
from pathlib import Path
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.config.trials import load_comparison_text
from lossbench.session import comparing
write = ComparisonDirectory.write_piece
pieces = []
def write_and_die(self, name, arrays, facts):
    write(self, name, arrays, facts)
    pieces.append(name)
    if name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
ComparisonDirectory.write_piece = write_and_die
loaded = load_comparison_text(Path(sys.argv[1]).read_text())
comparing.start(loaded, runs_dir=Path(sys.argv[2]), workers=1).result()
"""


def killed_after(tmp_path: Path, text: str, piece: str) -> ComparisonDirectory:
    """Run a comparison in a process of its own and kill it when a piece has been written."""
    (tmp_path / "killed.py").write_text(KILLED)
    (tmp_path / "comparison.yaml").write_text(text)
    process = subprocess.run(
        [sys.executable, "killed.py", "comparison.yaml", "runs", piece],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    (path,) = (tmp_path / "runs").glob("*/*")
    return ComparisonDirectory(path)


def as_text(mapping: dict[str, Any]) -> str:
    return json.dumps(mapping)  # YAML reads JSON


TUNED = {
    **BASE,
    "vary": {**BASE["vary"], "network.hidden": [[4], [6]]},
    "tune": {"optimizer.lr": {"log_uniform": [0.001, 0.5]}, "trials": 3, "seeds": 2,
             "metric": "validation/accuracy"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("mapping", "piece"),
    [
        ({**BASE, "vary": THREE_GROUPS}, "final-00000"),
        (TUNED, "search-00000"),
        (TUNED, "final-00000"),
    ],
    ids=["first piece", "in the search", "after the search"],
)
def test_a_killed_comparison_goes_on_to_the_same_bytes(mapping, piece, tmp_path, monkeypatch):
    whole = comparing.start(
        load_comparison(mapping=mapping), runs_dir=tmp_path / "whole", workers=1
    )
    expected = whole.result()
    directory = killed_after(tmp_path, as_text(mapping), piece)
    stored = sorted(file.name for file in directory.pieces.iterdir())
    assert f"{piece}.safetensors" in stored
    trained: list[int] = []
    original = chunks_module.train_chunk

    def counting(chunk: Any, *rest: Any) -> Any:
        trained.append(chunk.number)
        return original(chunk, *rest)

    monkeypatch.setattr(chunks_module, "train_chunk", counting)
    result = comparing.resume(directory.id, runs_dir=tmp_path / "runs").result()
    assert_same(expected.path, result.path)
    pieces = sum(len(stage["chunks"]) for stage in result_record(result)["work"].values())
    assert len(trained) == pieces - len(stored)
    assert not directory.pieces.exists()


def result_record(result: ComparisonResult) -> dict[str, Any]:
    return directory_of(result).read_record()


def interrupt_within_the_second_piece(session: ComparisonSession) -> None:
    for advance in session:
        if advance.trials_done == 6 and advance.steps_done > 6 * 10:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_in_the_middle_of_a_group_keeps_what_is_finished(tmp_path):
    expected = done(tmp_path, vary=THREE_GROUPS)
    session = begin(tmp_path, vary=THREE_GROUPS)
    with pytest.raises(InterruptedRunError) as caught:
        interrupt_within_the_second_piece(session)
    assert caught.value.exit_code == 130
    assert f"lossbench compare --resume {session.directory.id}" in str(caught.value)
    record = session.directory.read_record()
    assert (record["status"], record["pid"]) == ("interrupted", os.getpid())
    assert [file.name for file in session.directory.pieces.iterdir()] == ["final-00000.safetensors"]
    result = comparing.resume(session.directory.id, runs_dir=tmp_path).result()
    assert_same(expected.path, result.path)
    assert result_record(result)["resumed"] == [[]]


def test_a_second_signal_ends_at_once_and_says_how_to_go_on(tmp_path, monkeypatch):
    session = begin(tmp_path, vary=THREE_GROUPS)

    def twice(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(comparing, "piece_of", twice)
    with pytest.raises(InterruptedRunError, match="was interrupted"):
        session.result()
    assert session.directory.read_record()["status"] == "interrupted"


def test_a_caller_that_leaves_interrupts_the_comparison(tmp_path):
    session = begin(tmp_path)
    iterator = iter(session)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert session.directory.read_record()["status"] == "interrupted"
    with pytest.raises(RunError, match="did not come to its end"):
        session.result()
    assert comparing.resume("latest", runs_dir=tmp_path).result().path == session.directory.path


def test_a_comparison_that_is_worked_on_is_not_resumed(tmp_path):
    session = begin(tmp_path)
    next(iter(session))
    with pytest.raises(RunError, match="still running"):
        comparing.resume("latest", runs_dir=tmp_path)
    for _ in session:
        pass
    with pytest.raises(RunError, match="is finished"):
        comparing.resume("latest", runs_dir=tmp_path)


# --- tuning -----------------------------------------------------------------------------------


def test_a_tuned_comparison_trains_what_was_chosen_and_the_defaults_beside(tmp_path):
    session = comparing.start(load_comparison(mapping=TUNED), runs_dir=tmp_path, workers=1)
    assert session.outlook()["stage"] == "search"
    assert session.outlook()["trials"] == 4 * 3 * 2
    stages = [advance.stage for advance in session]
    assert stages.index("final") > 0
    assert stages == sorted(stages, reverse=True)
    result = session.result()
    rows = directory_of(result).read_trials()
    searches = result.summary["tuned"]
    assert len(searches) == 4
    for search in searches:
        own = [row for row in rows if row["contender"] == search["contender"]]
        tuned = [row for row in own if row["role"] == "tuned"]
        default = [row for row in own if row["role"] == "default"]
        assert len(tuned) == 3
        rate = search["chosen"]["optimizer.lr"]
        assert {float(row["optimizer.lr"]) for row in tuned} == {rate}
        assert bool(default) == (rate != search["default"]["optimizer.lr"])
        assert search["score"] == max(tried["score"] for tried in search["tried"])
        assert search["tried"][0]["optimizer.lr"] == search["default"]["optimizer.lr"]
    assert len(result.table) == 12  # defaults are told beside, they are no trials of the table


def test_a_candidate_that_diverges_is_never_chosen(tmp_path):
    result = done(
        tmp_path,
        dataset={"name": "friedman", "samples": 100},
        metrics=[],
        loss="mse",
        vary={
            "optimizer": {"SGD": {"name": "sgd", "lr": 1e18}, "Adam": {"name": "adam", "lr": 0.01}}
        },
        tune={"optimizer.lr": {"log_uniform": [1e-3, 1e-1]}, "trials": 3, "seeds": 2},
    )
    search = next(found for found in result.summary["tuned"] if found["contender"] == "SGD")
    assert search["tried"][0]["score"] is None  # infinite
    assert search["chosen"]["optimizer.lr"] < 1
    assert (result.table.status == "done").all()


# --- failures are results ---------------------------------------------------------------------


def test_a_contender_that_diverges_in_every_trial(tmp_path):
    result = done(
        tmp_path,
        dataset={"name": "friedman", "samples": 100},
        metrics=[],
        loss="mse",
        vary={
            "optimizer": {"wild": {"name": "sgd", "lr": 1e25}, "calm": {"name": "sgd", "lr": 0.01}}
        },
        seeds=6,
        claims=["calm below wild on validation/loss"],
    )
    rows = directory_of(result).read_trials()
    wild = [row for row in rows if row["contender"] == "wild"]
    assert {row["status"] for row in wild} == {"diverged"}
    assert all(
        row["detail"].startswith("the loss of step") and int(row["ended"]) > 0 for row in wild
    )
    assert all(row["final/train/loss"] == "" for row in wild)
    assert any("failed in every trial" in text for text in result.comparison.warnings)
    assert result.comparison.verdicts[0].holds
    assert result.comparison.standings[0].contender == "calm"
    assert result.comparison.standings[-1].diverged.trials == 6


BREAKS = """
def sound(prediction, target):
    return (prediction - target) ** 2

def breaks(prediction, target):
    breaks.calls = getattr(breaks, "calls", 0) + 1
    if breaks.calls > 12:
        raise ValueError("enough")
    return (prediction - target) ** 2
"""


def own_losses(tmp_path: Path, *names: str) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text(BREAKS)
    return {
        "dataset": {"name": "friedman", "samples": 100},
        "metrics": ["mae"],
        "train": {**BASE["train"], "step": "plain", "epochs": 3},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "vary": {"loss": {name: f"{tmp_path}/mine.py:{name}" for name in names}},
    }


def test_an_error_in_one_contenders_code_fails_its_trials_and_no_others(tmp_path):
    result = done(tmp_path / "runs", **own_losses(tmp_path, "sound", "breaks"))
    rows = directory_of(result).read_trials()
    assert {row["status"] for row in rows if row["contender"] == "sound"} == {"done"}
    failed = [row for row in rows if row["contender"] == "breaks"]
    assert {row["status"] for row in failed} == {"failed"}
    assert "mine.py:" in failed[0]["detail"]
    assert "enough" in failed[0]["detail"]
    assert set(result.table.status.tolist()) == {"done", "failed"}
    assert [place.contender for place in result.comparison.standings] == ["sound", "breaks"]


def test_an_error_in_every_trial_is_an_error(tmp_path):
    session = begin(tmp_path / "runs", **own_losses(tmp_path, "breaks"))
    with pytest.raises(TrainingError, match=r"an error ended every trial: .*enough"):
        session.result()
    assert session.directory.read_record()["status"] == "failed"


# --- several problems, several metrics --------------------------------------------------------


def test_two_problems_are_told_apart_and_profiled(tmp_path):
    result = done(
        tmp_path,
        vary={"dataset": ["iris", "wine"], **BASE["vary"]},
        claims=["Adam below SGD on validation/loss at the end"],
    )
    assert result.table.problems == ("iris", "wine")
    assert len(result.comparison.standings) == 4
    curves, _ = directory_of(result).read_curves()
    assert curves["steps/train"].ndim == 2  # the data sets have other numbers of batches
    assert len(set(result_record(result)["data"])) == 2


def test_a_claim_about_test_data_is_judged_by_the_best_weights(tmp_path):
    result = done(tmp_path, seeds=6, claims=["Adam above SGD on test/accuracy"])
    (verdict,) = result.comparison.verdicts
    rows = directory_of(result).read_trials()
    column = [float(row["best/test/accuracy"]) for row in rows]
    np.testing.assert_allclose(result.table.values("test/accuracy"), column)
    assert verdict.sentence


def test_contenders_of_unequal_length_are_flagged(tmp_path):
    result = done(tmp_path, vary={"train.batch_size": [21, 35]}, optimizer="sgd")
    assert any("steps" in text for text in result.comparison.warnings)


def test_contenders_with_unequal_budgets_are_refused():
    with pytest.raises(ConfigError, match="epochs"):
        load_comparison(mapping={**BASE, "vary": {"train.epochs": [1, 2]}, "optimizer": "sgd"})


# --- a directory that is not whole ------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(tmp_path_factory.mktemp("finished")).path


@pytest.fixture
def copied(finished, tmp_path) -> ComparisonDirectory:
    path = tmp_path / "demo" / finished.name
    shutil.copytree(finished, path)
    return ComparisonDirectory(path)


@pytest.mark.parametrize("name", ["run.json", "trials.csv", "curves.safetensors"])
def test_a_missing_file_is_named(name, copied):
    (copied.path / name).unlink()
    with pytest.raises(RunError, match=name):
        comparison_table(copied)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b"{}"),
        ("trials.csv", b"trial,contender\n0,SGD\n"),
        ("trials.csv", b"\xff\xfe"),
        ("trials.csv", b""),
        ("curves.safetensors", b"12345678"),
        ("curves.safetensors", b""),
    ],
)
def test_a_damaged_file_is_named(name, content, copied):
    (copied.path / name).write_bytes(content)
    with pytest.raises(RunError) as caught:
        comparison_table(copied)
    assert copied.id in str(caught.value) or name in str(caught.value)


def test_curves_of_other_trials_are_refused(copied):
    text = copied.trials.read_text().splitlines()
    copied.trials.write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(RunError, match="trials"):
        comparison_table(copied)


def interrupted(tmp_path: Path) -> ComparisonDirectory:
    session = begin(tmp_path, vary=THREE_GROUPS)
    for advance in session:
        if advance.trials_done == 12:
            break
    iter(session).close()  # type: ignore[attr-defined]
    return session.directory


def test_a_missing_piece_is_trained_again(tmp_path):
    expected = done(tmp_path / "whole", vary=THREE_GROUPS)
    directory = interrupted(tmp_path / "cut")
    directory.piece("final-00000").unlink()
    result = comparing.resume("latest", runs_dir=tmp_path / "cut").result()
    assert_same(expected.path, result.path)


def test_a_damaged_piece_is_named_with_what_to_do(tmp_path):
    directory = interrupted(tmp_path)
    directory.piece("final-00001").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"final-00001.*cannot be read"):
        comparing.resume("latest", runs_dir=tmp_path).result()


def test_a_piece_of_other_trials_is_refused(tmp_path):
    directory = interrupted(tmp_path)
    shutil.copy(directory.piece("final-00000"), directory.piece("final-00001"))
    with pytest.raises(RunError, match="other trials"):
        comparing.resume("latest", runs_dir=tmp_path).result()


def test_an_edited_comparison_is_not_resumed(tmp_path):
    directory = interrupted(tmp_path)
    directory.config.write_text(directory.config.read_text().replace("seeds: 3", "seeds: 4"))
    with pytest.raises(RunError, match="edited"):
        comparing.resume("latest", runs_dir=tmp_path)


def test_a_damaged_plan_of_work_is_said_so(tmp_path):
    directory = interrupted(tmp_path)
    record = directory.read_record()
    record["work"]["final"]["chunks"][0].pop("plan")
    directory.write_record(record)
    with pytest.raises(RunError, match="damaged"):
        comparing.resume("latest", runs_dir=tmp_path)


def test_what_is_not_there_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="no comparison"):
        comparing.resume("latest", runs_dir=tmp_path)
    directory = interrupted(tmp_path)
    directory.config.unlink()
    with pytest.raises(LossbenchError, match=r"comparison\.yaml"):
        comparing.resume(directory.id, runs_dir=tmp_path)


# --- memory and disk --------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_results_that_do_not_fit_on_the_disk_are_refused_before_anything_is_made(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(UsageError, match=r"take about .* and .* has 5 kB left"):
        begin(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_results_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "installed_memory", lambda: 10_000)
    with pytest.raises(UsageError, match="this machine has 10 kB"):
        begin(tmp_path / "runs")


def test_the_estimate_is_about_what_is_written(finished):
    spec = load_comparison(finished / "comparison.yaml").spec
    stage = comparing.prepare(load_comparison(finished / "comparison.yaml"), workers=1)[1]
    assert len(spec.trials) == 6
    written = (finished / "curves.safetensors").stat().st_size
    assert 0.1 * written < stage.work.bytes < written


def test_a_full_disk_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, monkeypatch):
    expected = done(tmp_path / "whole", vary=THREE_GROUPS)
    session = begin(tmp_path / "full", vary=THREE_GROUPS)
    replace = storage.replace

    def full(path: Path, content: bytes) -> None:
        if "final-00001" in path.name:
            raise StorageError(f"cannot write {path}: no space left", hint="free some space")
        replace(path, content)

    monkeypatch.setattr(storage, "replace", full)
    with pytest.raises(StorageError, match="no space left") as caught:
        session.result()
    assert "free some space: lossbench compare --resume" in str(caught.value)
    assert session.directory.read_record()["status"] == "failed"
    assert session.directory.piece("final-00000").exists()
    monkeypatch.setattr(storage, "replace", replace)
    result = comparing.resume("latest", runs_dir=tmp_path / "full").result()
    assert_same(expected.path, result.path)


# --- progress ---------------------------------------------------------------------------------


def test_progress_counts_trials_and_steps_and_names_losses(tmp_path):
    session = begin(tmp_path)
    advances = list(session)
    assert [a.trials for a in advances] == [6] * len(advances)
    assert advances[0].trials_done == 0
    made = [a.steps_done for a in advances]
    assert made == sorted(made)
    assert made[-1] == advances[-1].steps == 6 * 10
    first = advances[0].losses
    curves, _ = session.directory.read_curves()
    steps = advances[0].steps_done // 6
    expected = curves["curve/train/loss"][:3, steps - 1].mean()
    assert first["SGD"] == pytest.approx(float(expected), rel=1e-6)


def test_late_news_of_a_worker_do_not_turn_the_steps_back(tmp_path):
    session = begin(tmp_path)
    tally = comparing.Tally(session.stage, finished=0)
    numbers = session.stage.work.chunks[0].trials
    late = Progress(0, 4, 10, numbers, np.full(6, 0.5))
    assert tally.advanced(late).steps_done == 6 * 4
    result = ChunkResult(0, numbers, *[()] * 3, *[{}] * 6)  # type: ignore[arg-type]
    assert tally.finished(result).steps_done == 60
    assert tally.advanced(late).steps_done == 60


def test_a_dry_run_says_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = comparing.dry_run(load_comparison(mapping={**BASE, "vary": THREE_GROUPS}))
    assert (told["trials"], told["groups"], told["pieces"]) == (18, 3, 3)
    assert [plan["trials"] for plan in told["plans"]] == [6, 6, 6]
    assert list(tmp_path.iterdir()) == []
