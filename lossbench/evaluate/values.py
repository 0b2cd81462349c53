"""Value and gradient of one component on given numbers: what `lossbench eval` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lossbench.errors import UsageError, listed
from lossbench.evaluate import functions, losses, steps
from lossbench.evaluate.arguments import FIRST, floats, number_tensor
from lossbench.evaluate.cases import plain
from lossbench.evaluate.domain import require_domain
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry

JACOBIAN_AT_MOST = 4096
"""Entries of a Jacobian that are still shown."""


@dataclass(frozen=True)
class Value:
    """What came out: the value, the derivatives by the names of what they are by, and warnings.

    `of` says of what the gradients are; the `jacobian` is that of a component whose outputs depend
    on several inputs, [..., outputs, inputs].
    """

    component: str
    kind: str
    value: Tensor
    inputs: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    of: str = "the sum of the values"
    jacobian: Tensor | None = None
    warnings: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "kind": self.kind,
            "component": self.component,
            "inputs": {name: plain(tensor) for name, tensor in self.inputs.items()},
            "value": plain(self.value),
            "gradient": {name: plain(tensor) for name, tensor in self.gradients.items()},
            "gradient_of": self.of,
            "jacobian": None if self.jacobian is None else plain(self.jacobian),
            "warnings": list(self.warnings),
        }


def evaluate(
    entry: Entry[Any],
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    reduction: str | None = None,
    impl: str = "auto",
) -> Value:
    """Compute a component on given inputs, in float64.

    Raises UsageError for a kind that has no value of its own, and for what does not fit.
    """
    if reduction is not None and entry.kind != "loss":
        raise UsageError(f"a reduction is for losses, and {entry.name} is no loss")
    if entry.kind == "loss":
        return _loss(entry, inputs, params, reduction or "none", impl)
    if entry.kind == "activation":
        return _activation(entry, inputs, params, impl)
    if entry.kind == "distance":
        return _distance(entry, inputs, params, impl)
    if entry.kind == "optimizer":
        path = steps.path(entry, params, inputs)
        return Value(entry.name, entry.kind, path.detach(), _shown(inputs))
    if entry.kind == "schedule":
        return Value(entry.name, entry.kind, steps.rates(entry, params, inputs), _shown(inputs))
    raise UsageError(
        f"{entry.name} is a {entry.kind}, which has no value on numbers alone",
        hint="what has one: activations, losses, distances, optimizers and schedules",
    )


def _shown(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: number_tensor(value, name) for name, value in inputs.items()}


def _loss(
    entry: Entry[Any],
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    reduction: str,
    impl: str,
) -> Value:
    given = dict(inputs)
    call = losses.prepare(entry, params, given, given.pop("target", None))
    warnings = require_domain(call)
    leaves = {name: value.clone().requires_grad_() for name, value in call.floats().items()}
    value = losses.reduced(call.terms(leaves, impl), reduction)
    gradients = _gradients(value, leaves)
    of = "the sum of the values" if reduction == "none" else f"the {reduction}"
    seen = {n: v for n, v in {**call.inputs, **call.more}.items() if isinstance(v, torch.Tensor)}
    return Value(entry.name, entry.kind, value.detach(), seen, gradients, of, warnings=warnings)


def _gradients(value: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not value.requires_grad:
        return {}
    grads = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


def _activation(
    entry: Entry[Any], inputs: Mapping[str, Any], params: Mapping[str, Any], impl: str
) -> Value:
    if len(inputs) != 1:
        raise UsageError(f"{entry.name} takes x alone, got {listed(inputs) or 'nothing'}")
    ((name, given),) = inputs.items()
    x = floats(number_tensor(given, "x" if name in FIRST else name)).requires_grad_()
    call = functions.activation_call(entry, params, impl)
    value = call(x)
    jacobian = None
    if not entry.facts.elementwise:
        jacobian = _jacobian(call, x.detach())
    gradients = _gradients(value, {"x": x})
    return Value(
        entry.name, entry.kind, value.detach(), {"x": x.detach()}, gradients, jacobian=jacobian
    )


def _jacobian(call: Any, x: Tensor) -> Tensor | None:
    """Return the Jacobian along the last dimension, for each row by itself."""
    rows = x.reshape(-1, x.shape[-1]) if x.dim() else x.reshape(1, 1)
    if rows.shape[0] * rows.shape[1] ** 2 > JACOBIAN_AT_MOST or x.dim() > 2:
        return None
    each = torch.stack([torch.autograd.functional.jacobian(call, row) for row in rows])
    return each if x.dim() > 1 else each[0]


def _distance(
    entry: Entry[Any], inputs: Mapping[str, Any], params: Mapping[str, Any], impl: str
) -> Value:
    call, tensors = functions.distance_call(entry, params, inputs, impl)
    leaves = {n: t.requires_grad_() for n, t in zip(entry.inputs, tensors, strict=True)}
    value = call(*leaves.values())
    seen = {name: leaf.detach() for name, leaf in leaves.items()}
    return Value(entry.name, entry.kind, value.detach(), seen, _gradients(value, leaves))
