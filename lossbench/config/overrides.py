"""`key=value` arguments of the command line, as a config that is laid over the file's.

A key is a path (`train.early_stopping.patience`), a value is YAML (`[64, 32]`, `null`, `1e-3`) and
is never evaluated. Relative paths in a value start at the current folder.
"""

from collections.abc import Sequence
from pathlib import Path

from lossbench.config.merge import NAME, merge
from lossbench.config.problems import Problems
from lossbench.config.yaml import Node, parse
from lossbench.errors import ConfigError, Place


def lay_over(root: Node, arguments: Sequence[str], problems: Problems) -> Node:
    """Return the config with the arguments laid over it; what is no `key=value` is noted.

    An argument that names a component comes before those that set its knobs, in whatever order
    they were typed: `optimizer.lr=0.1 optimizer=sgd` is the rate of sgd.
    """
    read = [found for text in arguments if (found := _read(text, problems)) is not None]
    for keys, value in sorted(read, key=lambda pair: _depth(pair[0])):
        root = put(root, keys, value, problems)
    return root


def put(root: Node, keys: Sequence[str], value: Node, problems: Problems) -> Node:
    """Return the config with one value laid over it; a path that goes into a list is noted."""
    return merge(root, _nested(keys, value)) if _fits(root, keys, value, problems) else root


def _depth(keys: list[str]) -> int:
    return len(keys) - (len(keys) > 1 and keys[-1] == NAME)


def _read(argument: str, problems: Problems) -> tuple[list[str], Node] | None:
    """Split an argument into its path and its value."""
    place = Place(argument=argument)
    key, equals, text = argument.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals:
        problems.add(place, "is no override", "write key=value, such as train.epochs=20")
        return None
    if not all(keys):
        problems.add(place, "has an empty key", "write key=value, such as train.epochs=20")
        return None
    if not text.strip():
        problems.add(place, f"gives {key.strip()} no value", f"write {key.strip()}=null for none")
        return None
    try:
        value = parse(text, argument=argument, folder=Path.cwd())
    except ConfigError as error:
        for problem in error.problems:
            problems.add(place, problem.message, problem.hint)
        return None
    return keys, value


def _nested(keys: Sequence[str], value: Node) -> Node:
    """Return `{a: {b: value}}` for the path a.b."""
    for key in reversed(keys):
        value = value.with_value({key: value})
    return value


def _fits(root: Node, keys: Sequence[str], value: Node, problems: Problems) -> bool:
    """Refuse a path that goes into a list: it is replaced whole."""
    node: Node | None = root
    for depth, key in enumerate(keys):
        if node is None:
            return True
        if node.items is not None:
            whole = ".".join(keys[:depth])
            problems.add(
                value.place,
                f"{whole} is a list: '{key}' is no key of it",
                f"give it whole: {whole}=[...]",
            )
            return False
        node = (node.mapping or {}).get(key)
    return True
