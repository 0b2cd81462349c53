"""Names for the values of an axis that have none: short, and unique on their axis."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lossbench.config.merge import NAME
from lossbench.config.yaml import Node

LONGEST = 100


def fault_of(label: str) -> str | None:
    """Return what keeps a text from naming a contender, none if nothing does."""
    if not label.strip():
        return "is empty"
    if label != label.strip():
        return "begins or ends with a space"
    if len(label) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not label.isprintable():
        return "holds a character that cannot be printed"
    return None


def labels_of(key: str, kind: str | None, nodes: Sequence[Node]) -> list[str]:
    """Return a label for each value: a component's name, or `key=value`.

    Values that would share one get their knobs as well. Only equal values share one then.
    """
    values = [node.plain() for node in nodes]
    short = [_clean(_short(key, kind, value)) for value in values]
    times = Counter(short)
    labels = [
        _clean(_long(key, kind, value)) if times[label] > 1 else label
        for label, value in zip(short, values, strict=True)
    ]
    # Cutting a long text may have made two values alike: number them.
    seen: dict[str, Any] = {}
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        if seen.setdefault(label, value) != value:
            labels[index] = f"{label[: LONGEST - 8]} #{index + 1}"
    return labels


def _short(key: str, kind: str | None, value: Any) -> str:
    name = _name(value)
    if kind is not None:
        return name or (f"no {kind}" if value is None else _knobs(value))
    if isinstance(value, dict):
        return f"{key}={name}" if name else _knobs(value)
    return f"{key}={_text(value)}"


def _long(key: str, kind: str | None, value: Any) -> str:
    if not isinstance(value, dict):
        return f"{key}={_text(value)}" if kind is None else _text(value)
    name = _text(value[NAME]) if NAME in value else ""
    knobs = _knobs({inner: item for inner, item in value.items() if inner != NAME}, ", ")
    whole = f"{name}({knobs})" if name and knobs else name or knobs
    return whole if kind is not None else f"{key}={whole}"


def _name(value: Any) -> str:
    """Return the component that a value names; of the user's own, without its file."""
    name = value.get(NAME) if isinstance(value, dict) else value
    return name.rpartition(":")[2].strip() or name if isinstance(name, str) else ""


def _knobs(value: Any, between: str = " ") -> str:
    if not isinstance(value, dict):
        return _text(value)
    return between.join(f"{key}={_text(item)}" for key, item in value.items())


def _text(value: Any) -> str:
    """Return a value as one writes it in a line of YAML, without quotes."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e6:
            return f"{value:.0f}"
        return re.sub(r"e([-+])0+", r"e\1", repr(value)).replace("e+", "e")
    return "null" if value is None else str(value)


def _clean(text: str) -> str:
    """Make a label of any text."""
    words = "".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST]).split()
    label = " ".join(words)
    return (label if len(label) <= LONGEST else label[: LONGEST - 4].rstrip() + " ...") or "(empty)"
