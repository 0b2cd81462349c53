"""Which runs there are, and which one a person means."""

import contextlib
import os
from pathlib import Path

from lossbench.errors import RunError, nearest
from lossbench.rundir.directory import ID, RunDirectory


def all_runs(runs_dir: Path) -> list[RunDirectory]:
    """Return every run under a runs directory, the oldest first."""
    found = [
        RunDirectory(path)
        for path in runs_dir.glob("*/*")
        if ID.fullmatch(path.name) and path.is_dir()
    ]
    return sorted(found, key=_started)


def find(runs_dir: Path, reference: str | Path) -> RunDirectory:
    """Return the run that a user means: a path, an id or its beginning, `name/id`, or `latest`.

    The four letters at the end of an id serve too. Raises RunError naming the nearest, or all
    that it could be.
    """
    reference = str(reference)
    as_path = Path(reference)
    if as_path.is_dir():
        directory = RunDirectory(as_path.resolve())
        if directory.record.exists():
            return directory
        if os.sep in reference or as_path.is_absolute():
            directory.read_record()  # raises: what is missing
    runs = all_runs(runs_dir)
    if not runs:
        raise RunError(f"there is no run '{reference}': {runs_dir} holds none")
    if reference == "latest":
        return runs[-1]
    wanted = reference.rstrip("/")
    exact = [run for run in runs if wanted in (run.id, _qualified(run))]
    matching = exact or [run for run in runs if wanted and _begins(run, wanted)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(_qualified(run) for run in matching[-10:])
        raise RunError(f"'{reference}' could be any of {len(matching)} runs", hint=names)
    near = nearest(wanted, [*(run.id for run in runs), *(_qualified(run) for run in runs)])
    hint = f"did you mean {' or '.join(near)}?" if near else "to see them: lossbench runs ls"
    raise RunError(f"there is no run '{reference}' in {runs_dir}", hint=hint)


def _qualified(run: RunDirectory) -> str:
    return f"{run.path.parent.name}/{run.id}"


def _begins(run: RunDirectory, wanted: str) -> bool:
    return (
        run.id.startswith(wanted)
        or _qualified(run).startswith(wanted)
        or run.id.endswith(f"-{wanted}")
    )


def _started(run: RunDirectory) -> tuple[str, str]:
    """Return what sorts runs by age: ids know the second, run.json the microsecond."""
    with contextlib.suppress(RunError):
        return run.id[:15], str(run.read_record().get("started", ""))
    return run.id[:15], ""
