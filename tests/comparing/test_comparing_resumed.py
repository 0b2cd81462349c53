"""A comparison that was cut off, anywhere, goes on to the very bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from comparisons import (
    BASE,
    ENVIRONMENT,
    THREE_GROUPS,
    TUNED,
    assert_same,
    begin,
    done,
    result_record,
)

from lossbench.config.trials import load_comparison
from lossbench.errors import (
    InterruptedRunError,
    RunError,
    StorageError,
    UsageError,
)
from lossbench.rundir import storage
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.session import comparing, room
from lossbench.session.comparing import ComparisonSession
from lossbench.training import chunks as chunks_module

# --- killed and resumed -----------------------------------------------------------------------


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
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    (path,) = (tmp_path / "runs").glob("*/*")
    return ComparisonDirectory(path)


def as_text(mapping: dict[str, Any]) -> str:
    return json.dumps(mapping)  # YAML reads JSON


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
