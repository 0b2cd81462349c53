"""Writing files so that a crash, a full disk or a second process cannot spoil them."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from lossbench.errors import StorageError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: runs are then not locked, and two resumes of one run not told apart
    fcntl = None

TEMPORARY = ".*.tmp"
"""The names under which `replace` writes."""

_NAME_LENGTH = 80
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows's own
_ATTEMPTS_TO_LOCK = 5
_SECONDS_BETWEEN = 0.02


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a StorageError naming `path`."""
    try:
        yield
    except OSError as error:
        hint = {
            errno.ENOSPC: "free some space, then go on",
            errno.EDQUOT: "your quota is used up: free some space, then go on",
            errno.EACCES: "you may not write there",
            errno.EROFS: "that file system is read-only",
        }.get(error.errno or 0)
        raise StorageError(f"cannot write {path}: {reason(error)}", hint=hint) from error


def reason(error: OSError) -> str:
    """Return what the operating system says, without number and path."""
    return error.strerror or str(error)


def replace(path: Path, content: bytes) -> None:
    """Write a whole file so that whoever reads it finds the old content or the new one.

    The bytes go to a temporary name in the same folder, are synced, and are renamed; the folder is
    synced, so that the rename outlives a loss of power too.
    Raises StorageError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)  # noqa: PTH105 - the one call that every test of crashes replaces
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Ask that a folder's entries reach the disk, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; the system may take fewer at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def safe_name(name: str) -> str:
    """Return a name that every file system takes as one folder: letters, digits, `.`, `_`, `-`."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".").rstrip(". ")[:_NAME_LENGTH]
    return f"run_{safe}" if not safe or _DEVICES.fullmatch(safe) else safe


class Appender:
    """A file that only grows, and knows how long it is.

    Opening it cuts the file to its first `keep` bytes. With `claim`, no second process can have it
    open in the same way, until `close` or the end of this process, however it comes.
    Raises StorageError; BlockingIOError where another process has claimed the file.
    """

    def __init__(self, path: Path, *, keep: int = 0, claim: bool = False) -> None:
        self.path = path
        self.size = keep
        with storing(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        if claim and not _lock(self._descriptor):
            self.close()
            raise BlockingIOError(errno.EWOULDBLOCK, "another process writes it", str(path))
        with storing(path):
            os.ftruncate(self._descriptor, keep)

    def write(self, content: bytes) -> None:
        """Append bytes and hand them to the system."""
        with storing(self.path):
            write_all(self._descriptor, content)
        self.size += len(content)

    def sync(self) -> None:
        """Wait until everything written has reached the disk."""
        with storing(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file and give up the claim; doing it twice does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def claimed(path: Path) -> bool:
    """Tell whether some process has this file open with a claim."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    else:
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file for this process; false where another one has it."""
    if fcntl is None:
        return True
    for _ in range(_ATTEMPTS_TO_LOCK):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody who merely looks (`claimed`) holds the lock for microseconds.
            time.sleep(_SECONDS_BETWEEN)
        except OSError:  # a file system without locks
            return True
        else:
            return True
    return False
