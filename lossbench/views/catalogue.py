"""The catalogue in words: what `list` and `show` print, and the same as plain records.

Everything here is read from a component's own declarations, so a new component needs no edit.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console

from lossbench.components.vocabulary import FITS, FilePath, Nested, Target
from lossbench.config.annotations import describe, is_list, item_of, mark, members, parts
from lossbench.registry import KINDS, Entry, Knob
from lossbench.views.console import NARROW, Column, facts, heading, prose, say, table

KIND_IDEAS: Mapping[str, str] = {
    "activation": "what a unit does with its input",
    "dataset": "what is learned from",
    "layer": "a part of a network",
    "loss": "what training makes small",
    "metric": "what is reported of the predictions",
    "network": "what is trained",
    "optimizer": "how a gradient becomes a step",
    "schedule": "how the learning rate changes on the way",
}


def plural(kind: str) -> str:
    """Return the name of a kind's folder: losses, activations."""
    return KINDS[kind].package.rpartition(".")[2]


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
    """Return a declared value as plain data; a range's open end is "inf" or "-inf"."""
    if isinstance(value, Mapping):
        return {str(key): value_record(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return facts_record(value)
    if isinstance(value, list | tuple):
        return [value_record(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- what goes with what ----------------------------------------------------------------------


def fits(entry: Entry[Any]) -> dict[str, str]:
    """Say in words what the component can be used with, from its declarations."""
    return _FITS.get(entry.kind, lambda _: {})(entry.facts)


def target_kinds(declared: Any) -> list[str]:
    """Return the kinds of target that a loss can be trained on, through its encodings."""
    encodings = set(declared.encodings)
    return [kind for kind, possible in FITS.items() if encodings & set(possible)]


def _target_kind(target: Target | str | None) -> str:
    if target is None:
        return "as the data say"
    return target if isinstance(target, str) else target.kind


def _loss_fits(declared: Any) -> dict[str, str]:
    kinds = target_kinds(declared)
    said = {
        "targets": f"{_listed(kinds)} (as {_listed(declared.encodings)})",
        "data sets": _datasets_with(kinds),
        "prediction": _words(declared.prediction),
    }
    if declared.heads:
        heads = [f"{name} ({_words(kind)})" for name, kind in declared.heads.items()]
        said["more outputs"] = _listed(heads)
    if declared.whole_batch:
        said["batch"] = "one value for the whole batch: cannot be accumulated"
    return said


def _datasets_with(kinds: Sequence[str]) -> str:
    names = [
        entry.name
        for entry in KINDS["dataset"].values()
        if entry.facts.target is None or _target_kind(entry.facts.target) in kinds
    ]
    return ", ".join(names) or "none yet"


def _dataset_fits(declared: Any) -> dict[str, str]:
    target = declared.target
    if target is None:
        return {"target": "as the data say"}
    kind = _target_kind(target)
    said = kind
    if isinstance(target, Target):
        unit = {"class": "classes", "multilabel": "labels"}.get(kind, "values")
        said = f"{kind}, {target.size} {unit if target.size != 1 else unit.removesuffix('s')}"
    losses = [e.name for e in KINDS["loss"].values() if kind in target_kinds(e.facts)]
    return {"target": said, "inputs": _shape(declared.inputs), "losses": ", ".join(losses)}


def _activation_fits(declared: Any) -> dict[str, str]:
    said = {"values": interval(declared.range)}
    if declared.parameters:
        said["learned"] = _listed(
            [f"{n} (one per {p.per})" for n, p in declared.parameters.items()]
        )
    if not declared.elementwise:
        said["acts on"] = "a dimension, not on every element by itself"
    if declared.kernel_only:
        said["kernel only"] = declared.kernel_only
    return said


def _optimizer_fits(declared: Any) -> dict[str, str]:
    scope = {
        "element": "every weight by itself",
        "tensor": "one parameter tensor at a time",
        "model": "all parameters together",
    }
    said = {"acts on": scope[declared.scope]}
    if declared.decoupled:
        said["weight decay"] = "decoupled: shrinks the weights directly"
    if declared.closure:
        said["step"] = "asks for the loss several times"
    return said


def _schedule_fits(declared: Any) -> dict[str, str]:
    said = {"counts": f"{declared.unit}s"}
    if declared.total:
        said["length"] = "depends on the length of the run: it cannot be prolonged later"
    return said


def _metric_fits(declared: Any) -> dict[str, str]:
    return {
        "targets": _listed(declared.target),
        "prediction": declared.prediction,
        "better": "lower" if declared.lower_is_better else "higher",
    }


def _network_fits(declared: Any) -> dict[str, str]:
    return {"inputs": "vectors and images" if declared.inputs == "any" else f"{declared.inputs}s"}


def _layer_fits(declared: Any) -> dict[str, str]:
    if not declared.dimensions:
        return {"inputs": "of any shape"}
    return {"inputs": f"with {_listed([str(n) for n in declared.dimensions])} dimensions"}


_FITS: Mapping[str, Callable[[Any], dict[str, str]]] = {
    "loss": _loss_fits,
    "dataset": _dataset_fits,
    "activation": _activation_fits,
    "optimizer": _optimizer_fits,
    "schedule": _schedule_fits,
    "metric": _metric_fits,
    "network": _network_fits,
    "layer": _layer_fits,
}


# --- an example to paste ----------------------------------------------------------------------


def example(entry: Entry[Any]) -> str:
    """Return a YAML block that uses the component, with every knob at its default."""
    knobs = [(knob, _example_value(knob)) for knob in entry.knobs if _in_yaml(knob)]
    if entry.kind == "layer":
        block = ", ".join(f"{knob.name}: {value}" for knob, value in knobs)
        item = f"{entry.name}: {{{block}}}" if block else entry.name
        return f"network:\n  name: layers\n  layers:\n    - {item}"
    if entry.kind == "metric":
        lines = [f"- name: {entry.name}", *(f"  {knob.name}: {value}" for knob, value in knobs)]
        return "\n".join(["metrics:", *(f"  {line}" for line in lines)])
    if not knobs:
        return f"{entry.kind}: {entry.name}"
    width = max(len(f"{knob.name}: {value}") for knob, value in knobs)
    lines = [f"{entry.kind}:", f"  name: {entry.name}"]
    for knob, value in knobs:
        note = f"  # {describe(knob.annotation)}"
        lines.append(f"  {f'{knob.name}: {value}'.ljust(width)}{note}")
    return "\n".join(lines)


def _in_yaml(knob: Knob) -> bool:
    return not any((typing.get_origin(m) or m) is Callable for m in members(knob.annotation))


def _example_value(knob: Knob) -> str:
    return yaml_text(_some_value(knob.annotation) if knob.required else knob.default)


def _some_value(annotation: Any) -> Any:
    """Return a plausible value for a knob that has no default."""
    nested = mark(annotation, Nested)
    if nested is not None:
        some = next(iter(KINDS[nested.kind]), nested.kind)
        return [some] if nested.many else some
    if mark(annotation, FilePath):
        return "data.csv"
    base = parts(members(annotation)[0])[0]
    if typing.get_origin(base) is Literal:
        return typing.get_args(base)[0]
    if is_list(base):
        return [_some_value(item_of(base, 0))]
    return {float: 1.0, int: 1, bool: False}.get(base, "...")


def yaml_text(value: Any) -> str:
    """Return a value as a config would say it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(yaml_text(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {yaml_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and (not value or not value.replace("_", "").isalnum()):
        return f'"{value}"'
    return str(value)


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


def show_list(console: Console, kind: str) -> None:
    """Print the components of a kind: name, idea, what it goes with, torch's function."""
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
        for entry in KINDS[kind].values()
    ]
    table(console, columns, rows)


_COLUMNS: Mapping[str, Mapping[str, Callable[[Any], str]]] = {
    "loss": {
        "target": lambda declared: ", ".join(target_kinds(declared)),
        "prediction": lambda declared: _words(declared.prediction),
    },
    "activation": {"values": lambda declared: interval(declared.range)},
    "optimizer": {"acts on": lambda declared: declared.scope},
    "schedule": {"counts": lambda declared: f"{declared.unit}s"},
    "dataset": {
        "target": lambda declared: _target_kind(declared.target),
        "inputs": lambda declared: _shape(declared.inputs),
    },
    "metric": {
        "target": lambda declared: ", ".join(declared.target),
        "better": lambda declared: "lower" if declared.lower_is_better else "higher",
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
    say(console, "")
    heading(console, "In a config")
    say(console, example(entry))


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


def interval(limits: tuple[float, float]) -> str:
    """Return a range of values: any number, at least 0, -1 to 1."""
    low, high = limits
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"{low:.4g} and above"
    if math.isinf(low):
        return f"{high:.4g} and below"
    return f"{low:.4g} to {high:.4g}"


def kernel_name(kernel: str | None) -> str:
    """Return torch's name as people write it: F.mse_loss, nn.PReLU, optim.Adam."""
    if kernel is None:
        return "formula only"
    return kernel.removeprefix("torch.").replace("nn.functional.", "F.")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "as the data say" if shape is None else " x ".join(map(str, shape)) or "1"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    names = [_words(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
