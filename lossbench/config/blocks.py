"""Blocks of a config that name a component: its knobs, its options, how it is computed."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lossbench import plugins
from lossbench.components.rules import OptimizerFacts, ScheduleFacts
from lossbench.components.vocabulary import Applied, FilePath, Nested
from lossbench.config.annotations import allows_none, describe, is_function, mark, members, show
from lossbench.config.defaults import EXAMPLES
from lossbench.config.merge import IMPL, NAME
from lossbench.config.options import defaults_of, read_field, unknown_key
from lossbench.config.problems import Problems
from lossbench.config.spec import OPTIONS, Choice, Implementation, NoOptions
from lossbench.config.values import INVALID, check
from lossbench.config.yaml import Node
from lossbench.errors import (
    ConfigError,
    LossbenchError,
    Place,
    Problem,
    UnknownNameError,
    UsageError,
    nearest,
)
from lossbench.plugins.syntax import COMPUTED
from lossbench.registry import KINDS, REQUIRED, Entry, Knob

_ITEM = re.compile(r"\bitem (\d+) of (\w+)")


@dataclasses.dataclass(frozen=True)
class Read:
    """A component that was read: what was chosen, its entry, and where it stands."""

    choice: Choice
    entry: Entry[Any]
    node: Node


def read_component(
    kind: str, node: Node, label: str, problems: Problems, *, short: bool = False
) -> Read | None:
    """Read a bare name or a block with a name and knobs.

    `short` also takes `{name: value}`: one component with its first knob or its block of knobs.
    Return none where something is wrong; all problems of the block have been noted.
    """
    named = _named(kind, node, label, problems, short=short)
    if named is None:
        return None
    name_node, given = named
    name = str(name_node.value)
    try:
        entry = plugins.find(name, kind, name_node.folder)
    except LossbenchError as error:
        unknown = isinstance(error, UnknownNameError)
        hint = (_elsewhere(kind, name) if unknown else None) or error.hint
        problems.add(name_node.place, error.message, hint)
        return None
    reason = getattr(entry.facts, "python_only", None)
    if reason:
        problems.add(name_node.place, f"{kind} '{entry.name}' can be used from Python only", reason)
        return None
    if short and "" in given:
        given = _first_knob(entry, given[""], label, problems)
    return _BlockReader(kind, entry, node, label, problems).read(given)


def _named(
    kind: str, node: Node, label: str, problems: Problems, *, short: bool
) -> tuple[Node, dict[str, Node]] | None:
    """Split a block into its name and the rest, which for the short form may be under ''."""
    if isinstance(node.value, str):
        return node, {}
    if node.mapping is None:
        words = describe(typing.Annotated[Any, Nested(kind)])
        message = f"{label} must be {words}, got {show(node.plain())}"
        problems.add(node.place, message, _example(kind))
        return None
    given = dict(node.mapping)
    name = given.pop(NAME, None)
    if name is None:
        if short and len(given) == 1:
            return _short(given)
        problems.add(node.key, f"{label} has no name", _example(kind))
        return None
    if not isinstance(name.value, str):
        problems.add(
            name.place, f"{label}.name must be text, got {show(name.plain())}", _example(kind)
        )
        return None
    return name, given


def _short(given: dict[str, Node]) -> tuple[Node, dict[str, Node]]:
    """Read `{linear: 32}`, `{conv2d: {channels: 8}}` or `{flatten: null}`."""
    ((key, value),) = given.items()
    name = dataclasses.replace(value, value=key, place=value.key)
    if value.mapping is not None:
        return name, dict(value.mapping)
    return name, {} if value.value is None else {"": value}


def _first_knob(entry: Entry[Any], value: Node, label: str, problems: Problems) -> dict[str, Node]:
    """Give the one value of the short form to the component's first knob."""
    if not entry.knobs:
        problems.add(value.place, f"{label}: {entry.name} has no knobs, got {show(value.plain())}")
        return {}
    return {entry.knobs[0].name: value}


def _example(kind: str) -> str | None:
    return f"write '{kind}: {EXAMPLES[kind]}'" if kind in EXAMPLES else None


def _elsewhere(kind: str, name: str) -> str | None:
    """Say so where a name is a component of another kind."""
    if plugins.is_reference(name):
        return None
    for other, registry in KINDS.items():
        if other != kind and name in registry:
            near = nearest(name, KINDS[kind])
            also = f"; did you mean {' or '.join(near)}?" if near else ""
            article = "an" if other[0] in "aeiou" else "a"
            return f"'{name}' is {article} {other}, not {kind}{also}"
    return None


class _BlockReader:
    """Reads the keys of one component's block."""

    def __init__(
        self, kind: str, entry: Entry[Any], node: Node, label: str, problems: Problems
    ) -> None:
        self.kind, self.entry, self.node = kind, entry, node
        self.label, self.problems = label, problems
        self.options = OPTIONS.get(kind, NoOptions)

    def read(self, given: Mapping[str, Node]) -> Read | None:
        """Sort the keys into knobs, options and `impl`, and check each."""
        before = len(self.problems)
        knobs = {knob.name: knob for knob in self.entry.knobs}
        optional = defaults_of(self.options)
        values: dict[str, Any] = {}
        options: dict[str, Any] = dict(optional)
        impl: Any = "auto"
        for key, node in given.items():
            label = f"{self.label}.{key}"
            if key in knobs:
                values[key] = self.knob(knobs[key], node, label)
            elif key in optional:
                options[key] = read_field(
                    self.options, key, node, label, optional[key], self.problems
                )
            elif key == IMPL:
                impl = self.impl(node, label)
            else:
                valid = [*knobs, *optional, IMPL]
                where = f"{self.label} ({self.entry.name})"
                unknown_key(key, node, where, valid, self.problems)
        self.missing(knobs.values(), given)
        if len(self.problems) > before:
            return None
        choice = Choice(
            kind=self.kind,
            name=self.entry.name,
            knobs=MappingProxyType(self.complete(knobs.values(), values)),
            options=self.options(**options),
            impl=impl,
            file=self.entry.file if self.own else None,
        )
        self.agree(choice, given)
        return Read(choice, self.entry, self.node) if len(self.problems) == before else None

    @property
    def own(self) -> bool:
        """Whether the component is the user's own, not a registered one."""
        return self.entry.name not in KINDS[self.kind]

    def knob(self, knob: Knob, node: Node, label: str) -> Any:
        """Check one knob: a value, a file, or a component."""
        nested = mark(knob.annotation, Nested)
        if nested is not None:
            return self.nested(nested, knob, node, label)
        path = mark(knob.annotation, FilePath)
        if path is not None and isinstance(node.value, str):
            return self.path(path, knob, node, label)
        if all(
            is_function(member) or member in (None, type(None))
            for member in members(knob.annotation)
        ):
            message = f"{label} is a Python function and can be given from Python only"
            self.problems.add(node.place, message)
            return INVALID
        default = REQUIRED if knob.default is COMPUTED else knob.default
        return check(knob.annotation, node, label, self.problems, default)

    def path(self, mark_: FilePath, knob: Knob, node: Node, label: str) -> Any:
        """Return the absolute path of a file, relative paths taken from the config's folder."""
        file = Path(node.folder, Path(str(node.value)).expanduser()).absolute()
        try:
            missing = mark_.must_exist and not file.exists()
        except (OSError, ValueError):
            missing = True
        if not node.value or "\0" in str(node.value) or missing:
            near = [path.name for path in file.parent.glob("*")] if file.parent.is_dir() else []
            close = nearest(file.name, near)
            hint = f"did you mean {' or '.join(close)}?" if close else None
            self.problems.add(node.place, f"{label}: there is no file {file}", hint)
            return INVALID
        return check(knob.annotation, node.with_value(str(file)), label, self.problems)

    def nested(self, mark_: Nested, knob: Knob, node: Node, label: str) -> Any:
        """Read a component, or a list of them, that is a knob of this one."""
        if node.value is None and (allows_none(knob.annotation) or knob.default is None):
            return None
        if not mark_.many:
            read = read_component(mark_.kind, node, label, self.problems, short=True)
            return INVALID if read is None else read.choice
        if node.items is None:
            words = describe(knob.annotation)
            self.problems.add(node.place, f"{label} must be {words}, got {show(node.plain())}")
            return INVALID
        found = [
            read_component(mark_.kind, item, f"{label}[{index}]", self.problems, short=True)
            for index, item in enumerate(node.items)
        ]
        return tuple(read.choice for read in found if read is not None)

    def impl(self, node: Node, label: str) -> Any:
        """Check that the component can be computed in the way that is asked for."""
        value = check(Implementation, node, label, self.problems)
        reason = getattr(self.entry.facts, "kernel_only", None)
        if value == "formula" and reason:
            self.problems.add(node.place, f"{self.entry.name} has no formula to train with", reason)
        if value == "kernel" and self.entry.kernel is None:
            message = f"{self.entry.name} has no kernel in torch"
            self.problems.add(node.place, message, "write 'impl: formula', or leave it out")
        return value

    def missing(self, knobs: Any, given: Mapping[str, Node]) -> None:
        """Note the knobs that must be given and are not."""
        for knob in knobs:
            if knob.required and knob.name not in given:
                meaning = f": {knob.doc}" if knob.doc else ""
                words = describe(knob.annotation)
                self.problems.add(
                    self.node.key,
                    f"{self.label} ({self.entry.name}) needs {knob.name}",
                    f"add '{knob.name}: ...' with {words}{meaning}",
                )

    def complete(self, knobs: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return every knob with its value or its default, in the order of the signature."""
        whole = {}
        for knob in knobs:
            if knob.name in values:
                whole[knob.name] = values[knob.name]
            elif knob.default is not COMPUTED:
                whole[knob.name] = self.default(knob)
        return whole

    def default(self, knob: Knob) -> Any:
        """Return a knob's default as a config would give it: a nested one as a Choice."""
        nested = mark(knob.annotation, Nested)
        if nested is None or knob.default is None:
            return knob.default
        node = self.node.with_value(knob.default)
        if nested.many:
            items = tuple(self.node.with_value(item) for item in knob.default)
            node = self.node.with_value(items)
        return self.nested(nested, knob, node, f"{self.label}.{knob.name}")

    def agree(self, choice: Choice, given: Mapping[str, Node]) -> None:
        """Ask the component whether knobs that are each valid go together."""
        for complaint in contradictions(self.entry, choice.knobs):
            place = _spoken_of(complaint.message, given) or self.node.key
            self.problems.add(place, f"{self.label}: {complaint.message}", complaint.hint)


def _spoken_of(message: str, given: Mapping[str, Node]) -> Place | None:
    """Return the place of what a component complains about: `item 2 of layers`, or a knob."""
    item = _ITEM.search(message)
    if item and item[2] in given:
        items = given[item[2]].items or ()
        if 0 < int(item[1]) <= len(items):
            return items[int(item[1]) - 1].place
    words = set(re.findall(r"\w+", message))
    return next((node.place for key, node in given.items() if key in words), None)


def contradictions(entry: Entry[Any], knobs: Mapping[str, Any]) -> list[Problem]:
    """Return what the component itself has against these knobs, nothing where they go together."""
    rule = getattr(entry.facts, "check", None)
    if rule is None:
        return []
    values = {name: _applied(value) for name, value in knobs.items()}
    try:
        if isinstance(entry.facts, OptimizerFacts | ScheduleFacts):
            complaint = rule(values)
            return [Problem(Place(), str(complaint))] if complaint else []
        rule(**values)
    except ConfigError as error:
        return list(error.problems)
    except UsageError as error:
        return [Problem(Place(), error.message, error.hint)]
    return []


def _applied(value: Any) -> Any:
    """Return a nested component as the declarations see it: with its facts."""
    if isinstance(value, tuple):
        return tuple(_applied(item) for item in value)
    if not isinstance(value, Choice):
        return value
    entry = plugins.chosen(value)
    knobs = {name: _applied(knob) for name, knob in value.knobs.items()}
    return Applied(entry.name, entry.function, entry.facts, knobs)
