"""Plain blocks of a config: their keys are the fields of a dataclass of config/spec.py."""

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from lossbench.config.annotations import allows_none, members, show
from lossbench.config.problems import Problems
from lossbench.config.values import check
from lossbench.config.yaml import Node
from lossbench.errors import suggest

Block = TypeVar("Block")


@cache
def annotations_of(block: Any) -> Mapping[str, Any]:
    """Return the annotations of a dataclass's fields, with their ranges."""
    return typing.get_type_hints(block, include_extras=True)


def defaults_of(block: type) -> dict[str, Any]:
    """Return the default of each field of a dataclass."""
    return {
        field.name: field.default
        if field.default_factory is dataclasses.MISSING
        else field.default_factory()
        for field in dataclasses.fields(block)
    }


def read_block(
    block: type[Block],
    node: Node,
    label: str,
    problems: Problems,
    *,
    home_of: Callable[[str], str | None] = lambda key: None,  # noqa: ARG005
) -> Block | None:
    """Read a block whose keys are the fields of a dataclass.

    A field that is not given has its default. `home_of` is a hint for a key that belongs to
    another block. Return none where something is wrong; the problems have been noted.
    """
    if node.mapping is None:
        fields = ", ".join(defaults_of(block))
        message = f"{label} must be a block of keys, got {show(node.plain())}"
        problems.add(node.place, message, f"its keys: {fields}")
        return None
    values = defaults_of(block)
    before = len(problems)
    for key, value in node.mapping.items():
        if key in values:
            values[key] = read_field(block, key, value, f"{label}.{key}", values[key], problems)
        else:
            unknown_key(key, value, label, list(values), problems, hint=home_of(key))
    return block(**values) if len(problems) == before else None


def read_field(
    block: type, key: str, node: Node, label: str, default: Any, problems: Problems
) -> Any:
    """Read one field; a field that is itself a dataclass is a block of its own."""
    annotation = annotations_of(block)[key]
    inner = block_of(annotation)
    if inner is not None and node.value is None and allows_none(annotation):
        return None
    if inner is not None:
        return read_block(inner, node, label, problems)
    return check(annotation, node, label, problems, default)


def block_of(annotation: Any) -> type | None:
    """Return the dataclass that a field of this annotation holds, none where it is a value."""
    for member in members(annotation):
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            return member
    return None


def unknown_key(
    key: str,
    node: Node,
    label: str,
    valid: Sequence[str],
    problems: Problems,
    hint: str | None = None,
) -> None:
    """Note a key that a block does not have; the hint is the nearest one that it has."""
    problems.add(node.key, f"unknown key '{key}' in {label}", hint or suggest(key, valid))
