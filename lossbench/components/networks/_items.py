"""A list of layers as a user writes it, read without torch.

An item is a bare name, or one name with a value (`linear: 32`) or with knobs (`{p: 0.2}`), or a
block with `name`. What is wrong is collected, so that the user sees all of it at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lossbench.errors import Place, Problem, UnknownNameError, UsageError, suggest
from lossbench.lazy import LazyModule
from lossbench.registry import Entry, Knob, activation, layer

pydantic = LazyModule("pydantic")

THE_ACTIVATION = "activation"
"""The item that stands for the activation that the config chose."""

Role = Literal["layer", "activation", "the activation"]


@dataclass(frozen=True)
class Item:
    """One layer of the list: its number, counted from 1, its registered name and its knobs."""

    number: int
    name: str
    role: Role
    knobs: Mapping[str, Any]

    def __str__(self) -> str:
        """Say which item it is."""
        return f"item {self.number} of layers ({self.name})"


def check_layers(items: Sequence[Any]) -> list[Problem]:
    """Return all that is wrong with a list of layers, as far as that shows before data arrive."""
    return read_items(items)[1]


def read_items(items: Sequence[Any]) -> tuple[list[Item], list[Problem]]:
    """Read the list; return the items that can be read, and a problem for each that cannot."""
    found: list[Item] = []
    problems: list[Problem] = []
    for number, raw in enumerate(items, start=1):
        try:
            found.append(_read(number, raw))
        except UsageError as error:
            message = f"item {number} of layers: {error.message}"
            problems.append(Problem(Place(), message, error.hint))
    return found, problems


def _read(number: int, raw: Any) -> Item:
    """Read one item, or raise UsageError."""
    spelling, value = _name_and_value(raw)
    if spelling == THE_ACTIVATION:
        if value is None or value == {}:
            return Item(number, THE_ACTIVATION, "the activation", {})
        spelling, value = _name_and_value(value)
        entry = activation.find(spelling)
        return Item(number, entry.name, "activation", _knobs(entry, value))
    role, entry = _find(spelling)
    return Item(number, entry.name, role, _knobs(entry, value))


def _name_and_value(raw: Any) -> tuple[str, Any]:
    """Split an item into a name, and its value: knobs, the value of the first knob, or None."""
    if isinstance(raw, str):
        return raw, None
    if isinstance(raw, Mapping) and all(isinstance(key, str) for key in raw):
        if isinstance(raw.get("name"), str):
            return raw["name"], {key: value for key, value in raw.items() if key != "name"}
        if len(raw) == 1:
            return next(iter(raw.items()))
        if raw:
            names = ", ".join(raw)
            raise UsageError(
                f"it names {len(raw)} things at once: {names}",
                hint="one layer is one item of the list: begin a line with '- ' for each",
            )
    raise UsageError(
        f"{raw!r} is no layer",
        hint="write a name (batch_norm), a name with a value (linear: 32), or one with knobs "
        "(dropout: {p: 0.2})",
    )


def _find(spelling: str) -> tuple[Role, Entry[Any]]:
    """Look a name up among the layers, then among the activations."""
    try:
        return "layer", layer.find(spelling)
    except UnknownNameError:
        pass
    try:
        return "activation", activation.find(spelling)
    except UnknownNameError:
        raise UnknownNameError("layer", spelling, [THE_ACTIVATION, *layer, *activation]) from None


def _knobs(entry: Entry[Any], value: Any) -> dict[str, Any]:
    """Turn the value of an item into checked knobs."""
    given = _given(entry, value)
    for name in given:
        if name not in (knob.name for knob in entry.knobs):
            raise UsageError(
                f"{entry.name} has no knob '{name}'",
                hint=suggest(name, (knob.name for knob in entry.knobs)),
            )
    missing = [knob.name for knob in entry.knobs if knob.required and knob.name not in given]
    if missing:
        raise UsageError(
            f"{entry.name} needs {' and '.join(missing)}",
            hint=f"write {entry.name}: {{{missing[0]}: ...}}",
        )
    knobs = {name: _checked(entry, entry.knob(name), value) for name, value in given.items()}
    check = getattr(entry.facts, "check", None)
    if check is not None:
        check(**{**entry.defaults(), **knobs})
    return knobs


def _given(entry: Entry[Any], value: Any) -> dict[str, Any]:
    """Return the knobs that were given, the bare value under the name of the first one."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if not entry.knobs:
        raise UsageError(f"{entry.name} takes no value, and {value!r} is given")
    return {entry.knobs[0].name: value}


def _checked(entry: Entry[Any], knob: Knob, value: Any) -> Any:
    """Hold a value against the annotation of its knob, by the rules of the rest of the config."""
    config = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
    adapter = pydantic.TypeAdapter(knob.annotation, config=config)
    try:
        return adapter.validate_python(_tuples(value))
    except pydantic.ValidationError as error:
        reasons = dict.fromkeys(reason["msg"] for reason in error.errors())
        wanted = " or ".join(reason.removeprefix("Input should be ") for reason in reasons)
        message = f"{entry.name}: {knob.name} should be {wanted}, and {value!r} is given"
        raise UsageError(message) from None


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, which is what knobs are."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
