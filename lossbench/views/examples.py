"""A piece of config for every component, to be pasted: its knobs at their defaults."""

import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from lossbench.components.vocabulary import FilePath, Nested
from lossbench.config.annotations import describe, is_list, item_of, mark, members, parts
from lossbench.registry import KINDS, Entry, Knob
from lossbench.views.fits import plural


def example(entry: Entry[Any]) -> str:
    """Return a YAML block that uses the component, with every knob at its default.

    It is empty where YAML cannot say the component at all.
    """
    if getattr(entry.facts, "python_only", None) or entry.kind == "distance":
        return ""
    if entry.kind == "loss" and entry.facts.inputs:
        return ""
    knobs = [(knob, _example_value(entry, knob)) for knob in entry.knobs if _in_yaml(knob)]
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


def _example_value(entry: Entry[Any], knob: Knob) -> str:
    return yaml_text(_some_value(entry, knob) if knob.required else knob.default)


def _some_value(entry: Entry[Any], knob: Knob) -> Any:
    """Return a plausible value for a knob that has no default."""
    nested = mark(knob.annotation, Nested)
    if nested is not None:
        some = _some_component(nested.kind)
        return [some, some] if nested.many else some
    if mark(knob.annotation, FilePath):
        return f"data.{entry.name}"
    named = [kind for kind in KINDS if plural(kind) == knob.name]
    if named:  # a list of components: `layers`
        return [_some_component(named[0])]
    return _some_plain_value(knob.annotation)


def _some_component(kind: str) -> str:
    """Return the first component of a kind that may stand in YAML as a bare name."""
    for entry in KINDS[kind].values():
        bare = not any(knob.required for knob in entry.knobs) and example(entry)
        if bare and not getattr(entry.facts, "noisy", False):
            return entry.name
    return "..."


def _some_plain_value(annotation: Any) -> Any:
    base = parts(members(annotation)[0])[0]
    if typing.get_origin(base) is Literal:
        return typing.get_args(base)[0]
    if is_list(base):
        return [_some_plain_value(item_of(base, 0))]
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
