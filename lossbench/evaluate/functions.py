"""Activations, distances and layers on given numbers."""

from collections.abc import Callable, Mapping
from typing import Any

from lossbench.errors import UsageError, listed
from lossbench.evaluate.arguments import (
    absent,
    find_knob,
    floats,
    knobs_from,
    number_tensor,
    place_inputs,
)
from lossbench.evaluate.names import SYMBOLS, find_name
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
        own = find_learned(entry, name)
        if own is not None:
            learned[own] = floats(number_tensor(knobs.pop(name), name))
    filled = knobs_from(entry, knobs)
    call = activation_function(entry, filled, impl)
    for name, declared in entry.facts.parameters.items():
        first = filled[declared.value] if isinstance(declared.value, str) else declared.value
        learned.setdefault(name, torch.tensor(float(first), dtype=torch.float64))
    return lambda x: call(x, **{n: _for_channels(p, x) for n, p in learned.items()})


def find_learned(entry: Entry[Any], name: str) -> str | None:
    """Return which learned parameter of an activation a name stands for, none where it is none."""
    parameters = entry.facts.parameters
    if name in parameters:
        return name
    if not parameters or find_knob(entry, name) is not None:
        return None
    found = find_name(name, parameters, entry.name)
    return next(iter(parameters)) if found is None and name == "weight" else found


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
    tensors = {_weight_name(entry, name): value for name, value in inputs.items() if name != "x"}
    for name in [n for n, value in given.items() if _is_weight(entry, n, value)]:
        tensors[_weight_name(entry, name)] = given.pop(name)
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
            raise UsageError(
                f"{entry.name} has no {name}", hint=f"it has {listed(state) or 'nothing'}"
            )
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
    return module.__call__


def _is_weight(entry: Entry[Any], name: str, value: Any) -> bool:
    """Tell whether a parameter of a layer is numbers that it has learned, and no knob."""
    return find_knob(entry, name) is None or (name in ("bias", "b") and isinstance(value, list))


def _weight_name(entry: Entry[Any], name: str) -> str:
    return SYMBOLS.get(entry.name, {}).get(name, name)


def attend(
    entry: Entry[Any], params: Mapping[str, Any], inputs: Mapping[str, Any], x: Tensor
) -> Tensor:
    """Return what attention makes of a sequence in torch's order, [length, N, channels].

    Raises UsageError for a query that looks at another sequence than its own.
    """
    others = [inputs[name] for name in ("key", "value") if name in inputs]
    if any(not torch.equal(floats(number_tensor(other, "key")), x) for other in others):
        raise UsageError(f"{entry.name} attends to the sequence itself: key and value are query")
    rest = {name: value for name, value in inputs.items() if name not in ("key", "value")}
    knobs = dict(params)
    order = (0, 2, 1) if knobs.pop("batch_first", False) else (1, 2, 0)
    back = [order.index(dim) for dim in range(3)]
    if x.dim() != 3:
        raise UsageError(
            f"{entry.name} takes a sequence [length, N, channels], got {list(x.shape)}"
        )
    ours = x.permute(order)
    result: Tensor = layer_call(entry, knobs, rest, ours)(ours)
    return result.permute(back)


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
