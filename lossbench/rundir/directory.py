"""The run directory: what lies in it, under which names, and how it is found again.

    runs/<name>/<UTC time>-s<seed>-<4 random letters>/
        config.yaml  config.resolved.yaml  files/  run.json
        metrics.jsonl  timing.jsonl  metrics.csv  summary.json
        checkpoints/last.pt  model.safetensors  plots/

This is the one file that knows these names. Reading a run needs no torch, but for its tensors.
"""

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossbench.errors import RunError
from lossbench.lazy import LazyModule, torch
from lossbench.rundir import folders, storage
from lossbench.rundir.records import Row, csv_text, json_text, plain, read_lines

safetensors = LazyModule("safetensors")
safetensors_torch = LazyModule("safetensors.torch")

RUNS = Path("runs")
"""Where runs lie unless somebody says otherwise."""

CHECKPOINT_FORMAT = 1
"""The layout of checkpoints/last.pt; a file of another format is refused."""

ID = re.compile(r"\d{8}-\d{6}-s\d+-[a-z]{4}")


class _File:
    """The path of a file of a run directory, under an attribute's name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, directory: "RunDirectory", owner: type | None = None) -> Path:
        return directory.path / self.name


@dataclass(frozen=True)
class RunDirectory:
    """A run's directory: its files by name, read and written."""

    path: Path

    config = _File("config.yaml")  # as the user gave it
    resolved = _File("config.resolved.yaml")  # every default filled in: repeats the run
    files = _File("files")  # the user's own files
    record = _File("run.json")  # status, command, versions, plan, seeds, times
    metrics = _File("metrics.jsonl")  # every loss and every metric, an object a line
    timing = _File("timing.jsonl")  # seconds per epoch, an object a line
    metrics_csv = _File("metrics.csv")  # the metrics for spreadsheets, written at the end
    summary = _File("summary.json")  # final and best values, written at the end
    checkpoint = _File("checkpoints/last.pt")  # everything needed to go on
    model = _File("model.safetensors")  # the best weights
    plots = _File("plots")  # pictures

    @property
    def id(self) -> str:
        """The directory's own name: time, seed and letters."""
        return self.path.name

    @property
    def argument(self) -> str:
        """What names this run on a command line: its id, and where it lies if that is elsewhere."""
        runs_dir = self.path.parent.parent
        if not ID.fullmatch(self.id):  # renamed by its owner: found by its path only
            return shlex.quote(str(self.path))
        if runs_dir.absolute() == RUNS.absolute():
            return self.id
        return f"{self.id} --runs-dir {shlex.quote(str(runs_dir))}"

    # --- making and removing ------------------------------------------------------------------

    @classmethod
    def create(cls, runs_dir: Path, name: str, seed: int) -> "RunDirectory":
        """Make a new, empty directory that no other process can be given.

        Raises UsageError naming the directory that cannot be written.
        """
        return cls(folders.new_folder(runs_dir, name, f"s{seed}"))

    @classmethod
    @contextlib.contextmanager
    def creating(cls, runs_dir: Path, name: str, seed: int) -> "Iterator[RunDirectory]":
        """Make a directory for the block to fill, and leave nothing behind if the block fails.

        Raises UsageError where the disk refuses; other exceptions of the block pass through.
        """
        with folders.creating(runs_dir, name, f"s{seed}") as path:
            yield cls(path)

    def delete(self) -> None:
        """Remove the run, and its parent folder where it was the last one in it.

        Raises RunError where it is no run directory, is still running, or cannot be removed.
        """
        if not (self.record.is_file() or ID.fullmatch(self.id)):
            raise RunError(f"{self.path} is not a run directory: it is left alone")
        if self.is_running():
            raise RunError(f"run {self.id} is still running: stop it before removing it")
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise RunError(f"cannot remove {self.path}: {storage.reason(error)}") from error
        folders.remove_empty([self.path.parent])

    def remove_temporary(self) -> None:
        """Remove what a killed process was writing and had not yet renamed."""
        for file in self.path.rglob(storage.TEMPORARY):
            with contextlib.suppress(OSError):
                file.unlink()

    def size(self) -> int:
        """Return how many bytes the run's files take."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    # --- config and the user's files ----------------------------------------------------------

    def write_config(self, text: str) -> None:
        """Keep the config as it was given."""
        storage.replace(self.config, text.encode())

    def write_resolved(self, text: str) -> None:
        """Keep the config with every default filled in."""
        storage.replace(self.resolved, text.encode())

    def add_file(self, file: Path) -> str:
        """Copy a file of the user's own into `files/`; two of one name get different ones.

        Returns the copy's path within the run's directory.
        """
        content = file.read_bytes()
        with storage.storing(self.files):
            self.files.mkdir(exist_ok=True)
        copy = self.files / file.name
        number = 2
        while copy.exists() and copy.read_bytes() != content:
            copy = self.files / f"{file.stem}_{number}{file.suffix}"
            number += 1
        storage.replace(copy, content)
        return copy.relative_to(self.path).as_posix()

    # --- run.json and summary.json ------------------------------------------------------------

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace run.json."""
        storage.replace(self.record, json_text(record).encode())

    def read_record(self) -> dict[str, Any]:
        """Return run.json.

        Raises RunError where it is missing or damaged.
        """
        found = self._read_json(self.record)
        if found is None:
            raise RunError(
                f"{self.path} holds no {self.record.name}: it is no run, or its start was cut off",
                hint=f"to remove it: lossbench runs rm {self.path}",
            )
        return found

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json."""
        storage.replace(self.summary, json_text(summary).encode())

    def read_summary(self) -> dict[str, Any] | None:
        """Return summary.json; none where the run has not come to an end."""
        return self._read_json(self.summary)

    def _read_json(self, path: Path) -> dict[str, Any] | None:
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"cannot read {path}: {storage.reason(error)}") from error
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: an object was expected")
        return content

    # --- metrics and timing -------------------------------------------------------------------

    def read_metrics(self) -> list[Row]:
        """Return the rows of metrics.jsonl; a half-written last line is no row.

        Raises RunError naming the line that is damaged.
        """
        return read_lines(self.metrics)

    def read_timing(self) -> list[Row]:
        """Return the rows of timing.jsonl."""
        return read_lines(self.timing)

    def write_metrics_csv(self, rows: Sequence[Row]) -> None:
        """Write the metrics as a table: a column for everything that any row holds."""
        storage.replace(self.metrics_csv, csv_text(rows).encode())

    # --- tensors ------------------------------------------------------------------------------

    def write_checkpoint(self, content: Mapping[str, Any]) -> None:
        """Replace checkpoints/last.pt; tensors, numbers, text, lists and dicts only."""
        with storage.storing(self.checkpoint):
            self.checkpoint.parent.mkdir(exist_ok=True)
        # Into memory first: torch hides the reason (a full disk, say) for which a file refuses.
        buffer = io.BytesIO()
        torch.save({"format": CHECKPOINT_FORMAT, **content}, buffer)
        storage.replace(self.checkpoint, buffer.getvalue())

    def read_checkpoint(self) -> dict[str, Any] | None:
        """Return checkpoints/last.pt with its tensors on the CPU; none where there is none yet.

        Raises RunError where it is truncated, foreign or of another format.
        """
        if not self.checkpoint.exists():
            return None
        hint = f"without the file, the run starts again at step 0: rm {self.checkpoint}"
        try:
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        # torch answers a damaged file with anything from EOFError to UnpicklingError.
        except Exception as error:
            raise RunError(
                f"{self.checkpoint} cannot be read: truncated, or no checkpoint of lossbench",
                hint=hint,
            ) from error
        if not isinstance(content, dict) or "format" not in content:
            raise RunError(f"{self.checkpoint} is no checkpoint of lossbench", hint=hint)
        if content["format"] != CHECKPOINT_FORMAT:
            raise RunError(
                f"{self.checkpoint} has format {content['format']}; "
                f"this lossbench reads format {CHECKPOINT_FORMAT}",
                hint=hint,
            )
        return content

    def write_model(self, weights: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Replace model.safetensors; the metadata become one JSON text under "lossbench"."""
        # One key, since safetensors writes several in an order that changes from run to run.
        tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        content = safetensors_torch.save(
            tensors, metadata={"lossbench": json.dumps(plain(metadata), sort_keys=True)}
        )
        storage.replace(self.model, content)

    def read_model(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the best weights by name, and the metadata.

        Raises RunError where the run has none yet.
        """
        if not self.model.exists():
            raise RunError(
                f"run {self.id} has no weights yet: they are written at its end",
                hint=f"to go on: lossbench train --resume {self.argument}",
            )
        try:
            with safetensors.safe_open(self.model, framework="pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = json.loads((file.metadata() or {}).get("lossbench", "{}"))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise RunError(f"{self.model} cannot be read: {error}") from error
        return weights, metadata

    # --- status -------------------------------------------------------------------------------

    def is_running(self) -> bool:
        """Tell whether a process is training it: it then holds a claim on metrics.jsonl."""
        return storage.claimed(self.metrics)

    def status(self) -> str:
        """Return what run.json says; "killed" where nobody runs it, "broken" without one."""
        try:
            status = str(self.read_record().get("status"))
        except RunError:
            return "broken"
        return "killed" if status == "running" and not self.is_running() else status
