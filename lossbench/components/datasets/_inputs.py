"""The inputs that a trained network is asked about, read from a file of the user's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lossbench.components.datasets import _arrays
from lossbench.components.datasets._table import (
    Table,
    numbers,
    one_hot,
    read_table,
    refuse_missing,
)
from lossbench.errors import DataError, suggest
from lossbench.lazy import np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Array = np.ndarray[Any, Any]


def read_inputs(
    file: Path, input_names: Sequence[str], shape: tuple[int, ...], array: str | None = None
) -> Array:
    """Return the inputs [N, *shape] in a file, in the units of the training data.

    A file that ends in `.npz` gives one array (`array`, or `x`, or the only one there is);
    anything else is a text table: see `table_inputs`.
    """
    if file.suffix.lower() != ".npz":
        return table_inputs(read_table(file), input_names, shape)
    arrays = _arrays.read_arrays(file)
    if array is None:
        array = next(iter(arrays)) if len(arrays) == 1 else "x"
    values = _arrays.named(file, arrays, array)
    if values.dtype.kind not in "fiub" or math.prod(values.shape[1:]) != math.prod(shape):
        raise DataError(
            f"{file}: array '{array}' is {values.dtype} {list(values.shape)}, where the network "
            f"takes numbers [N, {', '.join(map(str, shape))}]"
        )
    wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if wrong.any():
        raise DataError(f"{file}: '{array}' holds NaN or infinity in sample {wrong.argmax()}")
    return values.reshape(-1, *shape)


def table_inputs(table: Table, input_names: Sequence[str], shape: tuple[int, ...]) -> Array:
    """Return the inputs [N, *shape] that a table holds.

    Columns are found by the names that the training data had (`color=red` in column `color`), in
    any order and beside others; without a header, or without such names, they must be the inputs
    alone, in order. Raises DataError as the training data would.
    """
    width = math.prod(shape)
    if input_names and table.has_header:
        _refuse_other_names(table, input_names, width)
        sources = _sources(table, input_names)
    elif any("=" in name for name in input_names):
        columns = dict.fromkeys(name.partition("=")[0] for name in input_names)
        raise DataError(
            f"{table.file}: needs a header, since some of its columns hold texts",
            hint=f"the columns are {', '.join(columns)}",
        )
    elif len(table.names) == width:
        sources = [(column, ()) for column in range(width)]
    else:
        names = f": {', '.join(input_names[:8])}" if input_names else ""
        raise DataError(
            f"{table.file}: {len(table.names)} columns, where the network takes {width} inputs",
            hint=f"leave the others out, or name the columns as in training{names}",
        )
    refuse_missing(table, sorted({column for column, _ in sources}))
    parts = [_part(table, column, values) for column, values in sources]
    return np.concatenate(parts, axis=1).reshape(-1, *shape)


def _refuse_other_names(table: Table, input_names: Sequence[str], width: int) -> None:
    """Refuse a table of the right width none of whose columns has a name of the training data."""
    known = {_split(table, name)[0] for name in input_names}
    if len(table.names) == width and known.isdisjoint(table.names):
        raise DataError(
            f"{table.file}: no column is named as in training ({', '.join(input_names[:3])}, ...)",
            hint="to take the columns in the order in which they stand, remove the header (line 1)",
        )


def _sources(table: Table, input_names: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Pair each column that is needed with its categories (none for a column of numbers)."""
    grouped: dict[int, list[str]] = {}
    for name in input_names:
        column, value = _split(table, name)
        found = grouped.setdefault(table.find(column), [])
        if value is not None:
            found.append(value)
    return [(column, tuple(values)) for column, values in grouped.items()]


def _split(table: Table, name: str) -> tuple[str, str | None]:
    """Split an input's name into its column's and its category; either may contain a `=`."""
    if name in table.names or "=" not in name:
        return name, None
    parts = name.split("=")
    splits = [("=".join(parts[:i]), "=".join(parts[i:])) for i in range(len(parts) - 1, 0, -1)]
    return next((split for split in splits if split[0] in table.names), splits[-1])


def _part(table: Table, column: int, values: tuple[str, ...]) -> Array:
    """Return the inputs that one column makes."""
    if not values:
        return numbers(table, column)[:, None]
    cells = table.columns[column]

    def unknown(row: int) -> DataError:
        return table.error(
            row,
            f"'{cells[row]}' in column '{table.names[column]}' was not in the training data",
            suggest(cells[row], values),
        )

    return one_hot(cells, values, unknown)
