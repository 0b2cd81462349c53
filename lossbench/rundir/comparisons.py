"""Comparisons in a runs directory, beside the runs: found, listed, shown, exported, removed."""

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossbench.errors import RunError, UnknownNameError, nearest
from lossbench.lazy import np
from lossbench.rundir import folders, storage
from lossbench.rundir.comparison import (
    ComparisonDirectory,
    all_comparisons,
    is_comparison_directory,
)
from lossbench.rundir.directory import RunDirectory
from lossbench.rundir.finding import all_runs, find
from lossbench.rundir.records import json_text

NOT_SHOWN = ("given", "work", "jobs", "data", "contenders", "floors", "lower_is_better", "tuned")
"""Parts of run.json that are for the program, or said better by the summary."""

EXPORTED = ("started", "ended", "seconds", "versions", "git", "seeds", "contenders", "tuned")


def find_any(runs_dir: Path, reference: str | Path) -> RunDirectory | ComparisonDirectory:
    """Return the run or the comparison that a user means; `latest` is the newest of both.

    Raises RunError naming the nearest, or all that it could be.
    """
    path = Path(reference)
    if is_comparison_directory(path):
        return ComparisonDirectory(path.resolve())
    wanted = str(reference).rstrip("/")
    comparisons = all_comparisons(runs_dir)
    if wanted == "latest" and comparisons:
        runs = all_runs(runs_dir)
        newest: list[RunDirectory | ComparisonDirectory] = [*runs[-1:], comparisons[-1]]
        return max(newest, key=lambda found: (found.id[:15], _started(found)))
    matching = [found for found in comparisons if _is_meant(found, wanted)]
    if not matching:
        return _run(runs_dir, reference, comparisons)
    also = [run.id for run in all_runs(runs_dir) if run.id.startswith(wanted)]
    if len(matching) + len(also) == 1:
        return matching[0]
    names = ", ".join([*(found.id for found in matching), *also][-10:])
    count = len(matching) + len(also)
    raise RunError(f"'{reference}' could be any of {count} runs and comparisons", hint=names)


def _is_meant(found: ComparisonDirectory, wanted: str) -> bool:
    qualified = f"{found.path.parent.name}/{found.id}"
    return bool(wanted) and (
        found.id.startswith(wanted)
        or qualified.startswith(wanted)
        or found.id.endswith(f"-{wanted}")
    )


def _run(
    runs_dir: Path, reference: str | Path, comparisons: Sequence[ComparisonDirectory]
) -> RunDirectory:
    try:
        return find(runs_dir, reference)
    except RunError as error:
        near = nearest(str(reference), [found.id for found in comparisons])
        if near:
            hint = f"did you mean {' or '.join(near)}?"
            raise RunError(error.message, hint=hint) from error
        raise


def _started(found: RunDirectory | ComparisonDirectory) -> str:
    try:
        return str(found.read_record().get("started", ""))
    except RunError:
        return ""


def status_of(directory: ComparisonDirectory) -> str:
    """Return running, done, failed, interrupted; "killed" where its process is gone."""
    try:
        record = directory.read_record()
    except RunError:
        return "broken"
    status = str(record.get("status"))
    return "killed" if status == "running" and not _is_alive(record.get("pid")) else status


def _is_alive(process: int | None) -> bool:
    """Tell whether a process runs; where nobody can ask without harm, it does."""
    if process is None or os.name == "nt":
        return process is not None
    try:
        os.kill(process, 0)  # signal 0 asks, and does nothing
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def overview(runs_dir: Path) -> list[dict[str, Any]]:
    """Return a line about every comparison, the oldest first, for a table or for JSON."""
    return [_line(directory) for directory in all_comparisons(runs_dir)]


def _line(directory: ComparisonDirectory) -> dict[str, Any]:
    name, status = directory.path.parent.name, status_of(directory)
    line: dict[str, Any] = {"id": directory.id, "name": name, "status": status}
    try:
        record = directory.read_record()
        summary = directory.read_summary() if status == "done" else {}
    except RunError as error:
        return line | {"status": "broken", "reason": error.message}
    standings = summary.get("standings") or []
    return line | {
        "name": record.get("name", name),
        "started": record.get("started"),
        "seconds": record.get("seconds"),
        "trials": record.get("trials"),
        "reason": record.get("reason") if status != "done" else None,
        "metric": summary.get("metric"),
        "contenders": len(summary.get("contenders") or []) or None,
        "leader": summary.get("reference") if standings else None,
    }


def show(directory: ComparisonDirectory) -> dict[str, Any]:
    """Return all that is known of a comparison: its record, summary, files and size."""
    record = directory.read_record()
    files = [file for file in directory.path.rglob("*") if file.is_file()]
    done = directory.summary.exists()
    return {
        **{key: value for key, value in record.items() if key not in NOT_SHOWN},
        "status": status_of(directory),
        "path": str(directory.path),
        "bytes": sum(file.stat().st_size for file in files),
        "files": sorted(str(file.relative_to(directory.path)) for file in files),
        "summary": directory.read_summary() if done else {},
    }


def remove(references: Sequence[str], runs_dir: Path) -> list[str]:
    """Remove runs and comparisons; nothing is removed unless all are found and at rest."""
    given = [find_any(runs_dir, reference) for reference in references]
    found = {directory.path: directory for directory in given}
    for directory in found.values():
        running = (
            directory.is_running()
            if isinstance(directory, RunDirectory)
            else status_of(directory) == "running"
        )
        if running:
            what = "run" if isinstance(directory, RunDirectory) else "comparison"
            raise RunError(f"{what} {directory.id} is still running: nothing was removed")
    for directory in found.values():
        if isinstance(directory, RunDirectory):
            directory.delete()
        else:
            _delete(directory)
    return [directory.id for directory in found.values()]


def _delete(directory: ComparisonDirectory) -> None:
    with storage.storing(directory.path):
        shutil.rmtree(directory.path)
    folders.remove_empty([directory.path.parent])


def export(directory: ComparisonDirectory, form: str) -> str:
    """Return a comparison as text: `csv` (a row per trial) or `json` (all of it, curves too).

    Raises UnknownNameError for another format, RunError where it did not come to its end.
    """
    if form == "csv":
        directory.read_trials()  # says what is missing, and what would make it
        return directory.trials.read_text()
    if form != "json":
        raise UnknownNameError("format", form, ("csv", "json"))
    record, rows = directory.read_record(), directory.read_trials()
    arrays, _ = directory.read_curves()
    return json_text(
        {
            "comparison": directory.id,
            "status": status_of(directory),
            "record": {key: record.get(key) for key in EXPORTED},
            "summary": directory.read_summary(),
            "trials": [{key: cell_value(text) for key, text in row.items()} for row in rows],
            "curves": {name: np.asarray(values).tolist() for name, values in arrays.items()},
        }
    )


def cell_value(text: str) -> Any:
    """Return what a cell of trials.csv holds: a number, true or false, text, or nothing."""
    if text in ("True", "False", ""):
        return {"True": True, "False": False, "": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def trial_row(directory: ComparisonDirectory, number: int) -> dict[str, str] | None:
    """Return the row of trials.csv about a trial; none where there is no such row."""
    if not directory.trials.exists():
        return None
    with directory.trials.open(newline="") as file:
        return next((row for row in csv.DictReader(file) if row["trial"] == str(number)), None)
