"""A user's Python file read as a syntax tree: what a component takes, with nothing run.

`validate` must be able to say that a knob of the user's own loss does not exist, and must not run
the user's program to find out. So the file is parsed, and the function or class is read: its
knobs, their annotations and defaults, its docstring, and its decorator where it has one.
"""

import ast
import functools
import math
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import annotated_types

from lossbench.components import vocabulary
from lossbench.components.declarations import Parameter
from lossbench.errors import UsageError, suggest
from lossbench.registry import REQUIRED, Doc, Knob


class Computed:
    """The default of a knob that only running the file would tell."""

    def __repr__(self) -> str:
        return "<computed>"


COMPUTED: Final = Computed()

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """A function or class of a user's file.

    `inputs` are the names of the arguments that the program fills in by position, `knobs` those
    that a config may give. `decorators` are the literal keyword arguments by decorator's name.
    """

    name: str
    file: Path
    line: int
    is_class: bool
    inputs: tuple[str, ...]
    knobs: tuple[Knob, ...]
    doc: Doc
    decorators: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, int | None]


def read_tree(file: Path) -> ast.Module:
    """Parse a Python file.

    Raises UsageError naming the file, and the line where it is no Python.
    """
    try:
        source = file.read_bytes()
    except FileNotFoundError:
        near = suggest(file.name, [path.name for path in file.parent.glob("*.py")])
        raise UsageError(f"there is no file {file}", hint=near) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{file} cannot be read: {reason}") from None
    try:
        return ast.parse(source, filename=str(file))
    except SyntaxError as error:
        raise UsageError(
            f"{file}:{error.lineno or 1}: {error.msg}", hint=(error.text or "").strip() or None
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{file} is no Python: {error}") from None


def define(file: Path, name: str, inputs: int | tuple[str, ...]) -> Definition:
    """Read the function or class of that name.

    `inputs` says which arguments are no knobs: the first so many, or those of these names.
    Raises UsageError naming the nearest names of the file.
    """
    tree = read_tree(file)
    reader = _Reader(file, tree)
    found = reader.definitions.get(name)
    if isinstance(found, ast.ClassDef):
        return reader.read_class(name, found, inputs)
    if isinstance(found, ast.FunctionDef):
        return reader.read_function(name, found, inputs)
    where = f"{file}:{found.lineno}: '{name}'" if found is not None else ""
    if isinstance(found, ast.AsyncFunctionDef):
        raise UsageError(f"{where} is an async function", hint="write a plain 'def'")
    if found is not None:
        raise UsageError(
            f"{where} is imported or computed, so its knobs cannot be read without running it",
            hint="name the file that holds its 'def' or 'class'",
        )
    hint = suggest(name, reader.offered())
    if any(isinstance(node, ast.ImportFrom) for node in tree.body) and not hint.startswith("did"):
        hint = "what it only imports is not seen: name the module that has the 'def' or 'class'"
    raise UsageError(f"there is no '{name}' in {file}", hint=hint)


def offered(file: Path) -> list[str]:
    """Return the functions and classes of a file that a config could name.

    Raises UsageError where the file cannot be read.
    """
    return _Reader(file, read_tree(file)).offered()


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, also those within its `if` and `try`."""
    for statement in body:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try):
                yield from _top_level(getattr(statement, block, []))


class _Reader:
    """The definitions of one file, and how they are read."""

    def __init__(self, file: Path, tree: ast.Module) -> None:
        self.file = file
        self.constants: dict[str, Any] = {}
        self.definitions: dict[str, ast.stmt] = {}
        for statement in _top_level(tree.body):
            self._note(statement)

    def _note(self, statement: ast.stmt) -> None:
        if isinstance(statement, Function | ast.ClassDef):
            self.definitions[statement.name] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                self.definitions.setdefault(alias.asname or alias.name, statement)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    self._assign(target.id, statement, statement.value)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            self._assign(statement.target.id, statement, statement.value)

    def _assign(self, name: str, statement: ast.stmt, value: ast.expr | None) -> None:
        if isinstance(value, ast.Name) and value.id in self.definitions:
            self.definitions[name] = self.definitions[value.id]  # `Alias = MyLoss`
            return
        self.definitions.setdefault(name, statement)
        if value is not None:
            self.constants[name] = self.literal(value)

    def offered(self) -> list[str]:
        """Return the names of the functions and classes that a config could ask for."""
        return [
            name
            for name, node in self.definitions.items()
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not name.startswith("_")
        ]

    def read_function(
        self, name: str, node: ast.FunctionDef, inputs: int | tuple[str, ...]
    ) -> Definition:
        doc = Doc.parse(ast.get_docstring(node))
        filled, knobs = self.arguments(node, inputs, doc, skip=0)
        decorators = dict(self.decorators(node))
        line = node.lineno
        return Definition(name, self.file, line, False, filled, knobs, doc, decorators, {})

    def read_class(
        self, name: str, node: ast.ClassDef, inputs: int | tuple[str, ...]
    ) -> Definition:
        methods = self.methods(node, set())
        start = methods.get("__init__")
        text = ast.get_docstring(node) or (ast.get_docstring(start) if start else None)
        doc = Doc.parse(text)
        taken = inputs if isinstance(inputs, tuple) else 0  # a module gets its inputs in forward
        filled, knobs = self.arguments(start, taken, doc, skip=1) if start else ((), ())
        counts = {method: _positional(found) for method, found in methods.items()}
        decorators = dict(self.decorators(node))
        line = node.lineno
        return Definition(name, self.file, line, True, filled, knobs, doc, decorators, counts)

    def methods(self, node: ast.ClassDef, seen: set[str]) -> dict[str, ast.FunctionDef]:
        """Return a class's methods, with those of its bases in the same file."""
        found: dict[str, ast.FunctionDef] = {}
        seen.add(node.name)
        for base in reversed(node.bases):
            parent = self.definitions.get(base.id) if isinstance(base, ast.Name) else None
            if isinstance(parent, ast.ClassDef) and parent.name not in seen:
                found |= self.methods(parent, seen)
        return found | {
            statement.name: statement
            for statement in node.body
            if isinstance(statement, ast.FunctionDef)
        }

    def arguments(
        self, node: ast.FunctionDef, inputs: int | tuple[str, ...], doc: Doc, skip: int
    ) -> tuple[tuple[str, ...], tuple[Knob, ...]]:
        """Split the arguments of a function into its inputs and its knobs."""
        given = node.args
        positional = [*given.posonlyargs, *given.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
        defaults += given.defaults
        pairs = list(zip(positional, defaults, strict=True))[skip:]
        pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if isinstance(inputs, int):
            filled = {argument.arg for argument in positional[skip : skip + inputs]}
        else:
            filled = {argument.arg for argument, _ in pairs if argument.arg in inputs}
        knobs = tuple(
            self.knob(argument, default, doc)
            for argument, default in pairs
            if argument.arg not in filled
        )
        return tuple(argument.arg for argument, _ in pairs if argument.arg in filled), knobs

    def knob(self, argument: ast.arg, default: ast.expr | None, doc: Doc) -> Knob:
        value = REQUIRED if default is None else self.literal(default)
        if argument.annotation is not None:
            annotation = read_annotation(argument.annotation)
        else:
            annotation = _natural(value)
        return Knob(argument.arg, annotation, value, doc.knob(argument.arg))

    def literal(self, node: ast.expr) -> Any:
        """Return the value of an expression that says it itself; else COMPUTED."""
        if isinstance(node, ast.Name):
            return self.constants.get(node.id, COMPUTED)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("math.pi", "math.inf"):
            return getattr(math, node.attr)
        try:
            return _tuples(ast.literal_eval(node))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return COMPUTED

    def decorators(
        self, node: ast.FunctionDef | ast.ClassDef
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each decorator's last name with its keyword arguments."""
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = ast.unparse(call.func if call else decorator).rpartition(".")[2]
            keywords = call.keywords if call else []
            yield name, {word.arg: self.declared(word.value) for word in keywords if word.arg}

    def declared(self, node: ast.expr) -> Any:
        """Read what a decorator is given: literals, and learned parameters by name."""
        value = self.literal(node)
        if value is COMPUTED and isinstance(node, ast.Dict):
            keys = [self.literal(key) if key else COMPUTED for key in node.keys]
            if all(isinstance(key, str) for key in keys):
                return {
                    key: _parameter(self.literal, item)
                    for key, item in zip(keys, node.values, strict=True)
                }
        return value


def _parameter(literal: Callable[[ast.expr], Any], node: ast.expr) -> Any:
    """Read `Parameter(0.25, per="channel")`."""
    if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("Parameter"):
        return literal(node)
    values = [literal(argument) for argument in node.args]
    words = {word.arg: literal(word.value) for word in node.keywords if word.arg}
    known = {key: value for key, value in words.items() if value is not COMPUTED}
    try:
        return Parameter(*(value for value in values if value is not COMPUTED), **known)
    except TypeError:
        return Parameter()


def _positional(node: ast.FunctionDef) -> int | None:
    """Return how many arguments behind `self` a method takes by position; none without a bound."""
    if node.args.vararg:
        return None
    return len(node.args.posonlyargs) + len(node.args.args) - 1


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, as the values of a config are."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value


def _natural(default: Any) -> Any:
    """Return the annotation that a knob without one has by its default."""
    if isinstance(default, bool | str):
        return type(default)
    return float | int if isinstance(default, int | float) else Any


# --- annotations ------------------------------------------------------------------------------

_NAMES: Mapping[str, Any] = {
    "float": float,
    "int": int,
    "bool": bool,
    "str": str,
    "tuple": tuple[Any, ...],
    "list": tuple[Any, ...],
    "Sequence": tuple[Any, ...],
    "dict": dict[str, Any],
    "None": None,
    **{
        name: getattr(vocabulary, name)
        for name in (
            "Positive", "NonNegative", "Probability", "Decay", "PositiveInt", "NonNegativeInt"
        )
    },
}  # fmt: skip


def read_annotation(node: ast.expr) -> Any:
    """Return the type that an annotation's expression names; Any where it is none we know."""
    try:
        return _annotation(node)
    except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, AttributeError):
        return Any


def _annotation(node: ast.expr) -> Any:
    """Read an annotation; raises where it is not one of the few that knobs have."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # `delta: "float"`
            return _annotation(ast.parse(node.value, mode="eval").body)
        if node.value is None:
            return None
        raise ValueError(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        return _NAMES[ast.unparse(node).rpartition(".")[2]]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return typing.Union[_annotation(node.left), _annotation(node.right)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        return _subscript(node)
    raise ValueError(ast.dump(node))


def _subscript(node: ast.Subscript) -> Any:
    name = ast.unparse(node.value).rpartition(".")[2]
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(argument) for argument in arguments)]
    if name == "Annotated":
        notes = [note for note in map(_bound, arguments[1:]) if note is not None]
        base = _annotation(arguments[0])
        return Annotated[(base, *notes)] if notes else base
    if name == "Optional":
        return typing.Optional[_annotation(arguments[0])]  # noqa: UP045
    if name == "Union":
        return functools.reduce(operator.or_, map(_annotation, arguments))
    if name in ("list", "List", "Sequence"):
        return tuple.__class_getitem__((_annotation(arguments[0]), ...))
    if name in ("tuple", "Tuple"):
        items = [... if _is_ellipsis(argument) else _annotation(argument) for argument in arguments]
        return tuple.__class_getitem__(tuple(items))
    raise KeyError(name)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _bound(node: ast.expr) -> Any:
    """Read `Ge(0)` and its like; none for what is no bound."""
    if not isinstance(node, ast.Call):
        return None
    name = ast.unparse(node.func).rpartition(".")[2]
    if name not in ("Ge", "Gt", "Le", "Lt", "MinLen", "MaxLen", "MultipleOf"):
        return None
    return getattr(annotated_types, name)(*map(ast.literal_eval, node.args))
