"""YAML text to values that know where they stand.

PyYAML composes the text; this file resolves the scalars as YAML 1.2 does (`1e-3` is a number, `no`
and `1:30` are text), refuses what a config has no use for (tags, several documents, duplicate
keys), and keeps file, line and column of every key and value.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml as pyyaml

from lossbench.config.yaml_errors import plain_words
from lossbench.errors import ConfigError, Place, Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""A config is small. These bounds are far above any, and keep a hostile file cheap."""

Scalar = str | int | float | bool | None

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Node:
    """A value of a config, and where it stands.

    `value` is a scalar, a tuple of nodes or a mapping of nodes; `place` is where it begins, `key`
    where the key that names it begins; `folder` is where relative paths in it start.
    """

    value: "Scalar | tuple[Node, ...] | dict[str, Node]"
    place: Place
    key: Place
    folder: Path

    @property
    def mapping(self) -> "dict[str, Node] | None":
        """The keys and their nodes, where it is a mapping."""
        return self.value if isinstance(self.value, dict) else None

    @property
    def items(self) -> "tuple[Node, ...] | None":
        """The nodes of the list, where it is one."""
        return self.value if isinstance(self.value, tuple) else None

    def plain(self) -> Any:
        """Return the value as Python has it: scalars, tuples and dicts."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(node.plain() for node in self.value)
        return self.value

    def walk(self) -> "Iterator[Node]":
        """Yield the node and all below it."""
        yield self
        below = self.value.values() if isinstance(self.value, dict) else self.items or ()
        for node in below:
            yield from node.walk()

    def with_value(self, value: "Scalar | tuple[Node, ...] | dict[str, Node]") -> "Node":
        """Return a node at the same place with another value."""
        return replace(self, value=value)


def resolve(text: str) -> Scalar:
    """Return what an unquoted scalar means in YAML 1.2's core schema.

    Raises ValueError for a number of more digits than Python converts.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if _NOT_A_NUMBER.fullmatch(text) else text


def read_text(file: Path) -> str:
    """Return the text of a config file, without a byte order mark.

    Raises ConfigError where it cannot be read, is no UTF-8, or is far too large.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(Place(file), "there is no such file") from None
    except IsADirectoryError:
        raise _refused(Place(file), "is a folder, not a config file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(Place(file), f"cannot be read: {reason}") from None
    return decode(raw, file)


def decode(raw: bytes, file: Path | None = None) -> str:
    """Return the bytes of a config as text.

    Raises ConfigError naming line and column of the first byte that is no UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise _refused(Place(file), f"is larger than {MAX_BYTES // 1_000_000} MB: no config")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(Place(file, 1, 1), "is UTF-16 text", "save the file as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", errors="replace")
        place = _place_of(before, len(before), file)
        message = f"the byte 0x{raw[error.start]:02x} is no UTF-8 text"
        raise _refused(place, message, "save the file as UTF-8") from None


def parse(
    text: str, *, file: Path | None = None, argument: str | None = None, folder: Path | None = None
) -> Node:
    """Read one YAML document.

    `argument` is the command-line argument that the text is part of: every place is then it.
    `folder` is where relative paths start: the file's own unless given, else the current one.
    Raises ConfigError for text that is no YAML, and for YAML that a config may not hold.
    """
    folder = folder or (file.parent.absolute() if file else Path.cwd())
    reading = _Reading(file, argument, folder)
    try:
        composer = _Composer(text.removeprefix("\ufeff"))
        composer.lines_from = reading
        root = composer.get_single_node()
    except pyyaml.MarkedYAMLError as error:
        message, hint = plain_words(error.problem or "", error.context or "")
        mark = error.problem_mark or error.context_mark
        raise _refused(reading.at(mark), message, hint) from None
    except pyyaml.reader.ReaderError as error:
        place = _place_of(text, error.position, file, argument)
        character = ord(error.character) if isinstance(error.character, str) else error.character
        message = f"the character U+{character:04X} is not allowed in YAML"
        raise _refused(place, message) from None
    except (ValueError, OverflowError):
        # The scanner converts the numbers of directives and of escapes without a guard.
        place = Place(file, argument=argument)
        raise _refused(place, "a number or an escape in this YAML is out of range") from None
    if root is None:
        start = reading.place(1, 1)
        return Node(None, start, start, folder)
    return reading.convert(root)


class _Composer(pyyaml.SafeLoader):
    """PyYAML's composer, with a bound on the depth, and without tags."""

    depth = 0
    lines_from: "_Reading"

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node; refuse a tag, and brackets within brackets without end."""
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise _refused(
                self.lines_from.at(event.start_mark),
                f"the tag '{event.tag}' is not allowed: a config holds plain values only",
                "to write a '!' as text, put quotes around it",
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            place = self.lines_from.at(event.start_mark)
            raise _refused(place, f"more than {MAX_DEPTH} levels, one within the other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:  # noqa: ARG002
        """Give every node the same tag: the scalars are resolved later, by YAML 1.2's rules."""
        return "value"


class _Reading:
    """One pass over a composed document: places, YAML 1.2 scalars, and the bounds."""

    def __init__(self, file: Path | None, argument: str | None, folder: Path) -> None:
        self.file, self.argument, self.folder = file, argument, folder
        self.values = 0
        self.open: list[Any] = []

    def place(self, line: int, column: int) -> Place:
        """Return the place of a line and column, or the argument."""
        if self.argument is not None:
            return Place(argument=self.argument)
        return Place(self.file, line, column)

    def at(self, mark: Any) -> Place:
        """Return the place of a mark of PyYAML's, which counts from 0."""
        return self.place(mark.line + 1, mark.column + 1) if mark else Place(self.file)

    def convert(self, node: Any, key: Place | None = None) -> Node:
        """Turn a composed node into ours."""
        place = self.at(node.start_mark)
        self.values += 1
        if self.values > MAX_VALUES:
            message = f"holds more than {MAX_VALUES} values once its aliases are filled in"
            raise _refused(key or place, message)
        if isinstance(node, pyyaml.ScalarNode):
            return Node(self.scalar(node, place), place, key or place, self.folder)
        if any(node is above for above in self.open):
            raise _refused(key or place, "an alias stands inside the value that it repeats")
        if len(self.open) > MAX_DEPTH:  # aliases nest deeper than the text does
            raise _refused(key or place, f"more than {MAX_DEPTH} levels, one within the other")
        self.open.append(node)
        value: tuple[Node, ...] | dict[str, Node]
        if isinstance(node, pyyaml.SequenceNode):
            value = tuple(self.convert(item) for item in node.value)
        else:
            value = self.mapping(node)
        self.open.pop()
        return Node(value, place, key or place, self.folder)

    def scalar(self, node: Any, place: Place) -> Scalar:
        """Resolve a scalar: unquoted by YAML 1.2's rules, quoted as text."""
        if _SURROGATE.search(node.value):
            raise _refused(place, "half a surrogate pair is no character")
        if node.style is not None:
            return str(node.value)
        try:
            return resolve(node.value)
        except ValueError:
            raise _refused(place, f"a number of {len(node.value)} digits is too long") from None

    def mapping(self, node: Any) -> dict[str, Node]:
        """Convert the keys and values of a mapping; a key may stand once."""
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.at(key_node.start_mark)
            if not isinstance(key_node, pyyaml.ScalarNode):
                raise _refused(place, "a key must be a name, not a list or a block")
            key = str(key_node.value)
            if key == "<<" and key_node.style is None:
                raise _refused(
                    place,
                    "the merge key '<<' does not exist in YAML 1.2",
                    "repeat the block with an alias, or start from a file with 'extends: FILE'",
                )
            if _SURROGATE.search(key):
                raise _refused(place, "half a surrogate pair is no character")
            if key in entries:
                first = entries[key].key
                raise _refused(
                    place, f"the key '{key}' stands twice", f"it stands first at {first}"
                )
            entries[key] = self.convert(value_node, place)
        return entries


def from_python(value: Any, folder: Path | None = None) -> Node:
    """Return plain Python values (a config built in a program) as nodes.

    Raises ConfigError for anything but numbers, text, lists, tuples and mappings.
    """
    return _from_python(value, Place(), folder or Path.cwd(), 0)


def _from_python(value: Any, place: Place, folder: Path, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise _refused(place, f"more than {MAX_DEPTH} levels, one within the other")
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and _SURROGATE.search(value):
        raise _refused(place, "half a surrogate pair is no character")
    if value is None or isinstance(value, str | int | float | bool):
        return Node(value, place, place, folder)
    if isinstance(value, list | tuple):
        items = tuple(_from_python(item, place, folder, depth + 1) for item in value)
        return Node(items, place, place, folder)
    if isinstance(value, Mapping):
        entries = {
            _key(key, place): _from_python(item, place, folder, depth + 1)
            for key, item in value.items()
        }
        return Node(entries, place, place, folder)
    kind = type(value).__name__
    raise _refused(place, f"a config holds numbers, text, lists and blocks only, got a {kind}")


def _key(key: object, place: Place) -> str:
    if not isinstance(key, str):
        raise _refused(place, f"a key must be text, got {key!r}")
    return key


def _place_of(text: str, position: int, file: Path | None, argument: str | None = None) -> Place:
    """Return the place of a character, counted from 0."""
    if argument is not None:
        return Place(argument=argument)
    lines = re.split(r"\r\n|\r|\n", text[:position])
    return Place(file, len(lines), len(lines[-1]) + 1)


def _refused(place: Place, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(place, message, hint)])
