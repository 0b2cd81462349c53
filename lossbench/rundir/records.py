"""What a run's files say, as text: strict JSON, rows of metrics, tables.

A row of metrics.jsonl is one flat object: `step`, `epoch`, `split`, then values. A row of a
training step holds the loss of its batch and the learning rate (`lr`). A row of an evaluation
holds `weights` besides: the weights of that moment ("current") or the "best" ones. There are no
times in it, so that the same run writes the same bytes.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.errors import RunError
from lossbench.lazy import np

_LIST = re.compile(r"\[\n([^\[\]{}]*)\n *\]")  # a list without lists or objects in it

Row = dict[str, Any]
"""A line of metrics.jsonl or timing.jsonl."""


def plain(value: Any) -> Any:
    """Return a value in what JSON knows; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "tolist"):  # a NumPy scalar or array, a tensor
        return plain(value.tolist())
    return str(value)  # a path, a dtype, a device


def json_text(value: Any) -> str:
    """Return strict JSON, readable, with a final line break."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return _LIST.sub(_on_one_line, text) + "\n"


def _on_one_line(match: re.Match[str]) -> str:
    # No JSON string holds a line break, so these are the list's own.
    return f"[{' '.join(line.strip() for line in match[1].split(chr(10)))}]"


def numbers(values: Any) -> list[str]:
    """Return each number as the shortest text that reads back as the same float32.

    That is at most nine significant digits; "nan", "inf" and "-inf" are what is not finite.
    """
    wide = np.atleast_1d(np.asarray(values, dtype=np.float64))
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    texts: list[str] = narrow.astype("U16").tolist()
    # What float32 cannot hold keeps nine digits instead of turning into infinity or zero.
    lost = np.isfinite(wide) & (~np.isfinite(narrow) | ((narrow == 0) & (wide != 0)))
    for index in np.flatnonzero(lost):
        texts[index] = f"{wide[index]:.9g}"
    return texts


def short_numbers(values: Any) -> list[str]:
    """Return each number with at most the nine digits of a float32, "" where it is not finite.

    What has neither a point nor an exponent gets one: a column of floats reads as such.
    """
    listed = np.asarray(values, dtype=np.float64).tolist()
    texts = ("%.9g " * len(listed) % tuple(listed)).split()
    return [
        text if "." in text or "e" in text else "" if text[-1] in "nf" else f"{text}.0"
        for text in texts
    ]


def row_text(opening: str, values: Mapping[str, str]) -> str:
    """Return a row: `opening` (`"step": 1, ...`) and named texts of `numbers`, as strict JSON."""
    parts = [opening]
    nonfinite = {}
    for name, text in values.items():
        if text[-1] in "nf":  # nan, inf: no finite number ends so
            nonfinite[name] = text
            text = "null"
        parts.append(f"{json.dumps(name)}: {text}")
    if nonfinite:
        parts.append(f'"nonfinite": {json.dumps(nonfinite)}')
    return f"{{{', '.join(parts)}}}\n"


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows as CSV: a column for everything that any row holds.

    A value that was not finite is written nan, inf or -inf.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "nonfinite"))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        nonfinite = row.get("nonfinite", {})
        writer.writerow([nonfinite.get(key, row.get(key)) for key in columns])
    return buffer.getvalue()


def csv_of_columns(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return columns of one length as CSV; none is an empty cell."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def columns_of_csv(text: str) -> dict[str, tuple[str, ...]]:
    """Return CSV as columns of text. Raises ValueError where it is empty or a row too short."""
    if not text:
        raise ValueError("it is empty")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise ValueError(f"row {number} has {len(row)} cells, there are {len(head)} columns")
    if not rows:
        return dict.fromkeys(head, ())
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def columns_of(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Return rows as columns of one length: none where a row holds no such value, else a number.

    What was null because it was not finite is nan, inf or -inf again.
    """
    rows = list(rows)
    names = dict.fromkeys(key for row in rows for key in row if key != "nonfinite")
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    for index, row in enumerate(rows):
        for name, text in row.get("nonfinite", {}).items():
            columns[name][index] = float(text)
    return columns


def read_lines(path: Path) -> list[Row]:
    """Return a file's rows; what stands behind its last line break was cut off in writing.

    Raises RunError naming the line that is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise RunError(f"{path}:{number} is damaged: {error}") from error
    return rows
