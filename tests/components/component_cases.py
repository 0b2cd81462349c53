"""Knobs, inputs and targets for any activation or loss, made from what it declares.

The tests run over the registry with these, so that a component that is added tomorrow is held to
the same contract without an edit.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from lossbench.components.declarations import ActivationFacts, LossFacts
from lossbench.components.vocabulary import Encoding, PredictionKind
from lossbench.errors import UsageError
from lossbench.kernels import is_vector
from lossbench.registry import REQUIRED, Entry, Knob

CLASSES = 4  # even, so that glu can halve it
SAMPLES = 6
FLOATS = (0.25, 1.7, 0.0, 0.5)
LISTS = {CLASSES: (0.5, 2.0, 1.25, 0.75)}
TOLERANCE = {
    torch.float32: {"rtol": 2e-5, "atol": 2e-6},
    # torch's kernels keep some constants in float32 even for float64 inputs (hardsigmoid's 1 / 6,
    # celu's 1 / alpha); the digits beyond are held by finite differences and identities.
    torch.float64: {"rtol": 2e-7, "atol": 1e-9},
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- knobs ------------------------------------------------------------------------------------


def _constraints(annotation: Any) -> tuple[Any, Any]:
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _allowed(value: float, metadata: Any) -> bool:
    for rule in metadata:
        if (
            (hasattr(rule, "gt") and not value > rule.gt)
            or (hasattr(rule, "ge") and not value >= rule.ge)
            or (hasattr(rule, "lt") and not value < rule.lt)
            or (hasattr(rule, "le") and not value <= rule.le)
        ):
            return False
    return True


def is_float(knob: Knob) -> bool:
    """Tell whether the knob may differ between the trials of one group."""
    return _constraints(knob.annotation)[0] is float


def values_of(knob: Knob) -> list[Any]:
    """Return valid values of a knob, the default first."""
    base, metadata = _constraints(knob.annotation)
    first = [] if knob.default is REQUIRED else [knob.default]
    if is_vector(knob):
        return [*first, LISTS[CLASSES]]
    if get_origin(base) is Literal:
        more: list[Any] = list(get_args(base))
    elif base is bool:
        more = [False, True]
    elif knob.name == "eps":
        more = [1e-4]  # by its meaning small: below every input of these tests
    elif base is float:
        more = [value for value in FLOATS if _allowed(value, metadata)]
    elif base is int:
        more = [value for value in (1, 0) if _allowed(value, metadata)]
    else:
        raise AssertionError(f"teach the tests what a {knob.annotation} is ({knob.name})")
    return [*first, *(value for value in more if value not in first)]


def consistent(entry: Entry[Any], knobs: Mapping[str, Any]) -> bool:
    try:
        if entry.facts.check is not None:
            entry.facts.check(**knobs)
    except UsageError:
        return False
    return True


def default_knobs(entry: Entry[Any]) -> dict[str, Any]:
    """Return the defaults, required knobs at their first valid value."""
    return {knob.name: values_of(knob)[0] for knob in entry.knobs}


def each_knob_varied(entry: Entry[Any]) -> Iterator[dict[str, Any]]:
    """Give the defaults, then every knob at each of its values, one at a time."""
    base = default_knobs(entry)
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


def vectors_as_tensors(knobs: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Turn lists into the tensors that a formula receives."""
    return {
        name: torch.tensor(value, dtype=dtype) if isinstance(value, tuple) else value
        for name, value in knobs.items()
    }


# --- activations ------------------------------------------------------------------------------


def activation_inputs(
    entry: Entry[ActivationFacts], knobs: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return [SAMPLES, CLASSES] inputs of every sort: usual, large, tiny, constant, at kinks."""
    shape = (SAMPLES, CLASSES)
    random = torch.randn(shape, generator=generator(), dtype=dtype)
    special = [0.0, -0.0, 20.0, -20.0, 88.0, -88.0, 1e4, -1e4, 1.0, -1.0, 3.0, -3.0, 6.0]
    kinks = entry.facts.kinks_with(knobs)
    points = torch.tensor([*kinks, *special], dtype=dtype)
    rows = -(-len(points) // CLASSES)
    boundary = torch.zeros(rows * CLASSES, dtype=dtype)
    boundary[: len(points)] = points
    return {
        "random": 3 * random,
        "large": 1e4 * random.clamp(-1, 1),
        "tiny": 1e-30 * random,
        "constant": torch.full(shape, 0.75, dtype=dtype),
        "boundary": boundary.reshape(rows, CLASSES),
    }


def learned(
    entry: Entry[ActivationFacts], knobs: Mapping[str, Any], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return a value for every learned parameter, shaped to broadcast against [N, CLASSES]."""
    result = {}
    for name, declared in entry.facts.parameters.items():
        per = knobs.get(declared.per, declared.per)
        size = (CLASSES,) if per == "channel" else ()
        result[name] = torch.rand(size, generator=generator(3), dtype=dtype)
    return result


# --- losses -----------------------------------------------------------------------------------


def link(raw: Tensor, kind: PredictionKind) -> Tensor:
    """Turn raw outputs into what a loss wants from the network."""
    if kind == "log_probabilities":
        return raw.log_softmax(1)
    if kind == "probabilities":
        return raw.sigmoid()
    if kind == "positive":
        return raw.abs().clamp(min=1e-3)
    return raw


def targets(
    encoding: Encoding, shape: tuple[int, ...], dtype: torch.dtype, knobs: Mapping[str, Any]
) -> Tensor:
    """Return targets of an encoding for predictions [N, C, ...]."""
    source = generator(7)
    if encoding == "index":
        labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=source)
        if "ignore_index" in knobs:
            labels[0] = knobs["ignore_index"]
        return labels
    if encoding == "labels":
        order = torch.rand(shape, generator=source).argsort(1)
        ends = torch.arange(shape[0]) % (shape[1] + 1)  # none, some and all labels
        return torch.where(torch.arange(shape[1]) == ends.unsqueeze(1), -1, order)
    uniform = torch.rand(shape, generator=source, dtype=dtype)
    if encoding == "zero_one":
        return (uniform > 0.5).to(dtype)
    if encoding == "plus_minus":
        return (uniform > 0.5).to(dtype) * 2 - 1
    if encoding == "distribution":
        return (4 * uniform).softmax(1)
    if encoding == "count":
        return (8 * uniform).floor()
    return 2 * uniform - 1


def loss_inputs(
    entry: Entry[LossFacts],
    knobs: Mapping[str, Any],
    encoding: Encoding,
    dtype: torch.dtype,
    shape: tuple[int, ...] = (SAMPLES, CLASSES),
) -> dict[str, dict[str, Tensor]]:
    """Return predictions, heads and targets of every sort, by the arguments' names."""
    facts = entry.facts
    random = torch.randn(shape, generator=generator(), dtype=dtype)
    target = targets(encoding, shape, dtype, knobs)
    raw = {
        "random": 2 * random,
        "large": min(facts.largest, 1e4) * random.clamp(-1, 1),
        "tiny": 1e-30 * random,
        "constant": torch.full(shape, 0.75, dtype=dtype),
        # halves and quarters, so that residuals and margins lie exactly on a kink
        "boundary": (4 * random).round() / 4,
    }
    if encoding == "real":
        target = (4 * target).round() / 4
    kind = facts.prediction_with(knobs)
    return {
        sort: {
            "prediction": link(value, kind),
            "target": target,
            **{name: link(value.flip(0), head) for name, head in facts.heads.items()},
        }
        for sort, value in raw.items()
    }
