"""New folders under the runs directory: nobody else is given them, and failures leave none."""

import contextlib
import random
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from lossbench.errors import StorageError, UsageError
from lossbench.rundir import storage

_LETTERS = "bcdfghjklmnpqrstvwxz"  # no vowels, so no words
_COLLISIONS = 100

# Ids differ between processes that were seeded alike.
_random = random.SystemRandom()


def new_folder(runs_dir: Path, name: str, mark: str) -> Path:
    """Make `<runs_dir>/<name>/<UTC time>-<mark>-<4 letters>`, new and empty.

    Raises UsageError naming the directory that cannot be written.
    """
    folder = runs_dir / storage.safe_name(name)
    vanished: OSError | None = None
    for _ in range(_COLLISIONS):
        path = folder / _new_id(mark)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if folder.is_dir():
                continue  # somebody was given this very name: take another
            raise _cannot_make(runs_dir, f"{folder} is a file") from None
        except FileNotFoundError as error:
            vanished = error  # another process removed the empty parent in between: try again
            continue
        except OSError as error:
            raise _cannot_make(runs_dir, storage.reason(error)) from error
        return path
    if vanished is not None:  # every time: no process, but a place that takes no folders
        raise _cannot_make(runs_dir, storage.reason(vanished))
    raise _cannot_make(runs_dir, f"no free name in {folder}")


@contextlib.contextmanager
def creating(runs_dir: Path, name: str, mark: str) -> Iterator[Path]:
    """Make a new folder for the block to fill, and leave nothing behind if the block fails.

    Raises UsageError where the disk refuses; other exceptions of the block pass through.
    """
    folder = runs_dir / storage.safe_name(name)
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    made: Path | None = None
    try:
        made = new_folder(runs_dir, name, mark)
        yield made
    except BaseException as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        remove_empty(missing)
        if isinstance(error, StorageError):
            raise _cannot_make(runs_dir, error.message) from error
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove these folders, innermost first, as long as they are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _new_id(mark: str) -> str:
    letters = "".join(_random.choices(_LETTERS, k=4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{mark}-{letters}"


def _cannot_make(runs_dir: Path, why: str) -> UsageError:
    return UsageError(
        f"cannot make a run directory in {runs_dir}: {why}",
        hint="choose another place with --runs-dir",
    )
