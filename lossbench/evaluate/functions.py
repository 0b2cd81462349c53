"""Activations, distances and layers on given numbers."""

from collections.abc import Callable, Mapping
from typing import Any

from lossbench.errors import UsageError
from lossbench.evaluate.arguments import (
    absent,
    find_knob,
    floats,
    knobs_from,
    listed,
    number_tensor,
    place_inputs,
)
from lossbench.kernels import activation_function, distance_function
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry

DERIVED = (
    "in_features", "in_channels", "num_features", "num_channels", "normalized_shape",
    "num_parameters", "inplace", "embed_dim",
)  # fmt: skip
"""What torch's classes are told and our layers read off the input."""


def activation_call(
    entry: Entry[Any], params: Mapping[str, Any], impl: str = "auto"
) -> Callable[[Tensor], Tensor]:
    """Return an activation as a function of x: `params` are knobs and learned parameters."""
    learned = {}
    knobs = {name: value for name, value in params.items() if name not in DERIVED}
    for name in list(knobs):
        own = name if name in entry.facts.parameters else None
        if own is None and find_knob(entry, name) is None and name == "weight":
            own = next(iter(entry.facts.parameters), None)
        if own is not None:
            learned[own] = floats(number_tensor(knobs.pop(name), name))
    filled = knobs_from(entry, knobs)
    call = activation_function(entry, filled, impl)
    for name, declared in entry.facts.parameters.items():
        first = filled[declared.value] if isinstance(declared.value, str) else declared.value
        learned.setdefault(name, torch.tensor(float(first), dtype=torch.float64))
    return lambda x: call(x, **{n: _for_channels(p, x) for n, p in learned.items()})


def _for_channels(parameter: Tensor, x: Tensor) -> Tensor:
    """Let one number per channel meet dimension 1 of the input."""
    if parameter.dim() != 1 or x.dim() < 3:
        return parameter.reshape(()) if parameter.numel() == 1 else parameter
    return parameter.reshape(-1, *(1,) * (x.dim() - 2))


def distance_call(
    entry: Entry[Any], params: Mapping[str, Any], inputs: Mapping[str, Any], impl: str = "auto"
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return a distance and what it is called with; `pairwise` in params asks for the matrix."""
    given = dict(params)
    pairwise = bool(given.pop("pairwise", False))
    knobs = knobs_from(entry, given)
    placed = place_inputs(entry.inputs, inputs, lambda _: None, entry.name)
    missing = [name for name in entry.inputs if name not in placed]
    if missing:
        raise UsageError(f"{entry.name} takes {listed(entry.inputs)}: {absent(missing)}")
    tensors = [number_tensor(placed[name], name) for name in entry.inputs]
    call = distance_function(entry, knobs, impl, pairwise=pairwise)
    return call, [floats(tensor) for tensor in tensors]


def layer_call(
    entry: Entry[Any], params: Mapping[str, Any], inputs: Mapping[str, Any], x: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return a layer built for an input, its weights set to those given by torch's names.

    `training` among the params says the mode; without it a layer that looks at the batch is in
    training, and one that draws noise is not.
    Raises UsageError for learned weights that are not given: a drawn value proves nothing.
    """
    given = {name: value for name, value in params.items() if name not in DERIVED}
    training = given.pop("training", entry.facts.batch_statistics)
    tensors = {name: value for name, value in inputs.items() if name != "x"}
    for name in [n for n in given if find_knob(entry, n) is None]:
        tensors[name] = given.pop(name)
    if "bias" in tensors and "bias" not in given and find_knob(entry, "bias"):
        given["bias"] = tensors["bias"] is not None
    shape = _with_weight(entry, given, tensors)
    module, _ = entry.function(tuple(x.shape[1:]), **{**knobs_from(entry, given), **shape})
    module = module.double().train(bool(training))
    state = module.state_dict()
    for name, value in tensors.items():
        if value is None:
            continue
        if name not in state:
            raise UsageError(f"{entry.name} has no {name}", hint=f"it has {listed(state)}")
        tensor = floats(number_tensor(value, name))
        if tensor.shape != state[name].shape:
            raise UsageError(
                f"{entry.name}: {name} is {list(tensor.shape)}, and must be "
                f"{list(state[name].shape)}"
            )
        state[name] = tensor
    drawn = [name for name, _ in module.named_parameters() if name not in tensors]
    if drawn and not entry.name.endswith("norm"):
        raise UsageError(f"{entry.name} draws {listed(drawn)}: give the numbers beside x")
    module.load_state_dict(state)
    return lambda x: module(x)


def _with_weight(
    entry: Entry[Any], given: dict[str, Any], tensors: Mapping[str, Any]
) -> dict[str, Any]:
    """Read off a given weight what it says of the layer: how many outputs, how large a window."""
    if "weight" not in tensors:
        return {}
    weight = number_tensor(tensors["weight"], "weight")
    said: dict[str, Any] = {}
    for name in ("out_features", "out_channels"):
        if find_knob(entry, name) and name not in given:
            said[name] = given[name] = weight.shape[0]
    if find_knob(entry, "kernel_size") and "kernel_size" not in given:
        said["kernel_size"] = given["kernel_size"] = tuple(weight.shape[2:])
    return said
