"""What a loss is tried on, made from what it declares, and how it is called there."""

from collections.abc import Iterator, Mapping
from typing import Any

from lossbench.checks.knobs import each_knob_varied
from lossbench.components.declarations import LossFacts
from lossbench.components.samples import CLASSES, ROWS, Draw, Sort
from lossbench.components.vocabulary import Terms
from lossbench.kernels import first_state, loss_function
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry

Loss = Entry[LossFacts]
Inputs = dict[str, Any]

SHAPES = ((ROWS, CLASSES), (3, CLASSES, 2, 2))
"""Shapes of predictions on which sums and means are held against torch's."""


DENSE = (3, CLASSES, 3, 3)
"""The shape of predictions for a loss that has one for each pixel."""


def encodings_of(entry: Loss) -> tuple[str | None, ...]:
    """Return the encodings of the target to try; none where a loss declares its own inputs."""
    return (None,) if entry.facts.inputs or entry.facts.sample else entry.facts.encodings or (None,)


def draw_inputs(
    entry: Loss,
    knobs: Mapping[str, Any],
    encoding: str | None,
    dtype: Any,
    sort: Sort = "random",
    shape: tuple[int, ...] = SHAPES[0],
) -> Inputs:
    """Return inputs of a sort, by the names of the arguments: heads and own parameters included.

    The parts of a list of tensors have names of their own (`prediction[0]`): see `collected`.
    """
    facts = entry.facts
    if facts.dense and len(shape) == 2:
        shape = DENSE
    draw = Draw(sort, dtype, largest=facts.largest)
    if facts.sample is not None:
        inputs = dict(facts.sample(draw))
    elif facts.inputs:
        inputs = {name: draw.slot(slot, shape) for name, slot in facts.inputs.items()}
    else:
        inputs = {"prediction": draw.prediction(facts.prediction_with(knobs), shape)}
        if encoding is not None:
            other = Draw(sort, dtype, seed=7)
            inputs["target"] = _ignored(other.target(encoding, shape), encoding, knobs)
    for name, head in facts.heads.items():
        inputs.setdefault(name, Draw(sort, dtype, seed=5).prediction(head, shape))
    for name, parameter in facts.parameters.items():
        if name not in inputs and parameter.shape is not None:
            inputs[name] = draw.real(*_shape_of(entry, name, knobs))
    if facts.parts:
        inputs["part"] = facts.parts[0]
    for name, made in first_state(entry, knobs, CLASSES).items():
        inputs.setdefault(name, made.to(dtype) if made.is_floating_point() else made)
    return _parted(inputs)


def _parted(inputs: Inputs) -> Inputs:
    """Give the parts of lists names of their own, so that all inputs are tensors."""
    parts: Inputs = {}
    for name, value in inputs.items():
        if isinstance(value, list):
            parts |= {f"{name}[{i}]": part for i, part in enumerate(value)}
        else:
            parts[name] = value
    return parts


def argument_of(name: str) -> str:
    """Return the argument that an input belongs to: `prediction` for `prediction[0]`."""
    return name.partition("[")[0]


def collected(inputs: Inputs) -> Inputs:
    """Return inputs as the formula takes them: the parts of a list in a list again."""
    whole: Inputs = {}
    for name, value in inputs.items():
        if name.endswith("]"):
            whole.setdefault(argument_of(name), []).append(value)
        else:
            whole[name] = value
    return whole


def _ignored(target: Tensor, encoding: str, knobs: Mapping[str, Any]) -> Tensor:
    """Let the first label be one that is to be ignored, where there is such a knob."""
    if encoding == "index" and knobs.get("ignore_index") is not None:
        target = target.clone()
        target[0] = knobs["ignore_index"]
    return target


def _shape_of(entry: Loss, name: str, knobs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a learned parameter for the inputs that are drawn."""
    shape = entry.facts.parameters[name].shape
    assert shape is not None
    classes = {"classes": CLASSES} if entry.facts.prediction == "embedding" else {}
    return shape(CLASSES, **classes, **knobs)


def suits(knobs: Mapping[str, Any], encoding: str | None) -> bool:
    """Tell whether the knobs suit the encoding: labels to ignore exist among indices only."""
    return not (encoding == "distribution" and knobs.get("ignore_index", -1) >= 0)


def players_of(entry: Loss) -> tuple[dict[str, Any], ...]:
    """Return what each player's call adds to the inputs; nothing where there are none."""
    return tuple({"part": part} for part in entry.facts.parts) or ({},)


def each_case(entry: Loss) -> Iterator[tuple[dict[str, Any], str | None, dict[str, Any]]]:
    """Give the knobs, the encoding, and the player, of everything that is to be tried."""
    for encoding in encodings_of(entry):
        for knobs in each_knob_varied(entry):
            if suits(knobs, encoding):
                for part in players_of(entry):
                    yield knobs, encoding, part


def terms_of(entry: Loss, knobs: Mapping[str, Any], inputs: Inputs, impl: str = "formula") -> Terms:
    """Return the loss before reduction."""
    inputs = collected(inputs)
    named = [inputs[name] for name in entry.inputs]
    more = {name: value for name, value in inputs.items() if name not in entry.inputs}
    return loss_function(entry, knobs, impl)(*named, **more)


def leaves_of(entry: Loss, inputs: Inputs) -> list[str]:
    """Return the names of the inputs that are differentiated: all floats but targets and state."""
    fixed = {"target", *entry.facts.state}
    slots = entry.facts.inputs
    fixed |= {name for name, slot in slots.items() if slot in ("plus_minus", "zero_one", "count")}
    return [
        name
        for name, value in inputs.items()
        if argument_of(name) not in fixed
        and isinstance(value, torch.Tensor)
        and value.is_floating_point()
    ]


def rows_of(entry: Loss, inputs: Inputs) -> list[str]:
    """Return the names of the inputs that hold something of each sample."""
    return [
        name
        for name, value in inputs.items()
        if argument_of(name) in (*entry.inputs, *entry.facts.heads)
        and name not in entry.facts.state
        and isinstance(value, torch.Tensor)
        and value.dim()
    ]


def what(name: str) -> str:
    """Say what is compared, by the names of `value_and_gradients`."""
    return f"the gradient by {name}" if name else "the value"


def value_and_gradients(
    entry: Loss, knobs: Mapping[str, Any], inputs: Inputs, impl: str = "formula"
) -> dict[str, Tensor]:
    """Return the values, and the derivatives of their sum, by the names of what they are by."""
    leaves = {name: inputs[name].clone().requires_grad_() for name in leaves_of(entry, inputs)}
    values = terms_of(entry, knobs, {**inputs, **leaves}, impl).values
    grads = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    found = {"": values.detach()}
    for (name, leaf), grad in zip(leaves.items(), grads, strict=True):
        found[name] = torch.zeros_like(leaf) if grad is None else grad
    return found
