"""Values of knobs to try a component with, made from their annotations alone."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from lossbench.components.samples import CLASSES
from lossbench.config.annotations import members
from lossbench.errors import UsageError
from lossbench.kernels import is_matrix, is_vector
from lossbench.lazy import torch
from lossbench.registry import REQUIRED, Entry, Knob

FLOATS = (0.25, 1.7, 0.0, 0.5, 3.0)
"""Numbers to try a knob with: those that its range allows."""

VECTOR = (0.5, 2.0, 1.25, 0.75)
"""One number for each of the classes that are drawn."""

CUTOFFS = (1, 2)
"""Whole numbers in order, below the number of the classes that are drawn."""

MATRIX = ((0.7, 0.2, 0.1, 0.0), (0.0, 0.8, 0.1, 0.1), (0.3, 0.0, 0.7, 0.0), (0.0, 0.0, 0.0, 1.0))
"""One row of shares for each of the classes that are drawn."""


def is_float(knob: Knob) -> bool:
    """Tell whether the knob may differ between the trials of one group."""
    return any(_parts(member)[0] is float for member in members(knob.annotation))


def floats_of(knob: Knob) -> list[float]:
    """Return valid numbers for a knob that may differ between trials."""
    return [float(value) for value in values_of(knob) if isinstance(value, int | float)]


def values_of(knob: Knob) -> list[Any]:
    """Return valid values of a knob, the default first.

    Only the default of what cannot be guessed from its annotation (a function, a file, a matrix).
    """
    found = [] if knob.default is REQUIRED else [knob.default]
    for member in members(knob.annotation):
        found += [value for value in _guesses(knob, *_parts(member)) if value not in found]
    return found


def _guesses(knob: Knob, base: Any, rules: Any) -> list[Any]:
    if base is type(None):
        return [None]
    if get_origin(base) is tuple and is_vector(knob):
        return [MATRIX[:CLASSES] if is_matrix(knob) else VECTOR[:CLASSES]]
    if get_origin(base) is tuple and int in get_args(get_args(base)[0]):
        return [CUTOFFS]
    if get_origin(base) is Literal:
        return list(get_args(base))
    if base is bool:
        return [False, True]
    if base is float:
        # By its meaning eps is small: below every input that is drawn.
        numbers = (1e-4,) if knob.name == "eps" else FLOATS
        return [value for value in numbers if _allowed(value, rules)]
    if base is int:
        return [value for value in (1, 0, 2) if _allowed(value, rules)][:2]
    return []


def _parts(annotation: Any) -> tuple[Any, Any]:
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _allowed(value: float, rules: Any) -> bool:
    tests = {
        "gt": lambda bound: value > bound,
        "ge": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "le": lambda bound: value <= bound,
    }
    return all(
        test(getattr(rule, name))
        for rule in rules
        for name, test in tests.items()
        if hasattr(rule, name)
    )


def consistent(entry: Entry[Any], knobs: Mapping[str, Any]) -> bool:
    """Tell whether knobs that are each valid go together."""
    try:
        if entry.facts.check is not None:
            entry.facts.check(**knobs)
    except UsageError:
        return False
    return True


def first_knobs(entry: Entry[Any]) -> dict[str, Any]:
    """Return the defaults, required knobs at their first valid value."""
    return {knob.name: values_of(knob)[0] for knob in entry.knobs}


def each_knob_varied(entry: Entry[Any]) -> Iterator[dict[str, Any]]:
    """Give the defaults, then every knob at each of its values, one at a time."""
    base = first_knobs(entry)
    yield base
    for knob in entry.knobs:
        for value in values_of(knob)[1:]:
            if consistent(entry, {**base, knob.name: value}):
                yield {**base, knob.name: value}


def all_combinations(entry: Entry[Any]) -> Iterator[dict[str, Any]]:
    """Give every combination of two values of every knob."""
    choices = [[(knob.name, value) for value in values_of(knob)[:2]] for knob in entry.knobs]
    for chosen in itertools.product(*choices):
        if consistent(entry, dict(chosen)):
            yield dict(chosen)


def with_tensors(entry: Entry[Any], knobs: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return the knobs as a formula receives them: lists of any length are tensors."""
    vectors = {knob.name for knob in entry.knobs if is_vector(knob)}
    return {
        name: torch.tensor(value, dtype=dtype) if name in vectors and value is not None else value
        for name, value in knobs.items()
    }


def said(knobs: Mapping[str, Any], entry: Entry[Any]) -> str:
    """Say in words with which knobs something was tried: those that are not at their default."""
    changed = [
        f"{knob.name} = {knobs[knob.name]}"
        for knob in entry.knobs
        if knob.name in knobs and knobs[knob.name] is not knob.default
    ]
    return f" with {', '.join(changed)}" if changed else ""
