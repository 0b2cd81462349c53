"""Plain data (JSON, the command line) as a component's knobs and tensors.

Names are taken as people write them: `epsilon` for `eps`, `y_true` for the target. What was given
and cannot be placed is refused with the names that are valid.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lossbench.components.vocabulary import Applied, Nested
from lossbench.config.annotations import mark, show
from lossbench.errors import UnknownNameError, UsageError, listed
from lossbench.evaluate.names import BOTH, MEMBERS, SPOKEN, TURNED, find_input, find_name
from lossbench.functional import check_knobs
from lossbench.kernels import fill, is_matrix, is_vector
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, registry_of

FIRST = ("input", "x", "prediction", "predictions", "y_pred", "logits", "probs", "scores", "output",
    "query",
)  # fmt: skip
DEEPEST = 16
"""Dimensions that numbers may have."""

SECOND = ("target", "targets", "y", "y_true", "labels", "label")
"""What people call a prediction, and what they call a target."""


def find_knob(entry: Entry[Any], name: str) -> str | None:
    """Return the name of the knob that a user means, none where there is none."""
    return find_name(name, [knob.name for knob in entry.knobs], entry.name)


def knobs_from(entry: Entry[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every knob, those given checked against what they may be.

    Raises UnknownNameError for a name that is no knob, UsageError for a value outside its range.
    """
    knobs: dict[str, Any] = {}
    for name, value in _one_by_one(entry, given).items():
        found = find_knob(entry, name)
        if found is None:
            raise UnknownNameError(f"knob of {entry.name}", name, (k.name for k in entry.knobs))
        if found in knobs:
            raise UsageError(f"{entry.name}: {found} is given twice, once as {name}")
        knobs[found] = _value(entry, found, value)
    plain = {k: v for k, v in knobs.items() if mark(entry.knob(k).annotation, Nested) is None}
    whole = {**{k.name: k.default for k in entry.knobs}, **plain}
    check_knobs(entry, whole)
    try:
        filled = fill(entry, knobs)
    except TypeError:  # optimizers and schedules check their knobs as one mapping
        filled = {**entry.defaults(), **knobs}
    return {name: _nested(entry, name, value) for name, value in filled.items()}


def _one_by_one(entry: Entry[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given by single knobs: two that share a number, and tuples put together."""
    known = {knob.name: knob.default for knob in entry.knobs}
    single: dict[str, Any] = {}
    turned = TURNED.get(entry.name, {})
    for name, value in given.items():
        if name in turned and isinstance(value, int | float) and value != 0:
            other, turn = turned[name]
            single[other] = turn(value)
            continue
        tuple_name, index = MEMBERS.get(name, ("", 0))
        if name in known or (name not in BOTH and name not in MEMBERS):
            single[name] = value
        elif name in BOTH and set(BOTH[name]) <= set(known):
            single |= dict.fromkeys(BOTH[name], value)
        elif isinstance(known.get(tuple_name), tuple) and index < len(known[tuple_name]):
            members = list(single.get(tuple_name, given.get(tuple_name, known[tuple_name])))
            members[index] = value
            single[tuple_name] = tuple(members)
        else:
            single[name] = value
    return single


def _value(entry: Entry[Any], name: str, value: Any) -> Any:
    """Return a value as the knob's annotation wants it: tuples for lists, floats for 1."""
    if isinstance(value, int):
        value = SPOKEN.get(name, {}).get(value, value)
    if isinstance(value, list):
        value = tuple(_value(entry, name, item) for item in value)
        knob = entry.knob(name)
        nested = any(isinstance(item, tuple) for item in value)
        if nested and is_vector(knob) and not is_matrix(knob):
            raise UsageError(f"{entry.name}: {name} is a list of numbers, got {show(value)}")
    return value


def _nested(entry: Entry[Any], name: str, value: Any) -> Any:
    """Return a component that is a knob: a bare name, or a mapping with its name and knobs."""
    marked = mark(entry.knob(name).annotation, Nested)
    if marked is None or value is None or isinstance(value, Applied):
        return value
    if isinstance(value, tuple | list):
        return tuple(_one(marked.kind, item) for item in value)
    return _one(marked.kind, value)


def _one(kind: str, value: Any) -> Any:
    if isinstance(value, Applied):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not ({"name", "component"} & set(value)):
        raise UsageError(f"a {kind} is given by its name, or as name and knobs; got {show(value)}")
    given = dict(value)
    name = given.pop("name", None) or given.pop("component", None)
    params = given.pop("params", None) or {}
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise UsageError(f"a {kind} is given by its name, or as name and knobs; got {show(value)}")
    inner = registry_of(kind).find(name)
    knobs = knobs_from(inner, {**params, **given})
    return Applied(inner.name, inner.function, inner.facts, knobs, None)


def number_tensor(value: Any, label: str) -> Tensor:
    """Return nested lists of numbers as a tensor: whole numbers int64, others float64.

    Raises UsageError for anything else, for ragged lists, and for NaN.
    """
    if isinstance(value, torch.Tensor):
        tensor = value
    else:
        try:
            tensor = torch.tensor(value, dtype=None if _whole(value) else torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"{label} is no array of numbers: {_first_line(error)}",
                hint="nested lists of numbers, all rows of one length: [[1, 2], [3, 4]]",
            ) from None
    if tensor.dim() > DEEPEST:
        raise UsageError(f"{label} is {tensor.dim()} lists deep: no formula takes as many")
    if not tensor.numel():
        raise UsageError(f"{label} holds no numbers")
    if tensor.is_floating_point() and bool(tensor.isnan().any()):
        place = [int(i) for i in tensor.isnan().nonzero()[0]]
        raise UsageError(f"{label} holds a value that is not a number, at {place}")
    return tensor


def _whole(value: Any) -> bool:
    """Tell whether there are only whole numbers in nested lists (true and false are 1 and 0)."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_whole(item) for item in value)
    return isinstance(value, int)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def floats(tensor: Tensor) -> Tensor:
    """Return a tensor of floats, of float64 where it was of whole numbers."""
    return tensor if tensor.is_floating_point() else tensor.double()


def place_inputs(
    names: Iterable[str], given: Mapping[str, Any], more: Callable[[str], str | None], label: str
) -> dict[str, Any]:
    """Sort what was given to the names that a component takes.

    A name is taken exactly, by what people call it, and else in order. `more` says which further
    argument (a head, a learned parameter, a state) a name stands for, if any.
    Raises UsageError for what is too much, saying what is taken.
    """
    names = list(names)
    placed: dict[str, Any] = {}
    left: dict[str, Any] = {}
    for name, value in given.items():
        target = name if name in names else more(name)
        if target is None and (meant := find_input(name, names)) not in (None, *given):
            target = meant
        if target is None and names and name in FIRST and names[0] not in given:
            target = names[0]
        if target is None and len(names) > 1 and name in SECOND and names[1] not in given:
            target = "target" if "target" in names else names[1]
        if target is None or target in placed:
            left[name] = value
        else:
            placed[target] = value
    free = [name for name in names if name not in placed]
    if len(left) > len(free):
        raise UsageError(
            f"{label} takes {listed(names)}, got {listed(given)}",
            hint=f"not used: {', '.join(list(left)[len(free) :])}",
        )
    return placed | dict(zip(free, left.values(), strict=False))


def absent(names: list[str]) -> str:
    """Return 'a is missing', or 'a and b are missing'."""
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} missing"
