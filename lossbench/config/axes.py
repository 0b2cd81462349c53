"""The axes of a comparison: which keys of a config vary, and over which values.

An axis is a block of labels (`SGD: {name: sgd}`), a list of values, or a range of numbers
(`{range: [1, 9, 5]}`, `{linear: ...}`, `{log_space: [1e-4, 1, 9]}`: from, to, how many).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from lossbench.config.annotations import show
from lossbench.config.defaults import EXAMPLES
from lossbench.config.labels import fault_of, labels_of
from lossbench.config.merge import COMPARISON, NAME, VARY
from lossbench.config.options import annotations_of
from lossbench.config.overrides import lay_over
from lossbench.config.problems import Problems
from lossbench.config.spec import OPTIONS, NoOptions, RunSpec, TrainSpec
from lossbench.config.yaml import Node, parse
from lossbench.errors import ConfigError, Place, nearest, suggest
from lossbench.registry import KINDS

RANGES = ("range", "linear", "log_space")
MOST_VALUES = 10_000
"""So many values on one axis; a comparison must stay a file that can be read."""

DATA = "dataset"
"""What varies below this key is the problem, not the contender."""

_NOT_VARIED: Mapping[str, tuple[str, str]] = {
    "name": ("all trials of a comparison bear its name", "label the values of another key instead"),
    "metrics": ("contenders are judged on the same metrics", "list all of them under 'metrics'"),
    "train.seed": ("the seeds are the same for all contenders", "write 'seeds: 20' beside 'vary'"),
}


@dataclass(frozen=True)
class Axis:
    """A key that varies: its path, where it stands, and its values by label."""

    key: str
    place: Place
    values: Mapping[str, Node]

    @property
    def path(self) -> tuple[str, ...]:
        """The key's parts."""
        return tuple(self.key.split("."))

    @property
    def of_data(self) -> bool:
        """Whether its values are problems rather than contenders."""
        return self.path[0] == DATA


def with_arguments(vary: Node | None, arguments: Sequence[str], problems: Problems) -> Node | None:
    """Lay `KEY=VALUE,VALUE` arguments over the axes of the file: an axis is replaced whole."""
    given: dict[str, Node] = {}
    for text in arguments:
        found = _argument(text, problems)
        if found is None:
            continue
        key, node = found
        if key in given:
            problems.add(node.place, f"'{key}' is varied twice", "give all its values at once")
        given[key] = node
    if not given:
        return vary
    if vary is None or vary.value is None:
        return next(iter(given.values())).with_value(given)
    return vary if vary.mapping is None else vary.with_value({**vary.mapping, **given})


def _argument(text: str, problems: Problems) -> tuple[str, Node] | None:
    """Read `optimizer.lr=1e-3,1e-2`; the values are the items of a YAML list in brackets."""
    argument = f"--vary {text}"
    place = Place(argument=argument)
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not key:
        problems.add(place, "names no values", "write KEY=VALUE,VALUE such as optimizer=sgd,adam")
        return None
    try:
        node = parse(f"[{values}]", argument=argument)
    except ConfigError as error:
        for problem in error.problems:
            problems.add(place, problem.message, problem.hint)
        return None
    first = node.items[0] if node.items is not None and len(node.items) == 1 else None
    if first is not None and first.mapping and NAME not in first.mapping:
        node = first  # labels, or a range: what a file would hold below the key
    return key, node


def read_axes(vary: Node | None, base: Node, problems: Problems) -> tuple[Axis, ...]:
    """Read all axes; those with something wrong are noted and left out."""
    if vary is None or vary.value is None:
        return ()
    if vary.mapping is None:
        message = f"vary must be a block of keys, got {show(vary.plain())}"
        problems.add(vary.place, message, "write 'vary: {optimizer: [sgd, adam]}'")
        return ()
    if not vary.mapping:
        message = "vary is empty: it names no key to vary"
        problems.add(vary.key, message, "write 'vary: {optimizer: [sgd, adam]}', or leave it out")
        return ()
    given: dict[str, Node] = {}
    for key, node in vary.mapping.items():
        known = _known_key(key, node, base, problems)
        if known in given:
            message = f"'{known}' is varied twice"
            problems.add(node.key, message, f"it stands first at {given[known].key}")
        elif known is not None:
            given[known] = node
    last = [key.rpartition(".")[2] for key in given]
    axes = []
    for key, node in given.items():
        short = key.rpartition(".")[2]
        name = short if last.count(short) == 1 else key
        values = _values(key, name, node, problems)
        if values:
            axes.append(Axis(key, node.key, values))
    return tuple(axes)


def _known_key(key: str, node: Node, base: Node, problems: Problems) -> str | None:
    """Return the key as a path into a config; note one that no config has.

    What stands below the first part is seen when the contenders are read.
    """
    path = key.split(".")
    if len(path) == 2 and path[0] in KINDS and path[1] == NAME:
        key, path = path[0], path[:1]  # another component is another block
    if key in _NOT_VARIED:
        reason, hint = _NOT_VARIED[key]
        problems.add(node.key, f"'{key}' cannot vary: {reason}", hint)
    elif not all(path):
        problems.add(node.key, f"'{key}' has an empty part", "write a key such as optimizer.lr")
    elif path[0] in COMPARISON:
        problems.add(node.key, f"'{path[0]}' stands beside '{VARY}', not in it")
    elif path[0] not in annotations_of(RunSpec):
        problems.add(node.key, f"a config has no key '{key}' to vary", _nearest_key(key, base))
    else:
        return key
    return None


def _nearest_key(key: str, base: Node) -> str:
    """Return a hint: the block that a key belongs to, or the nearest keys of this config."""
    blocks = [name for name in annotations_of(RunSpec) if name not in _NOT_VARIED]
    below = [f"train.{field.name}" for field in fields(TrainSpec)]
    for kind in (name for name in blocks if name in KINDS):
        below += [f"{kind}.{field.name}" for field in fields(OPTIONS.get(kind, NoOptions))]
        node = (base.mapping or {}).get(kind)
        name = node.mapping.get(NAME) if node is not None and node.mapping else node
        if name is not None and name.value in KINDS[kind]:
            below += [f"{kind}.{knob.name}" for knob in KINDS[kind][str(name.value)].knobs]
    homes = [known for known in below if known.rpartition(".")[2] == key.rpartition(".")[2]]
    close = homes or nearest(key, [*blocks, *below])
    return f"did you mean {' or '.join(close)}?" if close else suggest(key, blocks)


def _values(key: str, name: str, node: Node, problems: Problems) -> dict[str, Node]:
    """Return the values of an axis by label, none where something is wrong."""
    mapping = node.mapping
    kind = next(iter(mapping)) if mapping is not None and len(mapping) == 1 else None
    if mapping is not None and kind in RANGES and not mapping[kind].mapping:
        found = _listed(key, name, _numbers(key, kind, mapping[kind], problems), problems)
    elif mapping:
        found = _labelled(mapping, problems)
    elif node.items:
        found = _listed(key, name, node.items, problems)
    else:
        example = f"[{EXAMPLES.get(key, '...')}, ...]"
        message = f"vary: {key} must be a list of values or a block of labels and values, "
        if node.items is not None or mapping is not None or node.value is None:
            problems.add(node.key, f"vary: {key} has no values", f"write '{key}: {example}'")
        else:
            hint = f"write '{key}: [{show(node.value)}]'"
            problems.add(node.place, f"{message}got {show(node.value)}", hint)
        return {}
    if len(found) > MOST_VALUES:
        problems.add(node.place, f"vary: {key} has {len(found)} values, at most {MOST_VALUES}")
        return {}
    return _checked(key, node, found, problems)


def _labelled(mapping: Mapping[str, Node], problems: Problems) -> dict[str, Node]:
    found = {}
    for label, node in mapping.items():
        fault = fault_of(label)
        if fault:
            message = f"{show(label)} is no name for a contender: it {fault}"
            problems.add(node.key, message)
        else:
            found[label] = node
    return found


def _listed(key: str, name: str, nodes: Sequence[Node], problems: Problems) -> dict[str, Node]:
    found: dict[str, Node] = {}
    kind = key if key in KINDS else None
    for label, node in zip(labels_of(name, kind, nodes), nodes, strict=True):
        if label in found:
            first = found[label].place
            where = f"it stands first at {first}" if first != node.place else "leave one out"
            what = "problems" if key.partition(".")[0] == DATA else "contenders"
            problems.add(node.place, f"two {what} have one name: '{label}'", where)
        found[label] = node
    return found


def _checked(
    key: str, axis: Node, values: Mapping[str, Node], problems: Problems
) -> dict[str, Node]:
    """Refuse a seed within a value; let an unknown key be an error of the axis, not of a value."""
    found = {}
    for label, node in values.items():
        seed = node.mapping.get("seed") if key == "train" and node.mapping else None
        if seed is not None:
            reason, hint = _NOT_VARIED["train.seed"]
            problems.add(seed.key, f"'train.seed' cannot vary: {reason}", hint)
        found[label] = node if key in KINDS else replace(node, key=axis.key)
    return found


def _numbers(key: str, kind: str, node: Node, problems: Problems) -> Sequence[Node]:
    """Return the numbers of a range, both ends included."""
    items = [item.value for item in node.items or ()]
    label = f"vary: {key}: {kind}"
    if len(items) != 3 or not all(_is_number(item) for item in items):
        message = f"{label} must be [from, to, how many], got {show(node.plain())}"
        problems.add(node.place, message, f"write '{kind}: [0.001, 0.1, 5]'")
        return ()
    start, stop, count = (item for item in items if isinstance(item, int | float))
    if not isinstance(count, int) or not 2 <= count <= MOST_VALUES:
        message = f"{label} takes 2 to {MOST_VALUES} values, got {show(count)}"
        problems.add((node.items or ())[2].place, message)
    elif start == stop:
        problems.add(node.place, f"{label} begins and ends with the same number, {show(start)}")
    elif kind == "log_space" and min(start, stop) <= 0:
        message = f"{label} is for numbers greater than 0, got {show(min(start, stop))}"
        problems.add((node.items or ())[0 if start <= 0 else 1].place, message)
    else:
        values = spaced(start, stop, count, logarithmic=kind == "log_space")
        return [replace(node.with_value(value), key=node.place) for value in values]
    return ()


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e300  # NaN fails this, too


def spaced(start: float, stop: float, count: int, *, logarithmic: bool) -> list[float]:
    """Return evenly spaced numbers, both ends exact; whole ones where all come out whole.

    Rounding to 12 digits keeps `0.1` from being `0.10000000000000002`.
    """
    ends = (math.log10(start), math.log10(stop)) if logarithmic else (start, stop)
    shares = [index / (count - 1) for index in range(count)]
    values = [ends[0] * (1 - share) + ends[1] * share for share in shares]
    if logarithmic:
        values = [10.0**value for value in values]
    values = [start, *(float(f"{value:.12g}") for value in values[1:-1]), stop]
    if isinstance(start, int) and isinstance(stop, int) and all(v == int(v) for v in values):
        return [int(value) for value in values]
    return [float(value) for value in values]


def with_overrides(
    axes: Sequence[Axis], overrides: Sequence[str], base: Node, problems: Problems
) -> tuple[Axis, ...]:
    """Let `optimizer.lr=0.1` hold for every value of an axis that replaces the whole optimizer."""
    dotted = {axis.key for axis in axes if len(axis.path) > 1}
    by_block: dict[str, list[str]] = {}
    for text in overrides:
        key = text.partition("=")[0].replace(" ", "")
        block, _, below = key.partition(".")
        if key in dotted:
            place = Place(argument=text)
            problems.add(place, f"'{key}' varies: one value of it has no effect", "vary it instead")
        elif below not in ("", NAME) and key not in _NOT_VARIED:
            by_block.setdefault(block, []).append(text)
    return tuple(
        _overridden(axis, by_block[axis.key], base, problems) if axis.key in by_block else axis
        for axis in axes
    )


def _overridden(axis: Axis, overrides: Sequence[str], base: Node, problems: Problems) -> Axis:
    values = dict(axis.values)
    for label, node in axis.values.items():
        if node.value is not None:
            whole = lay_over(base.with_value({axis.key: node}), overrides, problems)
            values[label] = replace((whole.mapping or {})[axis.key], key=node.key)
    return replace(axis, values=values)
