"""The user's own components: found, read without running, and imported.

    loss: my_loss.py:MyLoss            a file, relative to the config's own folder
    loss: package.module:MyLoss        an import path
    loss: robust                       an entry point `robust` of the group `lossbench.loss`

A function or a class serves, with or without lossbench's decorator. One that declares nothing
gets permissive facts: its loss sees the target in the data's natural encoding and the network's
outputs as they are.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lossbench.components.declarations import (
    ActivationFacts,
    DatasetFacts,
    DistanceFacts,
    LayerFacts,
    LossFacts,
    MetricFacts,
    NetworkFacts,
)
from lossbench.components.rules import OptimizerFacts, ScheduleFacts
from lossbench.components.vocabulary import NATURAL, Data, Samples, Target
from lossbench.errors import UnknownNameError, UsageError
from lossbench.lazy import np
from lossbench.plugins.blame import user_code
from lossbench.plugins.neighbours import neighbours
from lossbench.plugins.references import canonical, entry_points, in_file, is_reference, locate
from lossbench.plugins.syntax import COMPUTED, Definition, define, offered
from lossbench.registry import USER_ENTRY, Entry, registry_of

if TYPE_CHECKING:
    from lossbench.config.spec import Choice


@dataclass(frozen=True)
class Kind:
    """How a user's own component of one kind is read.

    facts:    what it declares when it declares nothing; none where it must.
    inputs:   the arguments that are no knobs: the first so many, or those of these names.
    needs:    how many inputs it must take at least.
    call:     how it is called, for messages.
    module:   whether an `nn.Module` class serves, called through `forward`.
    """

    facts: Any
    inputs: int | tuple[str, ...]
    needs: int
    call: str
    module: bool = False


_UNDECLARED: Mapping[str, Kind] = {
    "loss": Kind(
        LossFacts(target=NATURAL, prediction="raw"), 2, 2, "(prediction, target)", module=True
    ),
    "activation": Kind(ActivationFacts(), 1, 1, "(x)", module=True),
    "network": Kind(
        NetworkFacts(), ("inputs", "outputs", "activation"), 2, "(inputs, outputs, activation)"
    ),
    "dataset": Kind(DatasetFacts(target=None), ("seed",), 0, "(seed)"),
    "distance": Kind(DistanceFacts(), 2, 2, "(x1, x2)"),
    "layer": Kind(LayerFacts(), ("shape",), 1, "(shape)"),
    "optimizer": Kind(OptimizerFacts(), 4, 4, "(params, grads, state, step)"),
    "schedule": Kind(ScheduleFacts(total=True), 3, 3, "(base, step, total)"),
    "metric": Kind(None, 2, 2, "(prediction, target)"),
}
_FACTS: Mapping[str, type[Any]] = {
    "loss": LossFacts,
    "activation": ActivationFacts,
    "network": NetworkFacts,
    "dataset": DatasetFacts,
    "distance": DistanceFacts,
    "layer": LayerFacts,
    "optimizer": OptimizerFacts,
    "schedule": ScheduleFacts,
    "metric": MetricFacts,
}
_DECORATOR_WORDS = frozenset({"name", "kernel", "aliases"})


def outline(reference: str, kind: str, folder: Path) -> Entry[Any]:
    """Read a user's component as a syntax tree; nothing of it is run.

    Its `function` raises until `load` has imported it; a default that only running would tell is
    `COMPUTED`. Raises UsageError naming the file, the line and the nearest names.
    """
    file, name = locate(reference, folder)
    how = _UNDECLARED[kind]
    found = define(file, name, how.inputs)
    declared = found.decorators.get(kind)
    others = [other for other in _FACTS if other != kind and other in found.decorators]
    if others and declared is None:
        raise UsageError(f"{file}:{found.line}: '{name}' is declared as {others[0]}, not as {kind}")
    if declared is None:
        _check_call(found, kind, how)
    facts = _facts(found, kind, how, declared)
    # What the program fills in: further inputs, learned parameters, state, the player, noise.
    declares = ("inputs", "heads", "parameters", "state")
    learned = frozenset(name for word in declares for name in getattr(facts, word, None) or ())
    if getattr(facts, "parts", ()):
        learned |= {"part"}
    if noise := getattr(facts, "noise", None):
        learned |= {noise}
    return Entry(
        kind=kind,
        name=canonical(reference, file),
        function=_not_imported,
        facts=facts,
        knobs=tuple(knob for knob in found.knobs if knob.name not in learned),
        doc=found.doc,
        file=file,
        line=found.line,
        builds_module=found.is_class and how.module,
    )


def _not_imported(*inputs: Any, **knobs: Any) -> Any:  # noqa: ARG001 - stands for any component
    raise TypeError("a component that was only read was called: plugins.load imports it")


def _check_call(found: Definition, kind: str, how: Kind) -> None:
    """Refuse a function or class that cannot be called as the kind is."""
    place = f"{found.file}:{found.line}"
    if found.is_class and not (how.module or kind == "network"):
        raise UsageError(
            f"{place}: '{found.name}' is a class, and a {kind} is a function {how.call}"
        )
    if found.is_class and how.module:
        takes = found.methods.get("forward", how.needs)  # inherited: taken on trust
        if takes is not None and takes < how.needs:
            raise UsageError(f"{place}: '{found.name}.forward' must take {how.call}")
    elif len(found.inputs) < how.needs:
        raise UsageError(f"{place}: '{found.name}' must take {how.call}")


def _facts(found: Definition, kind: str, how: Kind, declared: Mapping[str, Any] | None) -> Any:
    """Return what the decorator says as far as it is literal, or what suits everything."""
    if declared is None:
        if how.facts is None:
            raise UsageError(
                f"{found.file}:{found.line}: a {kind} of your own must say what it is for",
                hint=f"decorate it: from lossbench.registry import {kind}",
            )
        return how.facts
    known = {
        word: value
        for word, value in declared.items()
        if value is not COMPUTED and word not in _DECORATOR_WORDS
    }
    for field in fields(_FACTS[kind]):
        if field.name in declared and field.name not in known and field.default is MISSING:
            # declared with words that only running the file would tell: anything goes until then
            known |= {field.name: getattr(how.facts, field.name, ())}
    try:
        return _FACTS[kind](**known)
    except TypeError as error:
        raise UsageError(f"{found.file}:{found.line}: @{kind}: {error}") from None


def load(reference: str, kind: str, folder: Path) -> Entry[Any]:
    """Import a user's component.

    Raises UsageError for what `outline` refuses, and for an error while the file is imported, with
    the user's line.
    """
    read = outline(reference, kind, folder)
    file, name = locate(reference, folder)
    with user_code(file):
        if in_file(reference):
            module = _import_file(file)
        else:
            module = _import_module(reference.rpartition(":")[0].strip(), folder)
        found = getattr(module, name)
    entry: Entry[Any] | None = getattr(found, USER_ENTRY, None)
    if entry is not None:
        return replace(entry, name=read.name, file=file, line=read.line)
    return replace(read, function=_adapt(found, kind, file))


def _import_file(file: Path) -> ModuleType:
    """Import a file under a name of its own; the same text is imported once.

    Its folder is on the path during the import only, so that it may import its neighbours.
    """
    beside = neighbours(file)
    texts = [str(file).encode(), *(path.read_bytes() for path in (file, *beside))]
    digest = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
    name = f"_user_{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} cannot be imported")
    for path in beside:  # one of that name may be another folder's, or an older text
        sys.modules.pop(path.stem, None)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up while it is made
    try:
        with _on_path(file.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(name: str, folder: Path) -> ModuleType:
    with _on_path(folder, first=False):
        return importlib.import_module(name)


@contextmanager
def _on_path(folder: Path, *, first: bool = True) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0 if first else len(sys.path), str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def resolve(choice: "Choice") -> Entry[Any]:
    """Return the component that was chosen: registered, or the user's own, imported.

    Raises UsageError where the user's own cannot be imported.
    """
    registry = registry_of(choice.kind)
    if is_reference(choice.name):
        if choice.file is not None and in_file(choice.name):
            name = choice.name.rpartition(":")[2]
            return load(f"{choice.file}:{name}", choice.kind, choice.file.parent)
        return load(choice.name, choice.kind, Path.cwd())
    if choice.name not in registry:
        reference = entry_points(choice.kind).get(choice.name)
        if reference is not None:
            return replace(load(reference, choice.kind, Path.cwd()), name=choice.name)
    return registry.find(choice.name)


def chosen(choice: "Choice") -> Entry[Any]:
    """Return the component that was chosen; a user's own is read, not imported."""
    if choice.file is not None and in_file(choice.name):
        name = choice.name.rpartition(":")[2]
        return outline(f"{choice.file}:{name}", choice.kind, choice.file.parent)
    return find(choice.name, choice.kind, Path.cwd())


def find(name: str, kind: str, folder: Path) -> Entry[Any]:
    """Return the component that a name in a config means; a user's own is read, not imported.

    Raises UnknownNameError with the nearest names, UsageError with the reason of a refusal.
    """
    if is_reference(name):
        return outline(name, kind, folder)
    if name.endswith(".py"):
        raise _nameless(name, kind, folder)
    try:
        return registry_of(kind).find(name)
    except UnknownNameError as error:
        points = entry_points(kind)
        if name not in points:
            raise UnknownNameError(kind, name, (*error.valid, *points)) from None
        return replace(outline(points[name], kind, folder), name=name)


def _nameless(name: str, kind: str, folder: Path) -> UsageError:
    """Return the error of a reference to a file that does not say what in it is meant."""
    found = offered(Path(folder, Path(name).expanduser()))
    choices = " or ".join(f"'{name}:{one}'" for one in found) or f"'{name}:NAME'"
    return UsageError(
        f"'{name}' names a file, not the {kind} in it",
        hint=f"write {choices}",
    )


# --- what a user's function or class must be wrapped in ---------------------------------------


def _adapt(found: Any, kind: str, file: Path) -> Callable[..., Any]:
    """Make an undeclared network or dataset answer to the kind's own call."""
    if kind == "network":
        return _with_accepted(found, ("inputs", "outputs", "activation"))
    if kind == "dataset":
        return _as_data(_with_accepted(found, ("seed",)), file)
    return found


def _with_accepted(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """Pass those inputs by name that the user's function takes."""
    accepted = inspect.signature(function).parameters

    def call(*inputs: Any, **knobs: Any) -> Any:
        given = zip(names, inputs, strict=False)
        return function(**{name: value for name, value in given if name in accepted}, **knobs)

    return call


def _as_data(function: Callable[..., Any], file: Path) -> Callable[..., Data]:
    """Let a dataset return `(inputs, targets)`: whole numbers are classes, others real."""

    def call(*inputs: Any, **knobs: Any) -> Data:
        given = function(*inputs, **knobs)
        if isinstance(given, Data):
            return given
        if not (isinstance(given, tuple) and len(given) == 2):
            kind = type(given).__name__
            raise UsageError(
                f"{file}: a dataset must return (inputs, targets) or lossbench's Data, got a {kind}"
            )
        x, y = np.asarray(given[0], dtype=np.float32), np.asarray(given[1])
        if np.issubdtype(y.dtype, np.integer) or y.dtype == bool:
            labels = y.astype(np.int64).reshape(len(y), *y.shape[1:])
            target = Target("class", int(labels.max()) + 1 if labels.size else 0)
            return Data(target, samples=Samples(x, labels))
        values = y.astype(np.float32).reshape(len(y), -1)
        return Data(Target("real", values.shape[1]), samples=Samples(x, values))

    return call


# --- errors in the user's own code ------------------------------------------------------------
