"""One registry per kind of component; each registry is also the decorator that fills it.

    @loss(target="real", kernel="torch.nn.functional.huber_loss")
    def huber(prediction, target, *, delta: Positive = 1.0): ...

    loss["huber"].knobs, loss.find("nn.HuberLoss"), loss.names()

The first look-up imports every file of the kind's folder. Importing a component file imports no
torch, so the whole catalogue costs milliseconds.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

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
from lossbench.errors import UnknownNameError, UsageError

Facts = TypeVar("Facts")
Function = TypeVar("Function", bound=Callable[..., Any])

REQUIRED: Any = inspect.Parameter.empty
"""The default of a knob that has none."""

USER_ENTRY = "lossbench_entry"
"""The attribute under which a decorated function of a user's own file carries its Entry."""

SECTIONS = ("Formula", "Derivative", "Shapes", "Range", "Knobs", "Note", "Errors", "Reference")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):[ \t]*(.*)$")
_KNOB = re.compile(r"^(\w+):[ \t]+(.*)$")


@dataclass(frozen=True)
class Doc:
    """A component's docstring in its parts: the idea, then the sections of `SECTIONS`."""

    summary: str
    details: str
    sections: Mapping[str, str]

    @classmethod
    def parse(cls, text: str | None) -> "Doc":
        """Read a docstring; a section runs to the next section's name."""
        lines = inspect.cleandoc(text or "").splitlines()
        summary = lines[0] if lines else ""
        details: list[str] = []
        sections: dict[str, list[str]] = {}
        current = details
        for line in lines[1:]:
            opening = _SECTION.match(line)
            if opening:
                current = sections.setdefault(opening[1], [])
                line = opening[2]
            current.append(line)
        joined = {
            name: inspect.cleandoc("\n".join(body)).strip() for name, body in sections.items()
        }
        return cls(summary, "\n".join(details).strip(), joined)

    def knob(self, name: str) -> str:
        """Return what the docstring says of a knob, in one line; empty where it says nothing."""
        found: list[str] = []
        for line in self.sections.get("Knobs", "").splitlines():
            opening = _KNOB.match(line.strip())
            if opening:
                if found:
                    break
                if opening[1] == name:
                    found.append(opening[2])
            elif found:
                found.append(line.strip())
        return " ".join(found)


@dataclass(frozen=True)
class Knob:
    """A keyword-only argument of a component: its name, annotation, default and meaning."""

    name: str
    annotation: Any
    default: Any
    doc: str = ""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED


def knobs_of(function: Callable[..., Any], doc: Doc, without: frozenset[str]) -> tuple[Knob, ...]:
    """Read the keyword-only arguments of a function, except those that are not knobs."""
    return tuple(
        Knob(name, argument.annotation, argument.default, doc.knob(name))
        for name, argument in inspect.signature(function).parameters.items()
        if argument.kind is inspect.Parameter.KEYWORD_ONLY and name not in without
    )


@dataclass(frozen=True, eq=False)
class Entry(Generic[Facts]):
    """A component as the program sees it: its formula, knobs, declarations and kernel.

    `builds_module` is true for a user's `nn.Module` class: `function` then makes a module from the
    knobs, where otherwise it is the formula itself.
    """

    kind: str
    name: str
    function: Callable[..., Any]
    facts: Facts
    knobs: tuple[Knob, ...]
    doc: Doc
    kernel: str | None = None
    aliases: tuple[str, ...] = ()
    file: Path | None = None
    line: int | None = None
    builds_module: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what the formula takes by position, in order, without further heads."""
        if self.builds_module:
            return "prediction", "target"
        heads = getattr(self.facts, "heads", ())
        arguments = inspect.signature(self.function).parameters.values()
        by_position = (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        positional = [a.name for a in arguments if a.kind in by_position]
        return tuple(name for name in positional if name not in heads)

    def knob(self, name: str) -> Knob:
        """Return the knob of that name.

        Raises UnknownNameError naming the nearest knob.
        """
        for knob in self.knobs:
            if knob.name == name:
                return knob
        raise UnknownNameError(f"knob of {self.name}", name, (knob.name for knob in self.knobs))

    def defaults(self) -> dict[str, Any]:
        """Return every knob that has a default, with it."""
        return {knob.name: knob.default for knob in self.knobs if not knob.required}

    def load_kernel(self) -> Callable[..., Any] | None:
        """Import and return torch's own function or class; none where this torch lacks it."""
        if self.kernel is None:
            return None
        module, _, attribute = self.kernel.rpartition(".")
        return getattr(importlib.import_module(module), attribute, None)


class Registry(Mapping[str, Entry[Facts]], Generic[Facts]):
    """All components of one kind, by name; calling it returns the decorator that adds one.

    `package` is the folder whose files are imported at the first look-up; `not_knobs` are the
    keyword arguments of a formula that the program fills in itself.
    """

    def __init__(
        self, kind: str, package: str, facts: type[Facts], not_knobs: tuple[str, ...] = ()
    ) -> None:
        self.kind = kind
        self.package = package
        self._facts = facts
        self._not_knobs = frozenset(not_knobs)
        self._entries: dict[str, Entry[Facts]] = {}
        self._spellings: dict[str, str] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._loaded = False

    def __call__(
        self,
        *,
        name: str | None = None,
        kernel: str | None = None,
        aliases: tuple[str, ...] = (),
        **facts: Any,
    ) -> Callable[[Function], Function]:
        """Return the decorator that registers a function and returns it unchanged.

        `facts` are the fields of the kind's declaration (LossFacts and so on).
        """

        def add(function: Function) -> Function:
            entry = self.entry(function, name=name, kernel=kernel, aliases=aliases, **facts)
            if not function.__module__.startswith("lossbench."):
                # A user's own file declares with the same decorator, but joins no registry: it is
                # reached by its file's name, and may bear the name of a built-in.
                setattr(function, USER_ENTRY, entry)
                return function
            if entry.name in self._entries:
                raise TypeError(f"two {self.kind}s are named {entry.name}")
            self._entries[entry.name] = entry
            return function

        return add

    def entry(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        kernel: str | None = None,
        aliases: tuple[str, ...] = (),
        **facts: Any,
    ) -> Entry[Facts]:
        """Describe a function as a component of this kind, without adding it."""
        declared = self._facts(**facts)
        doc = Doc.parse(function.__doc__)
        code = inspect.unwrap(function).__code__
        # What a loss keeps (its state), what training learns and noise are keywords, but no knobs.
        kept = getattr(declared, "state", None) or () if self.kind == "loss" else ()
        part = ("part",) if getattr(declared, "parts", ()) else ()
        noise = filter(None, [getattr(declared, "noise", None)])
        learned = frozenset([*getattr(declared, "parameters", ()), *kept, *part, *noise])
        return Entry(
            kind=self.kind,
            name=name or function.__name__,
            function=function,
            facts=declared,
            knobs=knobs_of(function, doc, self._not_knobs | learned),
            doc=doc,
            kernel=kernel,
            aliases=aliases,
            file=Path(code.co_filename),
            line=code.co_firstlineno,
        )

    def refuse(self, name: str, reason: str, hint: str) -> None:
        """Declare a name that people ask for and that cannot be of this kind: why, what instead."""
        self._refused[self._fold(name)] = reason, hint

    def __getitem__(self, name: str) -> Entry[Facts]:
        """Return the entry of exactly this name (KeyError otherwise; see `find`)."""
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in alphabetical order."""
        self._load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        """Return the number of components."""
        self._load()
        return len(self._entries)

    def names(self) -> list[str]:
        """Return all names, in alphabetical order."""
        return list(self)

    def find(self, spelling: str) -> Entry[Facts]:
        """Return the entry that a user means: its name, an alias, or torch's spelling of it.

        `mse`, `mse_loss`, `MSELoss` and `torch.nn.MSELoss` are one loss.
        Raises UnknownNameError naming the nearest ones, UsageError with the reason for a name that
        is known and refused.
        """
        self._load()
        if spelling in self._entries:
            return self._entries[spelling]
        folded = self._fold(spelling)
        if folded in self._refused:
            reason, hint = self._refused[folded]
            raise UsageError(f"'{spelling}' cannot be a {self.kind}: {reason}", hint=hint)
        name = self._spellings.get(folded)
        if name is None:
            raise UnknownNameError(self.kind, spelling, self._entries)
        return self._entries[name]

    def _fold(self, spelling: str) -> str:
        """Reduce a spelling to what MSELoss, nn.MSELoss and mse_loss have in common."""
        last = re.sub(r"[^a-z0-9]", "", spelling.rpartition(".")[2].lower())
        endings = {"loss": "loss", "schedule": "lr"}.get(self.kind, "")
        return last.removesuffix(endings) or last

    def _load(self) -> None:
        """Import every file of the kind's folder, once."""
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            # A file with a leading underscore holds what its kind shares, or nn.Module classes.
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for entry in self._entries.values():
            for spelling in (
                entry.name,
                *entry.aliases,
                *((entry.kernel,) if entry.kernel else ()),
            ):
                self._spellings.setdefault(self._fold(spelling), entry.name)


def _registry(kind: str, facts: type[Facts], *not_knobs: str, folder: str = "") -> Registry[Facts]:
    return Registry(kind, f"lossbench.components.{folder or kind + 's'}", facts, not_knobs)


activation = _registry("activation", ActivationFacts)
loss = _registry("loss", LossFacts, folder="losses")
optimizer = _registry("optimizer", OptimizerFacts)
schedule = _registry("schedule", ScheduleFacts)
distance = _registry("distance", DistanceFacts)
layer = _registry("layer", LayerFacts)
network = _registry("network", NetworkFacts)
dataset = _registry("dataset", DatasetFacts)
metric = _registry("metric", MetricFacts)

KINDS: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        activation, dataset, distance, layer, loss, metric, network, optimizer, schedule
    )
}  # fmt: skip


def registry_of(kind: str) -> Registry[Any]:
    """Return the registry of a kind, singular or plural (`loss`, `losses`).

    Raises UnknownNameError naming the nearest kind.
    """
    for name, registry in KINDS.items():
        if kind in (name, registry.package.rpartition(".")[2]):
            return registry
    raise UnknownNameError("kind of component", kind, KINDS)


def with_facts(entry: Entry[Facts], **changes: Any) -> Entry[Facts]:
    """Return the entry with some of its declarations replaced."""
    return dataclasses.replace(entry, facts=dataclasses.replace(entry.facts, **changes))  # type: ignore[type-var]
