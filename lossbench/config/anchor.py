"""Relative paths made absolute, so that a config can be written down somewhere else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossbench import plugins
from lossbench.components.vocabulary import FilePath, Nested
from lossbench.config.annotations import mark
from lossbench.config.merge import NAME
from lossbench.config.spec import RunSpec
from lossbench.config.tune import knobs_at
from lossbench.config.yaml import Node
from lossbench.errors import LossbenchError
from lossbench.registry import KINDS


def anchored(node: Node, path: Sequence[str], spec: RunSpec) -> Node:
    """Return the value at a path of a config with absolute paths in it.

    `spec` is a run that has the value: it says what the knob is.
    """
    if len(path) == 1 and node.mapping is not None and NAME not in node.mapping:
        annotations = knobs_at(spec, path)  # some keys of a block that has its name from below
        found = {
            key: _knob(annotations[key], value) if key in annotations else value
            for key, value in node.mapping.items()
        }
        return node.with_value(found)
    if len(path) == 1:
        return anchored_component(path[0], node) if path[0] in KINDS else node
    annotation = knobs_at(spec, path[:-1]).get(path[-1])
    return node if annotation is None else _knob(annotation, node)


def anchored_component(kind: str, node: Node) -> Node:
    """Return a component's block, or its bare name, with absolute paths in it."""
    if isinstance(node.value, str):
        return node.with_value(_reference(node.value, node.folder))
    if node.mapping is None:
        return node
    given = dict(node.mapping)
    name = given.get(NAME)
    if name is None:
        return _short(kind, node)
    if not isinstance(name.value, str):
        return node
    given[NAME] = anchored_component(kind, name)
    return node.with_value(_knobs(kind, name.value, name.folder, given))


def _short(kind: str, node: Node) -> Node:
    """Anchor `{linear: 32}` or `{my.py:Layer: {...}}`."""
    found = {}
    for key, value in (node.mapping or {}).items():
        block = value.mapping
        if block is not None:
            value = value.with_value(_knobs(kind, key, value.folder, block))
        found[_reference(key, node.folder)] = value
    return node.with_value(found)


def _knobs(kind: str, name: str, folder: Path, given: dict[str, Node]) -> dict[str, Node]:
    try:
        entry = plugins.find(name, kind, folder)
    except LossbenchError:  # another axis replaces it, or reading has refused it
        return given
    annotations = {knob.name: knob.annotation for knob in entry.knobs}
    return {
        key: _knob(annotations[key], node) if key in annotations else node
        for key, node in given.items()
    }


def _knob(annotation: Any, node: Node) -> Node:
    nested = mark(annotation, Nested)
    if nested is not None and node.items is not None:
        items = tuple(anchored_component(nested.kind, item) for item in node.items)
        return node.with_value(items)
    if nested is not None:
        return anchored_component(nested.kind, node)
    if mark(annotation, FilePath) and isinstance(node.value, str):
        return node.with_value(str(Path(node.folder, Path(node.value).expanduser()).absolute()))
    return node


def _reference(name: str, folder: Path) -> str:
    """Return a reference to a file of the user's own with the file's absolute path."""
    if not plugins.in_file(name):
        return name
    try:
        file, function = plugins.locate(name, folder)
    except LossbenchError:
        return name
    return f"{file}:{function}"
