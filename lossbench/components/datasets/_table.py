"""Text tables (CSV and its cousins): read whole, every cell still text, with its line.

What is wrong in a file is said as `file:line: ...`, lines counted as an editor counts them.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lossbench.errors import DataError, suggest
from lossbench.lazy import np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Array = np.ndarray[Any, Any]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number as tables write it; what else float() takes (`1_000`, `infinity`) is text here."""

INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
"""What stands for a value that is not there, in lower case."""

SEPARATORS = {"tab": "\t", "space": " "}
"""Separators that are hard to see, by name."""

LARGEST = 3.4028234663852886e38
"""The largest number in single precision, in which networks are trained."""


@dataclass(frozen=True)
class Table:
    """The cells of a file, column by column, stripped of surrounding blanks.

    `lines[row]` is the line where the row begins; `unnamed` are the columns whose header is empty.
    """

    file: Path
    names: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    has_header: bool
    unnamed: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of rows below the header."""
        return len(self.lines)

    def error(self, row: int, message: str, hint: str | None = None) -> DataError:
        """Make the error that points at a row."""
        return DataError(f"{self.file}:{self.lines[row]}: {message}", hint=hint)

    def find(self, column: str | int) -> int:
        """Return the position of a column by its name, or by its index (-1 is the last).

        Raises DataError naming the nearest column.
        """
        width = len(self.names)
        if isinstance(column, int):
            if -width <= column < width:
                return column % width
            raise DataError(
                f"{self.file}: there is no column {column}",
                hint=f"columns count from 0 to {width - 1}, or from -1 backwards to {-width}",
            )
        if column in self.names:
            return self.names.index(column)
        hint = suggest(column, self.names)
        if not self.has_header:
            hint = f"the file has no header, so its columns go by index, 0 to {width - 1}"
        raise DataError(f"{self.file}: there is no column '{column}'", hint=hint)


def read_table(
    file: Path, header: Literal["auto", "yes", "no"] = "auto", delimiter: str = "auto"
) -> Table:
    """Read a table whole.

    Raises DataError where the file cannot be read, is empty, has rows of unequal length or two
    columns of one name.
    """
    text = _text(file)
    separator = _separator(file, text, delimiter)
    records, lines = _records(file, text, separator)
    if not records:
        raise DataError(f"{file}: the file is empty", hint="a table has one sample per line")
    width = len(records[0])
    for record, line in zip(records, lines, strict=True):
        if len(record) != width:
            raise DataError(
                f"{file}:{line}: {_cells(len(record))}, where line {lines[0]} has {width}",
                hint=f"cells are separated by '{separator}' here (delimiter={delimiter}); "
                'a cell that contains it stands in "quotes"',
            )
    named = header == "yes" or (header == "auto" and _starts_with_names(file, lines[0], records))
    names = tuple(records[0]) if named else ("",) * width
    if named:
        _refuse_twins(file, lines[0], names)
        records, lines = records[1:], lines[1:]
    if not records:
        raise DataError(
            f"{file}: nothing below the header",
            hint="if line 1 is a sample and no header, say header: no",
        )
    return Table(
        file=file,
        names=tuple(name or f"column {i}" for i, name in enumerate(names)),
        columns=tuple(zip(*records, strict=True)),
        lines=tuple(lines),
        has_header=named,
        unnamed=frozenset(i for i, name in enumerate(names) if named and not name),
    )


def is_number(cell: str) -> bool:
    """Tell whether a cell is written as a finite or infinite number."""
    return bool(NUMBER.fullmatch(cell) or INFINITE.fullmatch(cell))


def mostly_numbers(cells: Sequence[str]) -> bool:
    """Tell whether more than half of the cells that hold something are numbers."""
    held = [cell for cell in cells if cell.lower() not in MISSING]
    return 2 * sum(map(is_number, held)) > len(held)


def refuse_missing(table: Table, columns: Sequence[int]) -> None:
    """Raise DataError at the first of these columns' cells that holds no value."""
    missing = sorted(
        (row, column)
        for column in columns
        for row, cell in enumerate(table.columns[column])
        if cell.lower() in MISSING
    )
    if not missing:
        return
    row, column = missing[0]
    written = table.columns[column][row]
    more = f" ({len(missing)} values are missing in all)" if len(missing) > 1 else ""
    raise table.error(
        row,
        f"no value in column '{table.names[column]}'{f' but {written!r}' if written else ''}{more}",
        hint="fill it in, drop the row, or leave the column out with ignore",
    )


def numbers(table: Table, column: int, hint: str | None = None) -> Array:
    """Return a column as float64.

    Raises DataError at the first cell that is no number, infinite, or beyond single precision.
    """
    name = table.names[column]
    values = np.empty(len(table))
    for row, cell in enumerate(table.columns[column]):
        if not is_number(cell):
            raise table.error(row, f"'{cell}' in column '{name}' is not a number", hint)
        values[row] = value = float(cell)
        if not math.isfinite(value) or abs(value) > LARGEST:
            raise table.error(
                row,
                f"'{cell}' in column '{name}' is infinite in single precision",
                "take the row out, or scale the column",
            )
    return values


def categories(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the different texts of a column in order: numbers by value, then the others."""

    def order(text: str) -> tuple[bool, float, str]:
        return (False, float(text), text) if is_number(text) else (True, 0.0, text)

    return tuple(sorted(set(cells), key=order))


def one_hot(
    cells: Sequence[str], values: Sequence[str], unknown: Callable[[int], DataError]
) -> Array:
    """Return a column of zeros and ones per value; `unknown(row)` makes the error for another."""
    place = {value: i for i, value in enumerate(values)}
    encoded = np.zeros((len(cells), len(values)))
    for row, cell in enumerate(cells):
        if cell not in place:
            raise unknown(row)
        encoded[row, place[cell]] = 1.0
    return encoded


def _text(file: Path) -> str:
    """Return the file's text, without a byte-order mark and with its line ends as they are."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}:{line}: not UTF-8 text (byte {error.start})",
            hint="save the table as UTF-8; an .xlsx or .npz file is no text table",
        ) from error


def _separator(file: Path, text: str, delimiter: str) -> str:
    """Return what separates cells; `auto` takes what the first line holds most of."""
    if delimiter == "auto":
        first = next((line for line in text.splitlines() if line.strip()), "")
        outside_quotes = re.sub(r'"[^"]*"', "", first)
        counts = {mark: outside_quotes.count(mark) for mark in ",;\t|"}
        return max(counts, key=lambda mark: counts[mark])  # a comma where there is none of them
    delimiter = SEPARATORS.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(
            f"{file}: '{delimiter}' cannot separate cells",
            hint="delimiter is auto, tab, space or one character",
        )
    return delimiter


def _records(file: Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Cut the text into rows of cells, each with its first line; empty lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if cells and cells != [""]:
                records.append(cells)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{file}:{start}: {error}",
            hint='a cell in "quotes" ends with a quote; a quote inside it is written ""',
        ) from error
    return records, lines


def _starts_with_names(file: Path, line: int, records: list[list[str]]) -> bool:
    """Tell whether the first row is a header; where it could be either, ask."""
    first, below = records[0], records[1:]
    if not any(map(is_number, first)):
        return True
    for column, cell in enumerate(first):
        text = not is_number(cell) and cell.lower() not in MISSING
        if text and below and mostly_numbers([record[column] for record in below]):
            raise DataError(
                f"{file}:{line}: '{cell}' stands above numbers, beside the number "
                f"'{next(filter(is_number, first))}': a header, or a sample?",
                hint="say header: yes or header: no",
            )
    return False


def _refuse_twins(file: Path, line: int, names: Sequence[str]) -> None:
    """Raise DataError where two columns bear one name."""
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            places = [str(i) for i, other in enumerate(names) if other == name]
            raise DataError(
                f"{file}:{line}: {count} columns are named '{name}' "
                f"(columns {', '.join(places)}, counted from 0)",
                hint="give each its own name",
            )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
