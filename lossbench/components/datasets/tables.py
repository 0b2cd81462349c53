"""Text tables: any CSV file, one sample per line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lossbench.components.datasets import _table
from lossbench.components.vocabulary import Data, FilePath, Samples, Target
from lossbench.errors import DataError
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

FEW = 20
"""Up to so many different whole numbers are taken for classes where nothing else is said."""


@dataset(target=None, real=True)
def csv(
    _seed: int,
    *,
    path: Annotated[str, FilePath()],
    target: int | str = -1,
    task: Literal["auto", "real", "class", "count"] = "auto",
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: str = "auto",
    categorical: tuple[int | str, ...] = (),
    ignore: tuple[int | str, ...] = (),
) -> Data:
    """A table of the user's own: one column is the target, the others are the inputs.

    A column is numeric where most of its cells are numbers; any other becomes a 0 or 1 per
    category (one-hot). Missing values are refused, never filled in silently.

    Shapes:    inputs [N, columns], targets [N, 1] or, for classes, [N]
    Knobs:
        path: the file: UTF-8 text.
        target: the target's column, by name or by index (from 0; -1 is the last).
        task: what the target is; auto takes texts, and up to 20 different whole numbers that
            repeat, for classes, and any other numbers for real ones.
        header: whether line 1 holds the columns' names; auto looks, and asks where it cannot tell.
        delimiter: what separates cells: auto, tab, space or one character.
        categorical: columns of numbers that are categories.
        ignore: columns to leave out, such as an identifier.
    Errors:    a missing value, a text in a numeric column, rows of unequal length, each with the
               line; a column that is not there, with the nearest name; two columns of one name;
               a column of texts that are nearly all different; a single class.
    """
    table = _table.read_table(Path(path), header, delimiter)
    answer = table.find(target)
    left_out = {table.find(column) for column in ignore}
    if answer in left_out:
        raise DataError(f"{path}: column '{table.names[answer]}' is the target: it stays")
    chosen = [i for i in range(len(table.names)) if i != answer and i not in left_out]
    if not chosen:
        raise DataError(
            f"{path}: no column is left for the inputs",
            hint=f"columns are separated by delimiter={delimiter}: is it another character?",
        )
    for column in sorted(table.unnamed & {answer, *chosen}):
        raise DataError(
            f"{path}: column {column} has no name in the header (an index, perhaps)",
            hint=f"name it, or leave it out with ignore: [{column}]",
        )
    _table.refuse_missing(table, [*chosen, answer])
    texts = {table.find(column) for column in categorical}
    parts = [_input(table, column, column in texts) for column in chosen]
    kind, values, notes = _target(table, answer, task)
    return Data(
        target=kind,
        samples=Samples(np.concatenate([part for _, part in parts], axis=1), values),
        input_names=tuple(name for names, _ in parts for name in names),
        standardize_target=kind.kind == "real",
        notes=notes,
    )


def _input(table: _table.Table, column: int, categorical: bool) -> "tuple[list[str], Array]":
    """Return the inputs that one column makes, with their names."""
    name, cells = table.names[column], table.columns[column]
    if not categorical and _table.mostly_numbers(cells):
        hint = f"if it is a category, say categorical: [{name}]"
        return [name], _table.numbers(table, column, hint)[:, None]
    values = _table.categories(cells)
    if len(values) > FEW and 2 * len(values) > len(cells):
        raise DataError(
            f"{table.file}: column '{name}' holds {len(values)} different texts in "
            f"{len(cells)} rows, such as '{values[0]}'",
            hint=f"an identifier or free text is no input: ignore: [{name}]; "
            "numbers are written with a decimal point, not a comma",
        )
    encoded = _table.one_hot(cells, values, lambda row: table.error(row, "a new category"))
    return [f"{name}={value}" for value in values], encoded


def _target(table: _table.Table, column: int, task: str) -> "tuple[Target, Array, tuple[str, ...]]":
    """Return what the target is, its values, and a note where nobody had said it."""
    name, cells = table.names[column], table.columns[column]
    notes: tuple[str, ...] = ()
    if task == "auto":
        task, why = _guess(cells)
        notes = (f"target '{name}' is taken as {task}: {why} (say task: to decide)",)
    if task == "class":
        return *_classes(table, column), notes
    values = _table.numbers(table, column, "for classes, say task: class")
    if task == "count":
        for row, value in enumerate(values):
            if value < 0 or value != int(value):
                raise table.error(row, f"'{cells[row]}' in column '{name}' is not a count")
        return Target("count", 1, (name,)), values[:, None], notes
    return Target("real", 1, (name,)), values[:, None], notes


def _guess(cells: tuple[str, ...]) -> tuple[str, str]:
    """Guess what a target is, and say why."""
    if not _table.mostly_numbers(cells):
        return "class", "its cells are texts"
    finite = [float(cell) for cell in cells if _table.NUMBER.fullmatch(cell)]
    different = set(finite)
    if all(value.is_integer() for value in different) and len(different) <= FEW:
        if 2 * len(different) <= len(finite):
            return "class", f"{len(different)} different whole numbers"
        return "real", "whole numbers that seldom repeat"
    return "real", f"{len(different)} different numbers"


def _classes(table: _table.Table, column: int) -> "tuple[Target, Array]":
    """Number the classes in the order of their names: numbers by value, texts by the alphabet."""
    cells = table.columns[column]
    if _table.mostly_numbers(cells):
        numbers = _table.numbers(table, column, "classes are all numbers or all texts").tolist()
        # 1, 1.0 and 01 are one class.
        cells = tuple(str(int(v)) if v.is_integer() else str(v) for v in numbers)
    names = _table.categories(cells)
    if len(names) < 2:
        raise DataError(
            f"{table.file}: column '{table.names[column]}' holds one class only: '{names[0]}'",
            hint="is it the target? say target: NAME",
        )
    if len(names) > FEW and 2 * len(names) > len(cells):
        raise DataError(
            f"{table.file}: target '{table.names[column]}' holds {len(names)} different classes "
            f"in {len(cells)} rows",
            hint="a number that is measured is task: real; is it the target? say target: NAME",
        )
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[cell] for cell in cells], dtype=np.int64)
    return Target("class", len(names), names), labels
