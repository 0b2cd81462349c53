"""The value of a component in words: a table where there is one number for each, else arrays."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from lossbench.views.console import Column, heading, say, table

Record = Mapping[str, Any]


def show_value(console: Console, found: Record) -> None:
    """Print inputs, values and derivatives side by side; arrays one below the other."""
    heading(console, f"{found['component']} ({found['kind']})")
    columns = None if found["jacobian"] is not None else _side_by_side(found)
    if columns:
        rows = list(zip(*columns.values(), strict=True))
        titles = [Column(name, "right", keep=True) for name in columns]
        table(console, titles, [[_number(value) for value in row] for row in rows])
    else:
        for name, value in found["inputs"].items():
            _array(console, name, value)
        _array(console, "value", found["value"])
        if found["jacobian"] is not None:
            _array(console, "Jacobian", found["jacobian"])
            return
        for name, value in found["gradient"].items():
            _array(console, _of(found, name), value)


def _of(found: Record, name: str) -> str:
    """Return what a gradient is called: of what, by what."""
    return "derivative" if found["kind"] == "activation" else f"gradient by {name}"


def _side_by_side(found: Record) -> dict[str, list[Any]] | None:
    """Return the columns of a table, where everything is a list of one length."""
    columns = {**found["inputs"], "value": found["value"]}
    columns |= {_of(found, name): value for name, value in found["gradient"].items()}
    lengths = {_length(value) for value in columns.values()}
    return columns if len(lengths) == 1 and lengths != {None} else None


def _length(value: Any) -> int | None:
    """Return the length of a flat list, none of anything else."""
    if not isinstance(value, list) or any(isinstance(item, list) for item in value):
        return None
    return len(value)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _array(console: Console, name: str, value: Any) -> None:
    say(console, name, "cyan")
    if isinstance(value, list) and value and isinstance(value[0], list):
        for row in _rows(value):
            say(console, f"  {row}")
    else:
        say(console, f"  {_flat(value)}")


def _rows(value: list[Any]) -> list[str]:
    """Return the lines of nested lists: the innermost lists, blocks apart by an empty line."""
    if not any(isinstance(item, list) for row in value for item in row):
        return [_flat(row) for row in value]
    lines: list[str] = []
    for number, block in enumerate(value):
        lines += ["", *_rows(block)] if number else _rows(block)
    return lines


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_number(item) for item in value)}]"
    return _number(value)
