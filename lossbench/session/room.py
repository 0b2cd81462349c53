"""Whether a comparison fits into memory and onto the disk, asked before anything is written."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lossbench.errors import UsageError

if TYPE_CHECKING:
    from lossbench.training.chunks import Work

COPIES_ON_DISK = 2
"""The curves lie there twice at the end: in the pieces, and as a whole."""

COPIES_IN_MEMORY = 5
"""Pieces, the whole, its bytes on the way to the disk, and as the analysis reads it (doubles)."""

BYTES_PER_TRIAL = 1500
"""What a trial takes besides its curves: its row, its config, its place in the record."""


def check_room(work: "Work", trials: int, runs_dir: Path) -> None:
    """Refuse a comparison whose results would not fit.

    Raises UsageError saying how much it takes and how much there is.
    """
    size = work.bytes + BYTES_PER_TRIAL * trials
    place = next(folder for folder in (runs_dir, *runs_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if COPIES_ON_DISK * size > free:
        raise UsageError(
            f"the curves of {trials} trials take about {_shown(COPIES_ON_DISK * size)} on the "
            f"disk, and {place} has {_shown(free)} left",
            hint="take fewer seeds, contenders or epochs, or another disk with --runs-dir",
        )
    memory = installed_memory()
    if memory is not None and COPIES_IN_MEMORY * size > memory:
        raise UsageError(
            f"the curves of {trials} trials take about {_shown(COPIES_IN_MEMORY * size)} of "
            f"memory, and this machine has {_shown(memory)}",
            hint="take fewer seeds, contenders or epochs",
        )


def installed_memory() -> int | None:
    """Return the bytes of this machine's memory, none where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _shown(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
