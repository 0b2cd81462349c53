"""NumPy's .npz files: reading them without trusting them, and what their arrays may hold."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from lossbench.errors import DataError
from lossbench.lazy import np

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, Any]


def read_arrays(file: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name; pickled objects are never unpacked.

    Raises DataError where the file is missing, damaged, of another format, or holds objects.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    try:
        if not zipfile.is_zipfile(file):
            raise DataError(
                f"{file}: not an .npz file, or cut off", hint="numpy.savez(file, x=..., y=...)"
            )
        with np.load(file, allow_pickle=False) as stored:
            return {name: _array(file, name, stored) for name in stored.files}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{file}: damaged ({error})") from error


def _array(file: Path, name: str, stored: Any) -> Array:
    """Unpack one array."""
    try:
        value = stored[name]
    except ValueError as error:
        # NumPy says it in words only, and the same way for a broken header.
        why = "objects" if "pickle" in str(error) else f"no array ({error})"
        raise DataError(
            f"{file}: '{name}' holds {why}, and only arrays of numbers or texts are read",
            hint="lists of unequal length, None and mixed types make objects of an array",
        ) from error
    if not isinstance(value, np.ndarray):  # a member that is no .npy file comes as bytes
        raise DataError(f"{file}: '{name}' is no array")
    return value


def as_inputs(file: Path, name: str, values: Array) -> Array:
    """Return an array as inputs [N, ...] of floats: double precision stays, all else is single."""
    numbers(file, name, values)
    if values.dtype != np.float64:
        values = values.astype(np.float32)
    refuse_infinite(file, name, values)
    return values[:, None] if values.ndim == 1 else values


def numbers(file: Path, name: str, values: Array) -> None:
    """Raise DataError unless these are real numbers, one or more for each of some samples."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"{file}: '{name}' holds {values.dtype}, where numbers are needed")
    if values.ndim == 0 or values.size == 0:
        raise DataError(f"{file}: '{name}' has shape {values.shape}: no samples")


def refuse_infinite(file: Path, name: str, values: Array) -> None:
    """Raise DataError at the first sample that holds NaN or an infinity (in single precision)."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32, copy=False)
    wrong = ~np.isfinite(single)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{file}: '{name}' holds {values[place]} in sample {place[0]} "
            f"(index {list(place)}; {int(wrong.sum())} such values in all)",
            hint="take the sample out, or fill the value in",
        )


def refuse_where(wrong: Array, values: Array, where: str, hint: str) -> None:
    """Raise DataError that names the first of the values marked as wrong."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{where} holds {values[place]} in sample {place[0]}", hint=hint)
