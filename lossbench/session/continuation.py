"""When a run may go on, and what may change about it: all that speaks against it, in words."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench import plugins
from lossbench.config.spec import Choice, RunSpec
from lossbench.errors import RunError
from lossbench.registry import schedule as schedules
from lossbench.rundir.differences import describe
from lossbench.rundir.directory import RunDirectory

HARMLESS = ("train.epochs", "train.checkpoint_every", "train.device", "train.threads")
"""What an override may change when a run goes on: none of it changes what the past would be."""

_SHOWN = 5  # changed lines of an edited file


def fingerprints(directory: RunDirectory) -> dict[str, str]:
    """Return the hash of every file that says what the run is: its configs and the user's files."""
    files = [directory.config, directory.resolved]
    if directory.files.is_dir():
        files += sorted(file for file in directory.files.rglob("*") if file.suffix == ".py")
    return {str(file.relative_to(directory.path)): hash_of(file) for file in files if file.exists()}


def hash_of(file: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def refuse_running(directory: RunDirectory, record: Mapping[str, Any]) -> None:
    """Refuse a run that another process is training."""
    if directory.is_running():
        process = record.get("pid")
        raise RunError(
            f"run {directory.id} is still running, as process {process}",
            hint=f"wait for its end, or stop it: kill {process} (it saves first)",
        )


def refuse_edited(directory: RunDirectory, record: Mapping[str, Any]) -> None:
    """Refuse a run whose configs or files were edited since they were written, naming the lines."""
    now = fingerprints(directory)
    problems = []
    for name, old in record.get("hashes", {}).items():
        if name not in now:
            problems.append(f"{name} is gone")
        elif now[name] != old:
            problems.append(_edited(directory, record, name))
    if problems:
        raise RunError(
            f"run {directory.id} was edited since it started: {'; '.join(problems)}",
            hint="undo the edit; or start a new run with "
            f"lossbench train {directory.resolved} key=value",
        )


def refuse_other_modules(
    directory: RunDirectory, record: Mapping[str, Any], files: Sequence[Path]
) -> None:
    """Refuse components that are imported from elsewhere and have changed since the start."""
    copies = {original: name for name, original in record.get("files", {}).items()}
    for file in files:
        copy = copies.get(str(file))
        if copy is not None and hash_of(file) != record["hashes"].get(copy):
            raise RunError(
                f"{file} was edited since run {directory.id} started: going on with it "
                "would make another run",
                hint=f"its text at the start: {directory.path / copy}",
            )


def _edited(directory: RunDirectory, record: Mapping[str, Any], name: str) -> str:
    texts = {
        str(file.relative_to(directory.path)): record.get(key)
        for key, file in (("given", directory.config), ("resolved", directory.resolved))
    }
    before = texts.get(name)
    if before is None:
        return f"{name} has other content"
    after = (directory.path / name).read_text(errors="replace")
    old, new = before.splitlines(), after.splitlines()
    lines = [f"- {line.strip()}" for line in old if line not in new]
    lines += [f"+ {line.strip()}" for line in new if line not in old]
    shown = ", ".join(f"`{line}`" for line in lines[:_SHOWN])
    return f"{name} ({shown})" if shown else f"{name} has other content"


def refuse_finished(directory: RunDirectory, record: Mapping[str, Any], spec: RunSpec) -> None:
    """Refuse a run that has come to its end, unless `spec` asks for more epochs than it made."""
    made = record.get("config", {}).get("train", {}).get("epochs")
    stopped = record.get("stopped") or {}
    if record.get("status") == "diverged":
        raise RunError(
            f"run {directory.id} diverged at step {stopped.get('step')}: "
            "going on would lead there again",
            hint=f"start a new one: lossbench train {directory.resolved} optimizer.lr=...",
        )
    if record.get("status") != "done":
        return
    if stopped:
        raise RunError(
            f"run {directory.id} stopped early at epoch {stopped.get('epoch')} "
            f"({stopped.get('detail')}): more epochs would not be trained",
            hint=f"start a new one: lossbench train {directory.resolved} "
            "train.early_stopping.patience=...",
        )
    if spec.train.epochs == made:
        more = f"to go on: lossbench train --resume {directory.argument} train.epochs={2 * made}"
        bound = bound_to_length(spec)
        raise RunError(
            f"run {directory.id} is done: {made} epochs",
            hint=more if bound is None else f"its schedule {bound} ends there: start a new run",
        )


def refuse_changes(changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse overrides under which the part already trained would have come out otherwise."""
    harmful = {key: pair for key, pair in changes.items() if key not in HARMLESS}
    if harmful:
        raise RunError(
            f"a run goes on as it began, and this would make it another one: {describe(harmful)}",
            hint=f"may change: {', '.join(HARMLESS)}",
        )


def refuse_epochs(spec: RunSpec, epochs_before: int, checkpoint: Mapping[str, Any] | None) -> None:
    """Refuse another number of epochs where the past depends on it, or has made more already."""
    if spec.train.epochs == epochs_before or checkpoint is None:
        return
    # A checkpoint in the middle of an epoch belongs to it; a whole epoch may be the last one.
    if spec.train.epochs < checkpoint["epoch"]:
        raise RunError(
            f"the run has made {checkpoint['epoch']} epochs: "
            f"train.epochs={spec.train.epochs} is behind it"
        )
    bound = bound_to_length(spec)
    if bound is not None:
        free = [name for name, entry in schedules.items() if not entry.facts.total]
        raise RunError(
            f"the schedule {bound} depends on the length of the run: the {epochs_before} "
            f"epochs it was planned for cannot become {spec.train.epochs}",
            hint=f"start a new run with that many epochs; free of the length: {', '.join(free)}",
        )


def bound_to_length(spec: RunSpec) -> str | None:
    """Return the schedule whose rates depend on the length of the run; none where none does."""
    for choice in _schedules(spec.schedule):
        facts = plugins.resolve(choice).facts
        # A combination depends on the length where one of its parts does; they are in the list.
        if not callable(facts.total) and facts.needs_total(choice.knobs):
            return choice.name
    return None


def _schedules(value: Any) -> list[Choice]:
    """Return a schedule and those inside its knobs."""
    if isinstance(value, Choice):
        found = [value] if value.kind == "schedule" else []
        return found + [inner for knob in value.knobs.values() for inner in _schedules(knob)]
    if isinstance(value, list | tuple):
        return [inner for item in value for inner in _schedules(item)]
    return []


def refuse_foreign(
    directory: RunDirectory, record: Mapping[str, Any], checkpoint: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint of another run, and files shorter than those that it stands for."""
    if checkpoint.get("run") != record.get("id"):
        raise RunError(f"{directory.checkpoint} belongs to another run: {checkpoint.get('run')}")
    for file, key in ((directory.metrics, "metrics_bytes"), (directory.timing, "timing_bytes")):
        size = file.stat().st_size if file.exists() else 0
        if size < checkpoint[key]:
            raise RunError(
                f"{file} has {size} bytes, its checkpoint stands for {checkpoint[key]}: "
                "the file was cut or replaced",
                hint=f"to start again at step 0: rm {directory.checkpoint}",
            )


def refuse_other_data(record: Mapping[str, Any], now: str | None) -> None:
    """Refuse data whose fingerprint is not that of the data the run began with."""
    before = record.get("data")
    if before != now:
        raise RunError(
            "the data are not those that the run began with: "
            f"their fingerprint was {str(before)[:12]} and is {str(now)[:12]}",
            hint="bring the old data back, or start a new run",
        )
