"""What a knob's annotation says: in words, and as a check.

An annotation is a knob's whole declaration (see `components/vocabulary.py`). Pydantic decides
whether a value satisfies it; this file puts it into words that a person understands.
"""

import functools
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from pydantic import ConfigDict, TypeAdapter

from lossbench.components.vocabulary import FilePath, Nested

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)

Mark = TypeVar("Mark")


@functools.cache
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=_STRICT)


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return Pydantic's check of an annotation: strict, no infinities, built once.

    A whole number serves as a `float`; `true` is no number, and text is none.
    """
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed, or one that Pydantic has no check for
        return TypeAdapter(Any, config=_STRICT)


def parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the bare type of an annotation and its metadata (`Annotated[float, Ge(0)]`)."""
    if typing.get_origin(annotation) is Annotated:
        base, *metadata = typing.get_args(annotation)
        return base, tuple(metadata)
    return annotation, ()


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    if is_union(annotation):
        return tuple(typing.get_args(annotation))
    return (annotation,)


def is_union(annotation: Any) -> bool:
    """Tell whether the annotation is `A | B`."""
    return typing.get_origin(annotation) in (Union, types.UnionType)


def mark(annotation: Any, kind: type[Mark]) -> Mark | None:
    """Return the mark of that class in the annotation or in a member of its union, or none."""
    for member in members(annotation):
        base, metadata = parts(member)
        for note in metadata:
            if isinstance(note, kind):
                return note
        if base is not member:
            found = mark(base, kind)
            if found is not None:
                return found
    return None


def allows_none(annotation: Any) -> bool:
    """Tell whether `null` is one of the annotation's values."""
    base, metadata = parts(annotation)
    if metadata:
        return allows_none(base)
    return any(member in (None, type(None)) for member in members(annotation))


def is_list(annotation: Any) -> bool:
    """Tell whether the annotation is one of a list (a tuple in Python)."""
    base = parts(annotation)[0]
    return (typing.get_origin(base) or base) in (tuple, list, Sequence)


def item_of(annotation: Any, index: int) -> Any:
    """Return the annotation of a list's item, none behind the end of a list of fixed length."""
    base = parts(annotation)[0]
    arguments = typing.get_args(base)
    if not arguments:
        return Any
    if typing.get_origin(base) is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis):
        return arguments[0]
    return arguments[index] if index < len(arguments) else None


def fixed_length(annotation: Any) -> int | None:
    """Return how many items the list has, where the annotation says it."""
    base = parts(annotation)[0]
    arguments = typing.get_args(base)
    if typing.get_origin(base) is not tuple or Ellipsis in arguments:
        return None
    return len(arguments)


def bounds(base: Any, metadata: Sequence[Any]) -> str:
    """Return the range that the metadata give a type, in words; empty where they give none."""
    return " and ".join(_bounds(base, metadata))


def _bounds(base: Any, metadata: Sequence[Any]) -> Iterator[str]:
    for note in metadata:
        if base is int and isinstance(note, Gt) and isinstance(note.gt, int):
            yield f"at least {note.gt + 1}"
        elif isinstance(note, Ge):
            yield f"at least {note.ge}"
        elif isinstance(note, Gt):
            yield f"greater than {note.gt}"
        elif isinstance(note, Le):
            yield f"at most {note.le}"
        elif isinstance(note, Lt):
            yield f"less than {note.lt}"
        elif isinstance(note, MultipleOf):
            yield f"a multiple of {note.multiple_of}"


_SINGULAR: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    None: "null",
    type(None): "null",
    Any: "any value",
    dict: "a block of keys and values",
    tuple: "a list",
    list: "a list",
}
_PLURAL: Mapping[Any, str] = {
    float: "numbers",
    int: "whole numbers",
    bool: "true or false",
    str: "texts",
    Any: "values",
    tuple: "lists",
    list: "lists",
}


def describe(annotation: Any) -> str:
    """Return in words what values the annotation allows: 'a number of at least 0'."""
    base, metadata = parts(annotation)
    nested = next((note for note in metadata if isinstance(note, Nested)), None)
    if nested is not None:
        article = "an" if nested.kind[0] in "aeiou" else "a"
        one = f"the name of {article} {nested.kind} or a block with its name and knobs"
        return f"a list, each item {one}" if nested.many else one
    if any(isinstance(note, FilePath) for note in metadata):
        return "the name of a file"
    if is_union(base):
        # null comes last: 'a number or null'
        ordered = sorted(members(base), key=lambda member: member in (None, type(None)))
        return " or ".join(dict.fromkeys(describe(member) for member in ordered))
    if typing.get_origin(base) is Literal:
        return one_of(typing.get_args(base))
    if is_list(base):
        return _describe_list(base, metadata)
    if is_function(base):
        return "a Python function, which a config cannot hold"
    origin = typing.get_origin(base) or base
    words = _SINGULAR.get(origin) or (
        "a block of keys and values" if origin is Mapping else "a valid value"
    )
    return _with_bounds(words, base, metadata)


def _describe_list(base: Any, metadata: Sequence[Any]) -> str:
    length = fixed_length(base)
    if length is None:
        least = max((note.min_length for note in metadata if isinstance(note, MinLen)), default=0)
        start = f"a list of at least {least} " if least > 1 else "a list of "
        return start + _plural(item_of(base, 0))
    items = {item_of(base, index) for index in range(length)}
    if len(items) == 1:
        return f"a list of {length} {_plural(items.pop())}"
    return f"a list of {length}: {', '.join(describe(item) for item in typing.get_args(base))}"


def _plural(annotation: Any) -> str:
    base, metadata = parts(annotation)
    words = _PLURAL.get(base)
    return _with_bounds(words, base, metadata) if words else f"values, each {describe(annotation)}"


def _with_bounds(words: str, base: Any, metadata: Sequence[Any]) -> str:
    limits = bounds(base, metadata)
    if not limits:
        return words
    return f"{words} {limits}" if limits.startswith(("greater", "less")) else f"{words} of {limits}"


def one_of(values: Sequence[Any]) -> str:
    """Return 'a, b or c'."""
    words = [show(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def is_function(annotation: Any) -> bool:
    """Tell whether the annotation asks for a Python function, which YAML cannot hold."""
    base = parts(annotation)[0]
    return (typing.get_origin(base) or base) is Callable


def show(value: Any) -> str:
    """Return a value as YAML writes it, shortened."""
    words = _show(value)
    return words if len(words) <= 60 else f"{words[:56]} ..."


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of many digits"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_show(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else "-.inf" if value < 0 else ".inf"
    return repr(value)
