"""One config over another: what `extends` and `key=value` mean.

Blocks merge key by key; lists and values are replaced. A block that names another component than
the one below it drops that one's knobs, and keeps the keys that belong to the block itself (a
dataset's seed and split, `impl`): they say how, whatever the component.
"""

import dataclasses
from collections.abc import Mapping

from lossbench.config.spec import OPTIONS, NoOptions
from lossbench.config.yaml import Node
from lossbench.errors import UsageError
from lossbench.registry import KINDS

NAME = "name"
IMPL = "impl"

VARY = "vary"
TARGET = "target"
COMPARISON = (VARY, "zip", "seeds", "tune", TARGET, "claims")
"""The keys that make a config a comparison (config/trials.py)."""


def options_of(kind: str) -> frozenset[str]:
    """Return the keys of a kind's block that are neither its name nor a component's knobs."""
    fields = dataclasses.fields(OPTIONS.get(kind, NoOptions))
    return frozenset({IMPL, *(field.name for field in fields)})


def merge(below: Node, above: Node) -> Node:
    """Return the whole config `above` laid over the whole config `below`."""
    if below.mapping is None or above.mapping is None:
        return above
    entries = dict(below.mapping)
    for key, node in above.mapping.items():
        under = entries.get(key)
        if key == VARY and under is not None and under.mapping and node.mapping:
            # An axis is a list of values, whatever its form: it is replaced whole.
            entries[key] = node.with_value(under.mapping | node.mapping)
        elif key in (VARY, TARGET):
            entries[key] = node
        else:
            entries[key] = _merge_value(under, node, key)
    return above.with_value(entries)


def _merge_value(below: Node | None, above: Node, kind: str) -> Node:
    """Merge the value of a key; `kind` is the key, which for a component is its kind."""
    if below is None:
        return above
    component = kind in KINDS or _names(below) is not None
    if component and isinstance(above.value, str):
        above = above.with_value({NAME: above})
    if component and isinstance(below.value, str):
        below = below.with_value({NAME: below})
    if below.mapping is None or above.mapping is None:
        return above
    entries: Mapping[str, Node] = below.mapping
    if component and _other(_names(below), _names(above), kind):
        kept = options_of(kind)
        entries = {key: node for key, node in entries.items() if key in kept}
    merged = dict(entries)
    for key, node in above.mapping.items():
        merged[key] = _merge_value(merged.get(key), node, "")
    # Where the upper block names a component, errors of the whole block point at it.
    names = above if NAME in above.mapping else below
    return dataclasses.replace(names, value=merged)


def _names(node: Node) -> str | None:
    """Return the component that a block names, where it is one."""
    name = node.mapping.get(NAME) if node.mapping else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _other(below: str | None, above: str | None, kind: str) -> bool:
    """Tell whether two names mean two components; `mse` and `nn.MSELoss` are one."""
    if above is None or below is None or above == below:
        return False
    if kind not in KINDS:
        return True
    registry = KINDS[kind]
    try:
        return registry.find(above).name != registry.find(below).name
    except UsageError:  # one of them is the user's own, or nobody's
        return True
