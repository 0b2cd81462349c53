"""NumPy's .npz files: reading them without trusting them, and what their arrays may hold."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from lossbench.errors import DataError, suggest
from lossbench.lazy import np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Array = np.ndarray[Any, Any]


def read_arrays(file: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name; pickled objects are never unpacked.

    Raises DataError where the file is missing, damaged, of another format, or holds objects.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    if not zipfile.is_zipfile(file):
        raise DataError(
            f"{file}: not an .npz file, or cut off", hint="numpy.savez(file, x=..., y=...)"
        )
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: _array(file, name, stored) for name in stored.files}
    except DataError:
        raise
    except Exception as error:
        # NumPy and zipfile raise a dozen kinds of errors on a file with a wrong byte in it.
        raise DataError(f"{file}: damaged ({type(error).__name__}: {error})") from error


def _array(file: Path, name: str, stored: Any) -> Array:
    """Unpack one array."""
    try:
        value = stored[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):  # what NumPy says of objects, and has no class for
            raise
        raise DataError(
            f"{file}: '{name}' holds objects, and only arrays of numbers or texts are read",
            hint="lists of unequal length, None and mixed types make objects of an array",
        ) from error
    if not isinstance(value, np.ndarray):  # a member that is no .npy file comes as bytes
        raise DataError(f"{file}: '{name}' is no array")
    return value


def named(file: Path, arrays: Mapping[str, Array], name: str) -> Array:
    """Return the array of that name; raise DataError with the nearest one otherwise."""
    if name not in arrays:
        raise DataError(f"{file}: there is no array '{name}'", hint=suggest(name, arrays))
    return arrays[name]
