"""One value of a config against the annotation of its knob or option.

Pydantic says whether a value is valid. Where it is not, `_explain` finds the item at fault and
says in plain words what would be valid.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from annotated_types import Len, MaxLen, MinLen
from pydantic import ValidationError

from lossbench.config.annotations import (
    adapter,
    bounds,
    describe,
    fixed_length,
    is_list,
    is_union,
    item_of,
    members,
    parts,
    show,
)
from lossbench.config.problems import Problems
from lossbench.config.yaml import Node, resolve
from lossbench.errors import Problem, nearest
from lossbench.registry import REQUIRED

INVALID: Final = object()
"""Returned for a value that is not valid; the problem has been noted."""

_SWITCHES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def check(
    annotation: Any, node: Node, label: str, problems: Problems, default: Any = REQUIRED
) -> Any:
    """Return the value of the node as the annotation wants it, or INVALID.

    The default is always valid, whatever the annotation says of it.
    """
    value = node.plain()
    if default is not REQUIRED and type(value) is type(default) and value == default:
        return default
    for inner in node.walk():
        if isinstance(inner.value, float) and not math.isfinite(inner.value):
            problems.add(inner.place, f"{label} must be finite, got {show(inner.value)}")
            return INVALID
    try:
        return adapter(annotation).validate_python(value)
    except ValidationError:
        for problem in _explain(annotation, node, label):
            problems.add(problem.place, problem.message, problem.hint)
        return INVALID


def _valid(annotation: Any, value: Any) -> bool:
    try:
        adapter(annotation).validate_python(value)
    except ValidationError:
        return False
    return True


def _explain(annotation: Any, node: Node, label: str) -> list[Problem]:
    """Return what is wrong with a value that Pydantic has refused."""
    base, metadata = parts(annotation)
    if is_union(base):
        fitting = [member for member in members(base) if _same_shape(member, node)]
        if len(fitting) == 1:
            return _explain(fitting[0], node, label)
    elif is_list(base) and node.items is not None:
        found = list(_explain_list(base, metadata, node, label))
        if found:
            return found
    value = node.plain()
    if metadata and _valid(base, value):
        message = f"{label} must be {_rule(annotation, value, metadata)}, got {show(value)}"
        return [Problem(node.place, message)]
    message = f"{label} must be {describe(annotation)}, got {show(value)}"
    return [Problem(node.place, message, _hint(annotation, value))]


def _same_shape(annotation: Any, node: Node) -> bool:
    """Tell whether a member of a union is the one that the value was meant for."""
    base = parts(annotation)[0]
    if node.items is not None:
        return is_list(base)
    return not is_list(base) and _valid(base, node.plain())


def _explain_list(base: Any, metadata: Any, node: Node, label: str) -> Iterator[Problem]:
    items = node.items or ()
    length = fixed_length(base)
    words = describe(base)
    if length is not None and len(items) != length:
        yield Problem(node.place, f"{label} must be {words}, got {len(items)}: {_list(node)}")
    for note in metadata:
        least = getattr(note, "min_length", 0) if isinstance(note, MinLen | Len) else 0
        most = getattr(note, "max_length", None) if isinstance(note, MaxLen | Len) else None
        if len(items) < least:
            wanted = "must not be empty" if least == 1 else f"needs at least {least} values"
            yield Problem(node.place, f"{label} {wanted}, got {_list(node)}", f"it is {words}")
        if most is not None and len(items) > most:
            yield Problem(node.place, f"{label} takes at most {most} values, got {_list(node)}")
    for index, item in enumerate(items):
        wanted = item_of(base, index)
        if wanted is not None and not _valid(wanted, item.plain()):
            if _is_range(wanted, item) or (item.items is not None and is_list(wanted)):
                yield from _explain(wanted, item, f"{label}[{index}]")
            else:
                got = f"got {show(item.plain())}"
                yield Problem(
                    item.place, f"{label} must be {words}, {got}", _hint(wanted, item.plain())
                )


def _is_range(annotation: Any, node: Node) -> bool:
    """Tell whether a value has the right type and lies outside its range."""
    base, metadata = parts(annotation)
    return bool(metadata) and _valid(base, node.plain())


def _list(node: Node) -> str:
    return show(node.plain())


def _rule(annotation: Any, value: Any, metadata: Any) -> str:
    """Return in words which rule beyond its type the value breaks."""
    try:
        adapter(annotation).validate_python(value)
    except ValidationError as error:
        for detail in error.errors():
            reason = detail.get("ctx", {}).get("error")
            if isinstance(reason, ValueError):  # a rule of ours that says itself what it wants
                return str(reason)
    return bounds(parts(annotation)[0], metadata) or describe(annotation)


def _hint(annotation: Any, value: Any) -> str | None:
    """Return what the user may have meant."""
    choices = [
        choice
        for member in members(parts(annotation)[0])
        for choice in getattr(member, "__args__", ())
        if isinstance(choice, str)
    ]
    if isinstance(value, str):
        close = nearest(value, choices)
        if close:
            return f"did you mean {' or '.join(close)}?"
        switch = _SWITCHES.get(value.lower())
        if switch and _valid(annotation, switch == "true"):
            return f"in YAML 1.2 '{value}' is text: write {switch}"
        if len(value) < 400 and _valid(annotation, resolve(value)):
            return "write it without quotes"
    if isinstance(value, bool | tuple | dict):
        return None
    return f"write [{show(value)}]" if _valid(annotation, (value,)) else None
