"""The run directory: names, safety of what is written, finding, removing, the recorder's rows."""

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.errors import RunError, StorageError, UsageError
from lossbench.rundir import directory as rundir
from lossbench.rundir import records, runs, storage
from lossbench.rundir.differences import differences
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.finding import all_runs, find
from lossbench.rundir.recorder import Recorder
from lossbench.rundir.storage import safe_name
from lossbench.rundir.summary import summarize
from lossbench.training.events import EpochDone, Evaluated, SafePoint, StepsDone


def make(runs_dir: Path, name: str = "demo", seed: int = 0, **record: Any) -> RunDirectory:
    directory = RunDirectory.create(runs_dir, name, seed)
    directory.write_record({"status": "done", **record})
    return directory


def steps(first: int, losses: list[float], epoch: int = 1, rate: float = 0.01) -> StepsDone:
    values = np.array([losses], dtype=np.float32)
    return StepsDone(first, epoch, values, np.full(values.shape, rate), np.full(values.shape, True))


def evaluated(step: int, weights: str = "current", **values: float) -> Evaluated:
    arrays: Mapping[str, Any] = {name: np.array([value]) for name, value in values.items()}
    return Evaluated(step, 1, "validation", arrays, np.array([True]), weights)


def point(step: int, state: Mapping[str, Any] | None = None) -> SafePoint:
    return SafePoint(step, 1, lambda: dict(state or {}))


def strict(text: str | bytes) -> Any:
    """Parse JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# --- making -----------------------------------------------------------------------------------


def test_the_path_says_name_time_and_seed(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "runs", "cubic-adam", 10)
    assert directory.path.parent == tmp_path / "runs" / "cubic-adam"
    assert rundir.ID.fullmatch(directory.id)
    assert "-s10-" in directory.id


@given(st.text(max_size=200))
def test_any_name_becomes_one_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert Path(safe).name == safe
    assert len(safe.encode()) <= 90
    assert not safe.startswith(".")
    assert safe.lower() not in ("con", "nul", "aux")
    assert safe_name(safe) == safe


def test_a_taken_name_is_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(["20260101-000000-s0-bcdf"] * 3 + ["20260101-000000-s0-ghjk"])
    monkeypatch.setattr("lossbench.rundir.folders._new_id", lambda _: next(ids))
    first, second = (RunDirectory.create(tmp_path, "demo", 0) for _ in range(2))
    assert (first.id[-4:], second.id[-4:]) == ("bcdf", "ghjk")


def test_two_processes_in_one_second_do_not_meet(tmp_path: Path) -> None:
    """Both draw from two names only, so that they would collide all the time."""
    program = (
        "import sys, pathlib\n"
        "from lossbench.rundir import folders, directory as rundir\n"
        "folders._random.choices = lambda letters, k: folders._random.sample('bc', 1) * 4\n"
        "folders._COLLISIONS = 1000\n"
        "folders._new_id = lambda mark: 's' + ''.join("
        "folders._random.choice('bcdfghjk') for _ in range(2))\n"
        "for _ in range(30):\n"
        "    print(rundir.RunDirectory.create(pathlib.Path(sys.argv[1]), 'x', 0).id)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ids = [name for process in processes for name in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(ids) == 60
    assert len(set(ids)) == 60


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*arguments: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    target = tmp_path / "new" / "runs"
    with (
        pytest.raises(UsageError, match="cannot make a run directory in") as caught,
        RunDirectory.creating(target, "demo", 0) as directory,
    ):
        directory.write_config("name: demo\n")
    assert str(target) in caught.value.message
    assert os.strerror(code) in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_runs_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UsageError, match="cannot make a run directory in"):
        RunDirectory.create(tmp_path / "runs", "demo", 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "demo").write_text("")
    with pytest.raises(UsageError, match="demo is a file"):
        RunDirectory.create(tmp_path / "other", "demo", 0)


def test_creating_keeps_what_others_made(tmp_path: Path) -> None:
    neighbour = make(tmp_path)
    with pytest.raises(ZeroDivisionError), RunDirectory.creating(tmp_path, "demo", 0):
        raise ZeroDivisionError
    assert all_runs(tmp_path) == [neighbour]


# --- writing ----------------------------------------------------------------------------------


def test_replace_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.json"
    storage.replace(file, b"old")
    written = 0

    def half(descriptor: int, content: bytes) -> int:
        nonlocal written
        written += 1
        if written > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[:2])

    real = os.write
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        storage.replace(file, b"new content")
    assert caught.value.exit_code == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert file.read_bytes() == b"old"


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:3]))
    storage.replace(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_the_order_of_a_safe_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synced before the rename, and the folder after it: either alone can lose the file."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _n=name, _r=real: (calls.append(_n), _r(*a))[1])
    storage.replace(tmp_path / "file", b"x")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_claim_holds_until_it_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert not storage.claimed(file)
    appender = storage.Appender(file, claim=True)
    assert storage.claimed(file)
    appender.write(b"kept")
    with pytest.raises(BlockingIOError):
        storage.Appender(file, claim=True)
    assert file.read_bytes() == b"kept"  # the loser cut nothing
    appender.close()
    appender.close()
    assert not storage.claimed(file)


def test_the_users_files_keep_their_names_and_texts(tmp_path: Path) -> None:
    directory = make(tmp_path)
    for folder, text in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_loss.py").write_text(text)
    copies = [directory.add_file(tmp_path / folder / "my_loss.py") for folder in "abc"]
    assert copies == ["files/my_loss.py", "files/my_loss_2.py", "files/my_loss.py"]
    assert [(directory.path / copy).read_text() for copy in copies] == ["one", "two", "one"]


def test_records_are_strict_json(tmp_path: Path) -> None:
    directory = make(tmp_path)
    directory.write_record(
        {
            "nan": math.nan,
            "inf": np.float32("inf"),
            "path": Path("x"),
            "array": np.arange(2),
            "tensor": torch.tensor([1.5, math.inf]),
            "tuple": (1, None, True),
            1: "ü",
        }
    )
    assert strict(directory.record.read_text()) == {
        "nan": None,
        "inf": None,
        "path": "x",
        "array": [0, 1],
        "tensor": [1.5, None],
        "tuple": [1, None, True],
        "1": "ü",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(json_values)
def test_json_texts_say_what_they_were_given(value: Any) -> None:
    assert strict(records.json_text(value)) == value


def test_lists_of_numbers_stand_in_one_line() -> None:
    assert records.json_text({"a": [1, 2, 3]}) == '{\n  "a": [1, 2, 3]\n}\n'


# --- checkpoints and weights ------------------------------------------------------------------


def test_checkpoints_come_back(tmp_path: Path) -> None:
    directory = make(tmp_path)
    assert directory.read_checkpoint() is None
    directory.write_checkpoint({"state": {"w": torch.arange(3.0), "n": [1, "a", None]}})
    content = directory.read_checkpoint()
    assert content is not None
    assert content["state"]["n"] == [1, "a", None]
    torch.testing.assert_close(content["state"]["w"], torch.arange(3.0))
    assert [file.name for file in directory.checkpoint.parent.iterdir()] == ["last.pt"]


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    directory = make(tmp_path)
    directory.write_checkpoint({"state": {"w": torch.zeros(1000)}})
    good = directory.checkpoint.read_bytes()
    for content in (b"", good[:50], good[:-100], b"not a checkpoint", good[200:]):
        directory.checkpoint.write_bytes(content)
        with pytest.raises(RunError, match="cannot be read: truncated, or no checkpoint"):
            directory.read_checkpoint()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


@pytest.mark.parametrize("content", [[1, 2], {"state": {}}, {"format": 99}, {"format": Evil()}])
def test_foreign_checkpoints_are_refused(tmp_path: Path, content: Any) -> None:
    directory = make(tmp_path)
    directory.checkpoint.parent.mkdir()
    torch.save(content, directory.checkpoint)
    with pytest.raises(RunError, match=r"checkpoint|format 99"):
        directory.read_checkpoint()


def test_weights_and_their_description_come_back_and_repeat_the_bytes(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with pytest.raises(RunError, match="has no weights yet"):
        directory.read_model()
    weights = {"0.weight": torch.randn(3, 4).T, "0.bias": torch.zeros(3)}
    directory.write_model(weights, {"network": {"name": "mlp", "hidden": (10,)}, "inputs": [1]})
    first = directory.model.read_bytes()
    directory.write_model(weights, {"inputs": [1], "network": {"hidden": (10,), "name": "mlp"}})
    assert directory.model.read_bytes() == first
    back, metadata = directory.read_model()
    assert metadata["network"] == {"name": "mlp", "hidden": [10]}
    for name, value in weights.items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=0)
    directory.model.write_bytes(first[:20])
    with pytest.raises(RunError, match="cannot be read"):
        directory.read_model()


# --- finding ----------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunDirectory]:
    ids = iter(["20260101-000000-s0-bcdf", "20260101-000000-s1-ghjk", "20260102-000000-s0-lmnp"])
    monkeypatch.setattr("lossbench.rundir.folders._new_id", lambda _: next(ids))
    return [
        make(tmp_path, name, started=f"2026-01-01T00:00:00.{index}")
        for index, name in enumerate(["demo", "demo", "other"])
    ]


@pytest.mark.parametrize(
    ("reference", "index"),
    [
        ("20260101-000000-s0-bcdf", 0),
        ("20260101-000000-s1", 1),
        ("20260102", 2),
        ("demo/20260101-000000-s0", 0),
        ("demo/20260101-000000-s1-ghjk/", 1),
        ("other", 2),
        ("ghjk", 1),
        ("latest", 2),
    ],
)
def test_runs_are_found(
    three: list[RunDirectory], tmp_path: Path, reference: str, index: int
) -> None:
    assert find(tmp_path, reference) == three[index]


def test_runs_are_found_by_path(
    three: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for reference in (three[0].path, str(three[0].path), f"demo/{three[0].id}"):
        assert find(Path("elsewhere"), reference) == three[0]


def test_what_is_not_found_names_the_nearest(three: list[RunDirectory], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="could be any of 2 runs") as caught:
        find(tmp_path, "demo")
    assert all(run.id in str(caught.value.hint) for run in three[:2])
    with pytest.raises(RunError, match="there is no run '20260103-000000-s0-lmnp'") as caught:
        find(tmp_path, "20260103-000000-s0-lmnp")
    assert three[2].id in str(caught.value.hint)
    with pytest.raises(RunError, match="holds none"):
        find(tmp_path / "nowhere", "latest")
    with pytest.raises(RunError, match=r"holds no run\.json"):
        find(tmp_path, str(tmp_path))
    with pytest.raises(RunError):
        find(tmp_path, "")


def test_runs_of_one_second_are_sorted_by_their_start(tmp_path: Path) -> None:
    made = [make(tmp_path, started=f"2026-01-01T00:00:00.{9 - index}") for index in range(5)]
    same_second = [run for run in made if run.id[:15] == made[0].id[:15]]
    found = [run for run in all_runs(tmp_path) if run in same_second]
    assert found == same_second[::-1]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    directory = make(tmp_path)
    directory.record.write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        directory.read_record()
    directory.record.write_text("[]")
    with pytest.raises(RunError, match="an object was expected"):
        directory.read_record()
    directory.record.unlink()
    with pytest.raises(RunError, match=r"holds no run\.json"):
        directory.read_record()
    assert directory.status() == "broken"
    assert runs.overview(tmp_path)[0]["status"] == "broken"


def test_a_run_names_itself_for_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, there = make(Path("runs")), make(Path("other place"))
    assert here.argument == here.id
    assert RunDirectory(here.path.absolute()).argument == here.id
    assert there.argument == f"{there.id} --runs-dir 'other place'"
    assert RunDirectory(Path("moved")).argument == "moved"


# --- removing ---------------------------------------------------------------------------------


def test_removing_takes_all_or_none(tmp_path: Path) -> None:
    one, two, three = (make(tmp_path) for _ in range(3))
    with pytest.raises(RunError):
        runs.remove([one.id, "nonsense"], tmp_path)
    claim = storage.Appender(two.metrics, claim=True)
    with pytest.raises(RunError, match="is still running"):
        runs.remove([one.id, two.id], tmp_path)
    assert len(all_runs(tmp_path)) == 3
    claim.close()
    assert runs.remove([one.id, str(two.path), one.id], tmp_path) == [one.id, two.id]
    assert all_runs(tmp_path) == [three]
    three.delete()
    assert list(tmp_path.iterdir()) == []


def test_only_run_directories_are_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    with pytest.raises(RunError, match="is not a run directory"):
        RunDirectory(tmp_path / "precious").delete()
    assert (tmp_path / "precious").is_dir()


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    directory = make(tmp_path, status="running")
    assert directory.status() == "killed"
    claim = storage.Appender(directory.metrics, claim=True)
    assert directory.status() == "running"
    claim.close()


# --- numbers and rows -------------------------------------------------------------------------


@given(st.floats(width=32))
def test_numbers_are_the_shortest_that_give_the_same_float32(value: float) -> None:
    (text,) = records.numbers([value])
    assert np.float32(text).tobytes() == np.float32(value).tobytes() or math.isnan(value)
    if math.isfinite(value):
        assert len(text.split("e")[0].replace(".", "").lstrip("-0")) <= 9
        strict(text)
        shorter = f"{value:.8g}"
        assert len(text.split("e")[0]) <= len(f"{value:.9g}") + 2 or np.float32(shorter) != value


def test_doubles_beyond_float32_are_kept() -> None:
    assert records.numbers([0.1, 1e300, -1e-300, 0.0, math.inf]) == [
        "0.1", "1e+300", "-1e-300", "0.0", "inf",
    ]  # fmt: skip


@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_rows_are_strict_and_lose_nothing(values: list[float]) -> None:
    named = {f"m{index}": text for index, text in enumerate(records.numbers(values))}
    row = strict(records.row_text('"step": 1', named))
    columns = records.columns_of([row])
    for index, value in enumerate(values):
        back = columns[f"m{index}"][0]
        assert back == np.float32(value) or (math.isnan(back) and math.isnan(value))
        assert (row[f"m{index}"] is None) == (f"m{index}" in row.get("nonfinite", {}))


def test_the_table_has_every_column() -> None:
    rows = [
        {"step": 1, "split": "train", "loss": 0.5, "lr": 0.1},
        {"step": 2, "split": "train", "loss": None, "lr": 0.1, "nonfinite": {"loss": "inf"}},
        {"step": 2, "split": "validation", "weights": "current", "accuracy": 1.0},
    ]
    assert records.csv_text(rows).splitlines() == [
        "step,split,loss,lr,weights,accuracy",
        "1,train,0.5,0.1,,",
        "2,train,inf,0.1,,",
        "2,validation,,,current,1.0",
    ]
    assert records.csv_text([]) == "\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.100000001"),
        (np.float32(1 / 3), "0.333333343"),
        (1.0, "1.0"),
        (-170.0, "-170.0"),
        (1e-7, "1e-07"),
        (3.4e38, "3.4e+38"),
        (float("nan"), ""),
        (float("inf"), ""),
        (float("-inf"), ""),
    ],
)
def test_short_numbers_have_what_a_float32_has(value, text):
    assert records.short_numbers([value, 0.5]) == [text, "0.5"]
    assert records.short_numbers([]) == []


@given(arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_short_numbers_read_back_as_the_same_float32(values):
    read = [np.float32(float(text)) for text in records.short_numbers(values)]
    np.testing.assert_array_equal(read, values)


cells = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), max_size=4)


@given(cells)
def test_columns_come_back_from_csv(column):
    columns = {"trial": tuple(str(row) for row in range(len(column))), "name": tuple(column)}
    assert records.columns_of_csv(records.csv_of_columns(columns)) == columns


def test_a_row_of_another_length_is_damage():
    assert records.csv_of_columns({"a": [1, None], "b": [True, "x,y"]}) == 'a,b\n1,True\n,"x,y"\n'
    with pytest.raises(ValueError, match="row 2 has 1 cells, there are 2 columns"):
        records.columns_of_csv("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="empty"):
        records.columns_of_csv("")


def test_a_cut_off_last_line_is_no_row_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    directory = make(tmp_path)
    assert directory.read_metrics() == []
    directory.metrics.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert directory.read_metrics() == [{"step": 1}, {"step": 2}]
    directory.metrics.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2 is damaged"):
        directory.read_metrics()


# --- the recorder -----------------------------------------------------------------------------


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(make(tmp_path))
    yield recorder
    recorder.close()


def test_rows_are_written_at_safe_points(recorder: Recorder) -> None:
    directory = recorder.directory
    recorder.record(steps(1, [0.5, math.nan]))
    assert directory.metrics.read_bytes() == b""
    recorder.record(evaluated(2, loss=0.25, mae=math.inf))
    recorder.record(EpochDone(1, 2, 0.125))
    recorder.record(point(2))
    lines = directory.metrics.read_text().splitlines()
    assert [strict(line) for line in lines] == [
        {"step": 1, "epoch": 1, "split": "train", "loss": 0.5, "lr": 0.01},
        {
            "step": 2, "epoch": 1, "split": "train", "loss": None, "lr": 0.01,
            "nonfinite": {"loss": "nan"},
        },
        {
            "step": 2, "epoch": 1, "split": "validation", "weights": "current", "loss": 0.25,
            "mae": None, "nonfinite": {"mae": "inf"},
        },
    ]  # fmt: skip
    assert directory.read_timing() == [{"epoch": 1, "step": 2, "seconds": 0.125}]
    assert list(recorder.last_finite) == [(1, 0.5)]


def test_steps_after_the_end_of_a_trial_are_left_out(recorder: Recorder) -> None:
    event = steps(1, [0.5, 0.4, 0.3])
    active = np.array([[True, False, False]])
    recorder.record(StepsDone(1, 1, event.losses, event.rates, active))
    recorder.flush()
    assert [row["step"] for row in recorder.directory.read_metrics()] == [1]


def test_a_checkpoint_knows_the_bytes_and_a_resume_cuts_there(tmp_path: Path) -> None:
    directory = make(tmp_path)
    recorder = Recorder(directory)
    recorder.record(steps(1, [0.5]))
    recorder.record(EpochDone(1, 1, 0.1))
    recorder.checkpoint(point(1, {"w": torch.ones(2)}), run="me")
    saved = (directory.metrics.read_bytes(), directory.timing.read_bytes())
    recorder.record(steps(2, [0.4]))
    recorder.record(EpochDone(2, 2, 0.1))
    recorder.record(point(2))
    recorder.close()
    with directory.metrics.open("ab") as file:
        file.write(b'{"step": 3, "ep')
    content = directory.read_checkpoint()
    assert content is not None
    assert content["run"] == "me"
    assert content["metrics_bytes"] == len(saved[0])
    again = Recorder(
        directory, metrics_bytes=content["metrics_bytes"], timing_bytes=content["timing_bytes"]
    )
    again.record(steps(2, [0.4]))
    again.flush()
    again.close()
    assert [row["step"] for row in directory.read_metrics()] == [1, 2]
    assert directory.timing.read_bytes() == saved[1]


def test_a_full_disk_names_the_file(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    recorder.record(steps(1, [0.5]))
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageError, match=r"metrics\.jsonl: No space left on device"):
        recorder.record(point(1))


# --- summaries and differences ----------------------------------------------------------------


def test_the_summary_tells_final_from_best_and_keeps_the_test_apart() -> None:
    def row(step: int, split: str, weights: str | None, **values: Any) -> dict[str, Any]:
        extra = {} if weights is None else {"weights": weights}
        return {"step": step, "epoch": step, "split": split, **extra, **values}

    summary = summarize(
        [
            row(1, "train", None, loss=9.0, lr=0.1),
            row(1, "validation", "current", loss=3.0, accuracy=0.5, odd=1.0),
            row(2, "validation", "current", loss=1.0, accuracy=0.9, odd=2.0),
            row(3, "validation", "current", loss=None, accuracy=0.9, odd=3.0),
            row(3, "train", "current", loss=0.5),
            row(2, "validation", "best", loss=1.0, accuracy=0.9),
            row(2, "test", "best", loss=1.5, accuracy=0.8),
        ],
        {"loss": True, "accuracy": False},
    )
    assert summary["final"] == {
        "validation/loss": None,
        "validation/accuracy": 0.9,
        "validation/odd": 3.0,
        "train/loss": 0.5,
    }
    assert summary["best"] == {
        "validation/loss": {"value": 1.0, "step": 2, "epoch": 2},
        "validation/accuracy": {"value": 0.9, "step": 2, "epoch": 2},
    }
    assert summary["best_weights"]["validation/loss"] == 1.0
    assert summary["test"] == {"loss": 1.5, "accuracy": 0.8}


def test_differences_name_the_key_as_an_override_does() -> None:
    left = {"optimizer": {"name": "adam", "lr": 0.1}, "loss": {"name": "mse"}, "hidden": (1, 2)}
    right = {"optimizer": {"name": "adam", "lr": 0.2}, "loss": {"name": "mse"}, "hidden": [1, 2]}
    assert differences(left, right) == {"optimizer.lr": (0.1, 0.2)}
    assert differences(left, left) == {}
    assert list(differences({}, right)) == ["optimizer.name", "optimizer.lr", "loss.name", "hidden"]


def test_runs_are_compared_by_config_and_result(tmp_path: Path) -> None:
    pair = []
    for rate, loss in ((0.1, 1.0), (0.2, 3.0)):
        directory = make(tmp_path, config={"optimizer": {"name": "adam", "lr": rate}})
        directory.write_summary({"final": {"validation/loss": loss}, "test": {"mae": None}})
        pair.append(directory)
    answer = runs.compare(pair[0].id, pair[1].id, tmp_path)
    assert answer["config"] == {"optimizer.lr": [0.1, 0.2]}
    assert answer["metrics"]["final validation/loss"] == {
        "left": 1.0, "right": 3.0, "difference": 2.0,
    }  # fmt: skip
    assert answer["metrics"]["test mae"]["difference"] is None


def test_listing_and_showing_import_no_torch(tmp_path: Path) -> None:
    directory = make(tmp_path, config={"optimizer": {"name": "adam"}, "loss": "mse"})
    directory.write_summary({"final": {"validation/loss": 0.5}})
    directory.metrics.write_text('{"step": 1, "epoch": 1, "split": "train", "loss": 0.5}\n')
    program = (
        "import sys, pathlib, lossbench\n"
        "from lossbench.rundir import runs\n"
        f"where = pathlib.Path({str(tmp_path)!r})\n"
        "line, = runs.overview(where)\n"
        "assert (line['loss'], line['optimizer']) == ('mse', 'adam')\n"
        "assert runs.show('latest', where)['status'] == 'done'\n"
        "assert lossbench.load('latest', runs_dir=where).curve('train/loss') == ([1], [0.5])\n"
        "runs.compare('latest', 'latest', where); runs.remove(['latest'], where)\n"
        "print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
