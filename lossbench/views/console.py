"""Text for people: consoles, tables and facts that suit a terminal, a narrow one, and a pipe.

On a terminal Rich lays out and colours. Elsewhere a row is a line, however long, so that `grep`,
`cut` and `head` work. User text is never read as markup.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lossbench.rundir.labels import in_words

plain = in_words

NARROW = 56
"""Below this width what stands beside its name elsewhere stands below it."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _Console(Console):
    """Rich's console, which leaves it to the command line what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr; NO_COLOR and FORCE_COLOR hold."""
    colourless = bool(os.environ.get("NO_COLOR"))
    return _Console(
        file=sys.stderr if stderr else sys.stdout,
        markup=False,
        highlight=False,
        emoji=False,
        color_system=None if colourless else "auto",
        legacy_windows=False,
    )


def is_live(console: Console) -> bool:
    """Tell whether a person watches: a terminal on which lines can be drawn again."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def clean(text: object) -> str:
    """Return text from outside with control characters made visible: no one redraws a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


def say(console: Console, text: object, style: str = "") -> None:
    """Print text as it is, wrapped by the terminal only, so that it can be copied and cut."""
    console.print(Text(clean(text), style=style), soft_wrap=True)


def prose(console: Console, text: object, style: str = "") -> None:
    """Print sentences: wrapped between words on a terminal, a line as long as it is elsewhere."""
    console.print(Text(clean(text), style=style), soft_wrap=not console.is_terminal)


def heading(console: Console, text: str) -> None:
    """Print the title of a part."""
    say(console, text, "bold")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    On a terminal `keep` is never folded over several lines, and `optional` columns are left out
    (from the right) where the others would not have room: at least `least` characters each.
    """

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""
    keep: bool = False
    optional: bool = False
    least: int = 10


def table(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: laid out on a terminal, as records on a narrow one, as lines elsewhere."""
    texts = [[clean(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        _lines(console, columns, texts)
        return
    chosen = _fitting(console.width, columns, texts)
    columns = [columns[index] for index in chosen]
    texts = [[row[index] for index in chosen] for row in texts]
    if _needed(columns, texts) <= console.width:
        _grid(console, columns, texts)
    else:
        _records(console, columns, texts)


def _fitting(width: int, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the places of the columns that a terminal of this width has room for."""
    chosen = list(range(len(columns)))
    for place in reversed(range(len(columns))):
        kept = [columns[index] for index in chosen]
        if _needed(kept, [[row[index] for index in chosen] for row in rows]) <= width:
            break
        if columns[place].optional:
            chosen.remove(place)
    return chosen


def _needed(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Return the width below which a table becomes hard to read."""
    room = 0
    for place, column in enumerate(columns):
        natural = max([len(column.title), *(len(row[place]) for row in rows)])
        room += (natural if column.keep else min(natural, column.least)) + 2
    return room - 2


def _lines(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, two spaces apart, a line for each row."""
    everything = [[column.title for column in columns], *([_flat(c) for c in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*everything, strict=True)]
    for row in everything:
        cells = (
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        say(console, "  ".join(cells).rstrip())


def _records(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """The first cell on a line of its own, the others below it."""
    for row in rows:
        console.print(Text(row[0], style=columns[0].style or "bold"))
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                title = f"{column.title}: " if len(columns) > 2 else ""
                line = Text.assemble((title, "dim"), (cell, column.style))
                console.print(_indented(line))


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2), expand=False)


def _grid(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    grid = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold",
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in columns:
        grid.add_column(
            Text(column.title),
            justify=column.align,
            style=column.style,
            no_wrap=column.keep,
            overflow="fold",
        )
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)


def facts(console: Console, pairs: Mapping[str, object] | Iterable[tuple[str, object]]) -> None:
    """Print names and what they stand for, one below the other, long texts indented."""
    listed = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        text = clean(value)
        if not console.is_terminal:
            indent = "\n" + " " * (width + 2)
            say(console, f"{name.ljust(width)}  {text.replace(chr(10), indent)}".rstrip())
            continue
        if console.width < NARROW:
            console.print(Text(name, style="dim"))
            console.print(_indented(Text(text)))
            continue
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=width, style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(name), Text(text))
        console.print(grid)


def flatten(
    record: Mapping[str, Any], prefix: str = "", *, say: Callable[[object], str] | None = None
) -> Iterable[tuple[str, object]]:
    """Yield a nested record as dotted names and values in words (`plain`), or as `say` has them."""
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.", say=say)
        else:
            yield f"{prefix}{name}", (say or plain)(value)


def typed(value: object) -> str:
    """Return a config's value as it is typed in one: true, null, 1e-08, [0.9, 0.99]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {typed(item)}' for name, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(typed, value))}]"
    return str(value)


def number(value: float | None, digits: int = 4) -> str:
    """Return a measured number in few digits; what is not finite was recorded as none."""
    return "not finite" if value is None or value != value else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Return a time as a person says it: 20 ms, 0.4 s, 12 s, 3 min 05 s, 2 h 03 min."""
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def _flat(text: str) -> str:
    return " ".join(text.split())
