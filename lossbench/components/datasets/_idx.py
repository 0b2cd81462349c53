"""The IDX format of the MNIST family: a magic number, the sizes, then the values, big-endian."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING, Any

from lossbench.errors import DataError
from lossbench.lazy import np

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    Array = np.ndarray[Any, Any]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The type of the values by the third byte of a file."""


def read_idx(file: Path) -> Array:
    """Return the array in an IDX file, plain or packed with gzip (by its content, not its name).

    Raises DataError where the file is missing, of another format, cut off or too long.
    """
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as content:
            return _parse(file, content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: damaged or cut off ({error})", hint=AGAIN) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


AGAIN = "delete the file, and it is fetched again"


def _parse(file: Path, content: BinaryIO | gzip.GzipFile) -> Array:
    """Read header and values."""
    magic = content.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise DataError(
            f"{file}: not an IDX file (it begins with {magic.hex(' ') or 'nothing'})",
            hint="an IDX file begins with 00 00, the type of its values and the number of its "
            "dimensions; " + AGAIN,
        )
    header = content.read(4 * magic[3])
    shape = tuple(np.frombuffer(header[: len(header) // 4 * 4], ">u4").tolist())
    kind = np.dtype(TYPES[magic[2]])
    expected = math.prod(shape) * kind.itemsize
    # One byte more than is due shows a file that is too long, without unpacking all of it.
    values = content.read(expected + 1) if len(shape) == magic[3] else b""
    if len(shape) < magic[3] or len(values) < expected:
        raise DataError(
            f"{file}: cut off: {len(values)} bytes of values, where {list(shape)} needs {expected}",
            hint=AGAIN,
        )
    if len(values) > expected:
        raise DataError(f"{file}: longer than its {list(shape)} values", hint=AGAIN)
    return np.frombuffer(values, kind).reshape(shape).astype(kind.newbyteorder("="))
