"""A checkpoint is data: it runs nothing, and it never stands for rows that are not on the disk."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench.errors import RunError
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.recorder import Recorder
from lossbench.training.events import EpochDone, SafePoint


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, "safe", 0)


class Harmful:
    """What an attacker would put into a file that somebody unpickles."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("save", [torch.save, lambda it, path: path.write_bytes(pickle.dumps(it))])
def test_reading_a_checkpoint_runs_nothing_in_it(
    save: Any, directory: RunDirectory, tmp_path: Path
) -> None:
    directory.checkpoint.parent.mkdir()
    mark = tmp_path / "it ran"
    save({"format": 1, "state": Harmful(mark)}, directory.checkpoint)
    with pytest.raises(RunError, match="truncated, or no checkpoint"):
        directory.read_checkpoint()
    assert not mark.exists()


def test_rows_are_on_the_disk_before_the_checkpoint_that_stands_for_them(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(directory)
    recorder.record(EpochDone(epoch=1, step=1, seconds=0.5))
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        done.extend(path.name for path in directory.path.rglob("*") if path.stat().st_ino == number)
        sync(descriptor)

    def note_rename(old: Any, new: Any) -> None:
        done.append(f"rename to {Path(new).name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    recorder.checkpoint(SafePoint(1, 1, lambda: {"weights": torch.zeros(2)}))
    recorder.close()
    before = done[: done.index("rename to last.pt")]
    assert {"metrics.jsonl", "timing.jsonl"} <= set(before)
    assert before[-1].startswith(".last.pt")  # then its own bytes
    assert done[-1] == "checkpoints"  # and the folder's entry
    saved = directory.read_checkpoint()
    assert saved is not None
    assert saved["timing_bytes"] == directory.timing.stat().st_size > 0
