"""The same proof for a user's own component, read from a file.

What is decorated is held to what it declares. A plain function or module declares nothing, so it
is only held to what every component must do: finite values, a true gradient, and the rest.
"""

import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lossbench.checks.contracts import CONTRACTS, Finding, check_contract
from lossbench.checks.knobs import first_knobs
from lossbench.checks.loss_inputs import draw_inputs, terms_of
from lossbench.components.declarations import LossFacts
from lossbench.errors import LossbenchError, UnknownNameError, UsageError
from lossbench.lazy import torch
from lossbench.plugins import load
from lossbench.plugins.syntax import Definition, define, offered
from lossbench.registry import Entry

DECLARED = (
    "documentation", "bounds", "symmetry", "perfection", "kinks", "identities", "length", "order",
)  # fmt: skip
"""Contracts about what a component declares: they do not apply to one that declares nothing."""

ADVICE = ("documentation", "derivative", "bounds")
"""Contracts that a user's own component may leave open: what it then lacks is said as advice."""

ARGUMENTS = {
    ("prediction", "target"): "loss",
    ("input", "target"): "loss",
    ("y_pred", "y_true"): "loss",
    ("x1", "x2"): "distance",
    ("params", "grads", "state", "step"): "optimizer",
    ("base", "step", "total"): "schedule",
    ("x",): "activation",
}
"""What a function that declares nothing is, by the names of its first arguments."""


@dataclass(frozen=True)
class Own:
    """A component of a user's file, imported, and whether it declares anything."""

    entry: Entry[Any]
    declared: bool


def own_components(file: Path, name: str | None = None, kind: str | None = None) -> list[Own]:
    """Import what a user's file offers that has contracts: all of it, or one by name.

    Raises UsageError where there is nothing to check, or the file cannot be imported.
    """
    names = offered(file)
    if name is not None and name not in names:
        raise UnknownNameError(f"function or class in {file}", name, names)
    found = []
    for one in names if name is None else [name]:
        read = define(file, one, 0)
        its_kind = kind or _kind_of(read)
        if its_kind in CONTRACTS:
            entry = load(f"{file}:{one}", its_kind, file.parent)
            declared = its_kind in read.decorators
            found.append(Own(_callable(entry, declared), declared))
    if not found:
        raise UsageError(
            f"{file} holds nothing that can be checked",
            hint="decorate it (from lossbench.registry import loss), or say what it is: "
            "lossbench check FILE.py --kind loss",
        )
    return found


def _kind_of(read: Definition) -> str | None:
    """Return the kind of a function or class: declared, or told by its arguments."""
    for kind in CONTRACTS:
        if kind in read.decorators:
            return kind
    if read.is_class:
        return {1: "activation", 2: "loss"}.get(read.methods.get("forward") or 0)
    names = tuple(knob.name for knob in read.knobs)
    return next((kind for start, kind in ARGUMENTS.items() if names[: len(start)] == start), None)


def _callable(entry: Entry[Any], declared: bool) -> Entry[Any]:
    """Return the entry with a formula that can be called as one, and facts that fit it."""
    if entry.builds_module:
        entry = replace(entry, function=_as_function(entry.function), builds_module=False)
    if declared or entry.kind != "loss":
        return entry
    return replace(entry, facts=_loss_facts(entry))


def _as_function(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a module class as a function of its inputs and its knobs."""
    takes = len(inspect.signature(make.forward).parameters) - 1  # type: ignore[attr-defined]

    def one(x: Any, **knobs: Any) -> Any:
        return make(**knobs).to(x.dtype)(x)

    def two(prediction: Any, target: Any, **knobs: Any) -> Any:
        return make(**knobs).to(prediction.dtype)(prediction, target)

    return one if takes == 1 else two


def _loss_facts(entry: Entry[LossFacts]) -> LossFacts:
    """Find out which targets a loss takes that does not say it, and what it returns for them."""
    taken, shapes, reason = [], [], None
    for encoding in entry.facts.encodings:
        alone = replace(entry, facts=replace(entry.facts, target=(encoding,)))
        try:
            inputs = draw_inputs(alone, first_knobs(alone), encoding, torch.float32)
            shapes.append(terms_of(alone, first_knobs(alone), inputs).values.dim())
            taken.append(encoding)
        except Exception as error:  # the user's code says in its own way what it cannot take
            reason = error
    if not taken:
        assert reason is not None
        raise _refused(entry, reason)
    return replace(entry.facts, target=tuple(taken), whole_batch=not any(shapes))


def _refused(entry: Entry[LossFacts], reason: Exception) -> Exception:
    """Return what to say of a loss that fails on targets of every kind."""
    if isinstance(reason, LossbenchError):
        return reason
    file = entry.name.partition(":")[0]
    frames = traceback.extract_tb(reason.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).name == file]
    place = f" in line {inside[-1].lineno} ({inside[-1].line})" if inside else ""
    return UsageError(
        f"{entry.name} fails on targets of every kind{place}: {type(reason).__name__}: {reason}",
        hint="a loss takes a prediction and a target, and knobs that have defaults",
    )


def check_own(own: Own) -> Iterator[Finding]:
    """Hold a user's component to the contracts that apply to it, in order."""
    for name in CONTRACTS[own.entry.kind]:
        if not own.declared and name in DECLARED:
            continue
        finding = check_contract(own.entry, name)
        if finding.verdict == "failed" and name in ADVICE and _is_open(own, name):
            finding = replace(finding, verdict="skipped", words=f"advice: {finding.words}")
        yield finding


def _is_open(own: Own, name: str) -> bool:
    """Tell whether a contract failed only because nothing was said."""
    if name == "bounds":
        return own.entry.kind == "loss" and "Range" not in own.entry.doc.sections
    return name == "documentation" or getattr(own.entry.facts, "derivative", None) is None
