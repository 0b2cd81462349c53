"""The catalogue in words: what `list` and `show` print, and the same as plain records.

Everything here is read from a component's own declarations, so a new component needs no edit.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from lossbench.components.vocabulary import FITS
from lossbench.config.annotations import describe
from lossbench.errors import UnknownNameError, UsageError
from lossbench.registry import KINDS, Entry, Knob
from lossbench.views.console import NARROW, Column, facts, heading, prose, say, table
from lossbench.views.examples import example, yaml_text
from lossbench.views.fits import (
    direction_words,
    fits,
    interval,
    plural,
    shape_words,
    target_kind_words,
    target_kinds,
    words,
)

KIND_IDEAS: Mapping[str, str] = {
    "activation": "what a unit does with its input",
    "dataset": "what is learned from",
    "distance": "how far apart two things are",
    "layer": "a part of a network",
    "loss": "what training makes small",
    "metric": "what is reported of the predictions",
    "network": "what is trained",
    "optimizer": "how a gradient becomes a step",
    "schedule": "how the learning rate changes on the way",
}


# --- records ----------------------------------------------------------------------------------


def kinds_record() -> dict[str, int]:
    """Return every kind with the number of its components."""
    return {plural(kind): len(registry) for kind, registry in KINDS.items()}


def entry_record(entry: Entry[Any]) -> dict[str, Any]:
    """Return all that is declared of a component, as plain data."""
    sections = {name.lower(): text for name, text in entry.doc.sections.items() if name != "Knobs"}
    return {
        "kind": entry.kind,
        "name": entry.name,
        "idea": entry.doc.summary,
        "details": entry.doc.details,
        **sections,
        "knobs": [knob_record(knob) for knob in entry.knobs],
        "kernel": entry.kernel,
        "aliases": list(entry.aliases),
        "facts": facts_record(entry.facts),
        "fits": fits(entry),
        "example": example(entry),
    }


def knob_record(knob: Knob) -> dict[str, Any]:
    """Return a knob as plain data; one without a default is required."""
    return {
        "name": knob.name,
        "values": describe(knob.annotation),
        "required": knob.required,
        "default": None if knob.required else value_record(knob.default),
        "meaning": knob.doc,
    }


def facts_record(declared: Any) -> dict[str, Any]:
    """Return a kind's declarations as plain data, without the functions among them."""
    return {
        field.name: value_record(value)
        for field in dataclasses.fields(declared)
        if not callable(value := getattr(declared, field.name))
    }


def value_record(value: Any) -> Any:
    """Return a declared value as plain data, functions left out; an open end is "inf" or "-inf"."""
    if isinstance(value, Mapping):
        return {str(key): value_record(item) for key, item in value.items() if not callable(item)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return facts_record(value)
    if isinstance(value, list | tuple):
        return [value_record(item) for item in value if not callable(item)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- on the screen ----------------------------------------------------------------------------


def show_kinds(console: Console) -> None:
    """Print the kinds of components with their numbers."""
    rows = [
        (plural(kind), len(registry), KIND_IDEAS.get(kind, "")) for kind, registry in KINDS.items()
    ]
    columns = (
        Column("kind", style="cyan", keep=True),
        Column("count", "right"),
        Column("what it is", optional=True, least=40),
    )
    table(console, columns, rows)


def matching(kind: str, target: str | None, search: str | None) -> list[Entry[Any]]:
    """Return the components of a kind that go with a kind of target and hold a text.

    Raises UnknownNameError for a kind of target that there is not, UsageError for a kind of
    component that has none.
    """
    entries = list(KINDS[kind].values())
    if target is not None:
        if target not in FITS:
            raise UnknownNameError("kind of target", target, FITS)
        if kind not in ("loss", "metric", "dataset"):
            raise UsageError(
                f"{plural(kind)} have no target", hint="losses, metrics and datasets have"
            )
        entries = [entry for entry in entries if target in _targets(entry)]
    if search is not None:
        entries = [entry for entry in entries if _holds(entry, search)]
    return entries


def _targets(entry: Entry[Any]) -> Sequence[str]:
    declared = entry.facts
    if entry.kind == "loss":
        return target_kinds(declared)
    if entry.kind == "metric":
        return tuple(declared.target)
    return (target_kind_words(declared.target),)


def _holds(entry: Entry[Any], search: str) -> bool:
    """Tell whether every word of a search stands in a component's name, idea or reference."""
    said = (entry.name, *entry.aliases, entry.kernel or "", entry.doc.summary, entry.doc.details,
            *entry.doc.sections.values())  # fmt: skip
    text = " ".join(said).lower().replace("_", " ")
    return all(word in text for word in search.lower().replace("_", " ").split())


def show_found(console: Console, entries: Sequence[Entry[Any]]) -> None:
    """Print what a search has found in all kinds."""
    columns = (
        Column("kind", style="dim"),
        Column("name", style="cyan", keep=True),
        Column("idea", least=40),
    )
    rows = [(entry.kind, entry.name, entry.doc.summary.removesuffix(".")) for entry in entries]
    table(console, columns, rows)


def show_list(console: Console, kind: str, chosen: Sequence[Entry[Any]] | None = None) -> None:
    """Print components of a kind, all unless some are chosen: name, idea, torch's function."""
    entries = list(KINDS[kind].values()) if chosen is None else chosen
    columns = [Column("name", style="cyan", keep=True), Column("idea", least=40)]
    more = _COLUMNS.get(kind, {})
    columns += [Column(title, optional=True, least=16) for title in more]
    columns.append(Column("kernel", style="dim", optional=True, least=24))
    rows = [
        [
            entry.name,
            entry.doc.summary.removesuffix("."),
            *(cell(entry.facts) for cell in more.values()),
            kernel_name(entry.kernel),
        ]
        for entry in entries
    ]
    table(console, columns, rows)


_COLUMNS: Mapping[str, Mapping[str, Callable[[Any], str]]] = {
    "loss": {
        "target": lambda declared: ", ".join(target_kinds(declared) or declared.inputs),
        "prediction": lambda declared: words(declared.prediction),
    },
    "activation": {"values": lambda declared: interval(declared.range)},
    "optimizer": {"acts on": lambda declared: declared.scope},
    "schedule": {"counts": lambda declared: f"{declared.unit}s"},
    "dataset": {
        "target": lambda declared: target_kind_words(declared.target),
        "inputs": lambda declared: shape_words(declared.inputs),
    },
    "metric": {
        "target": lambda declared: ", ".join(declared.target),
        "better": lambda declared: direction_words(declared.lower_is_better),
    },
    "network": {"inputs": lambda declared: declared.inputs},
    "layer": {"dimensions": lambda declared: ", ".join(map(str, declared.dimensions)) or "any"},
}


def show_entry(console: Console, entry: Entry[Any]) -> None:
    """Print a component's page: the idea, its formula, its knobs, what it fits, an example."""
    heading(console, f"{entry.name} ({entry.kind})")
    prose(console, entry.doc.summary)
    if entry.doc.details:
        say(console, "")
        prose(console, entry.doc.details)
    say(console, "")
    sections = {name.lower(): text for name, text in entry.doc.sections.items() if name != "Knobs"}
    also = [*entry.aliases, *([entry.kernel] if entry.kernel else [])]
    facts(console, {**sections, **fits(entry), "also called": ", ".join(also) or "nothing else"})
    if entry.knobs:
        say(console, "")
        _show_knobs(console, entry.knobs)
    block = example(entry)
    if block:
        say(console, "")
        heading(console, "In a config")
        say(console, block)


def _show_knobs(console: Console, knobs: Sequence[Knob]) -> None:
    if not console.is_terminal or console.width >= NARROW:
        columns = (
            Column("knob", style="cyan", keep=True), Column("default"),
            Column("values", least=16), Column("meaning"),
        )  # fmt: skip
        table(console, columns, [_knob_row(knob) for knob in knobs])
        return
    for knob in knobs:
        name, default, values, meaning = _knob_row(knob)
        say(console, f"{name}: {default}", "cyan")
        prose(console, f"{values}: {meaning}".rstrip(": "))


def _knob_row(knob: Knob) -> tuple[str, str, str, str]:
    default = "required" if knob.required else yaml_text(value_record(knob.default))
    return knob.name, default, describe(knob.annotation), knob.doc


def kernel_name(kernel: str | None) -> str:
    """Return torch's name as people write it: F.mse_loss, nn.PReLU, optim.Adam."""
    if kernel is None:
        return "formula only"
    return kernel.removeprefix("torch.").replace("nn.functional.", "F.")
