"""Optimizers on given gradients, and schedules at given steps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.components.vocabulary import Applied
from lossbench.errors import UsageError
from lossbench.evaluate.arguments import floats, knobs_from, number_tensor
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry

UNUSED = ("foreach", "fused", "capturable", "differentiable", "last_epoch", "verbose")
"""What torch's classes take and a path of numbers does not depend on."""


def path(entry: Entry[Any], params: Mapping[str, Any], inputs: Mapping[str, Any]) -> Tensor:
    """Return a parameter after every step, [steps, ...].

    inputs: `param`, its first value; `grads`, one entry per step, or one that is applied `repeat`
    times. Raises UsageError where the two do not fit.
    """
    unknown = set(inputs) - {"param", "params", "grads", "repeat"}
    if unknown or "grads" not in inputs or not {"param", "params"} & set(inputs):
        raise UsageError(
            f"an optimizer takes param and grads, got {', '.join(sorted(inputs)) or 'nothing'}"
        )
    start = floats(number_tensor(inputs.get("param", inputs.get("params")), "param"))
    grads = _gradients(inputs["grads"], start, inputs.get("repeat"))
    given = {name: value for name, value in params.items() if name not in UNUSED}
    if entry.facts.kernel_only:
        return _by_kernel(entry, knobs_from(entry, given), start, grads)
    return _by_rule(entry, knobs_from(entry, given), start, grads)


def _gradients(given: Any, start: Tensor, repeat: Any) -> list[Tensor]:
    """Return one gradient for each step."""
    if repeat is not None:
        if not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 1:
            raise UsageError(f"repeat must be a whole number of at least 1, got {repeat}")
        single = floats(number_tensor(given, "grads"))
        if single.shape != start.shape and len(single) != 1:
            raise UsageError("repeat applies a single gradient, and there are several")
        one = single if single.shape == start.shape else single[0]
        return [_fitting(one, start)] * repeat
    if not isinstance(given, Sequence):
        raise UsageError("grads must be a list with one entry for each step")
    if start.dim() and not isinstance(given[0] if given else None, Sequence):
        given = [given]  # one step, its gradient given as it is
    return [
        _fitting(floats(number_tensor(item, f"grads[{step}]")), start)
        for step, item in enumerate(given)
    ]


def _fitting(gradient: Tensor, start: Tensor) -> Tensor:
    if gradient.shape != start.shape:
        raise UsageError(
            f"a gradient is {list(gradient.shape)}, and the parameter is {list(start.shape)}"
        )
    return gradient


def _by_rule(
    entry: Entry[Any], knobs: dict[str, Any], params: Tensor, grads: Sequence[Tensor]
) -> Tensor:
    facts = entry.facts.resolved(knobs)
    shape = params.shape
    if facts.scope == "model":  # its parameters lie along one dimension
        params, grads = params.flatten(), [gradient.flatten() for gradient in grads]
    fixed = {name: value for name, value in knobs.items() if name != "lr"}
    applied = Applied(entry.name, entry.function, entry.facts, knobs)
    rate = {"lr": applied.rate} if "lr" in knobs else {}
    state = facts.init(params, **fixed)
    seen = []
    for step, gradient in enumerate(grads, start=1):
        params, state = entry.function(params, gradient, state, step, **fixed, **rate)
        seen.append(params.reshape(shape))
    return torch.stack(seen)


def _by_kernel(
    entry: Entry[Any], knobs: dict[str, Any], params: Tensor, grads: Sequence[Tensor]
) -> Tensor:
    if entry.facts.closure:
        raise UsageError(f"{entry.name} asks for the loss at points of its own choice")
    make = entry.load_kernel()
    assert make is not None
    leaf = torch.nn.Parameter(params.clone())
    renamed = entry.facts.kernel_knobs
    optimizer = make([leaf], **(knobs if renamed is None else renamed(knobs)))
    seen = []
    for gradient in grads:
        leaf.grad = gradient.to_sparse() if entry.facts.sparse_gradients else gradient.clone()
        optimizer.step()
        seen.append(leaf.detach().clone())
    return torch.stack(seen)


def rates(entry: Entry[Any], params: Mapping[str, Any], inputs: Mapping[str, Any]) -> Tensor:
    """Return the learning rate in force at each of `steps`; 0 is before the first step.

    inputs: `base_lr`, `steps`, and `metrics` (one value per step) for what watches a metric;
    `total` where the length of the run counts. Raises UsageError for what is missing.
    """
    if "steps" not in inputs:
        raise UsageError("a schedule takes base_lr and steps: steps is missing")
    given = {name: value for name, value in params.items() if name not in UNUSED}
    if {"epochs", "steps_per_epoch"} <= set(given):
        given.setdefault("total_steps", given.pop("epochs") * given.pop("steps_per_epoch"))
    total = inputs.get("total", given.pop("total", None))
    base = inputs.get("base_lr", inputs.get("lr", given.get("base_lr", given.get("max_lr"))))
    if base is None:
        raise UsageError("a schedule takes base_lr and steps: base_lr is missing")
    knobs = knobs_from(entry, given)
    base, steps = _number(base, "base_lr"), _steps(inputs["steps"])
    if entry.facts.state is not None:
        return _watching(entry, knobs, base, steps, inputs.get("metrics"))
    if total is None and entry.facts.needs_total(knobs):
        total = knobs.get("total_steps") or max(steps) + 1
    found = [entry.function(base, step, total, **knobs) for step in steps]
    return torch.stack([torch.as_tensor(rate, dtype=torch.float64).reshape(()) for rate in found])


def _number(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{label} must be a number, got {json.dumps(value)}")
    return float(value)


def _steps(given: Any) -> list[int]:
    whole = isinstance(given, Sequence) and all(
        isinstance(step, int | float) and step >= 0 and step == int(step) for step in given
    )
    if not whole or not given:
        raise UsageError(
            f"steps must be a list of whole numbers of at least 0, got {json.dumps(given)}",
            hint="0 is before the first step",
        )
    return [int(step) for step in given]


def _watching(
    entry: Entry[Any], knobs: Mapping[str, Any], base: float, steps: Sequence[int], metrics: Any
) -> Tensor:
    if not isinstance(metrics, Sequence) or len(metrics) < max(steps):
        raise UsageError(f"{entry.name} watches a metric: give `metrics`, one value for each step")
    state, rate = entry.facts.state(), base
    seen = [base]
    for metric in metrics:
        watched = torch.tensor(_number(metric, "a metric"), dtype=torch.float64)
        rate, state = entry.function(base, state, watched, **knobs)
        seen.append(float(rate))
    return torch.tensor([seen[step] for step in steps], dtype=torch.float64)
