"""What every activation promises: its kernel, its derivative, its range, its kinks, its knobs."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import (
    consistent,
    each_knob_varied,
    first_knobs,
    is_float,
    said,
    values_of,
    with_tensors,
)
from lossbench.checks.numbers import (
    number,
    require_close,
    require_finite,
    require_gradients,
    tolerance,
)
from lossbench.components.declarations import ActivationFacts
from lossbench.components.samples import CLASSES, ROWS, SORTS, Draw
from lossbench.kernels import activation_function
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, activation

Activation = Entry[ActivationFacts]

SPECIAL = (0.0, -0.0, 20.0, -20.0, 88.0, -88.0, 1e4, -1e4, 1.0, -1.0, 3.0, -3.0, 6.0)
"""Inputs on the boundary of cases: where exponentials end, and where many formulas change."""

NEAR = 1e-7
"""How close to a place its slopes on both sides are taken."""


def inputs_of(entry: Activation, knobs: Mapping[str, Any], dtype: Any) -> dict[str, Tensor]:
    """Return [rows, CLASSES] inputs of every sort: usual, large, tiny, constant, at kinks."""
    drawn: dict[str, Tensor] = {sort: Draw(sort, dtype).real(ROWS, CLASSES) for sort in SORTS}
    drawn["random"] = 1.5 * drawn["random"]
    points = torch.tensor([*entry.facts.kinks_with(knobs), *SPECIAL], dtype=dtype)
    rows = -(-len(points) // CLASSES)
    boundary = torch.zeros(rows * CLASSES, dtype=dtype)
    boundary[: len(points)] = points
    return {**drawn, "boundary": boundary.reshape(rows, CLASSES)}


def learned(entry: Activation, knobs: Mapping[str, Any], dtype: Any) -> dict[str, Tensor]:
    """Return a value for every learned parameter, shaped to broadcast against [N, CLASSES]."""
    draw, found = Draw(dtype=dtype, seed=3), {}
    for name, declared in entry.facts.parameters.items():
        per = knobs.get(declared.per, declared.per)
        first = knobs[declared.value] if isinstance(declared.value, str) else declared.value
        shape = (CLASSES,) if per == "channel" else ()
        # Near its first value: the range of a parameter is only known there.
        found[name] = first + draw.uniform(*shape, low=0.0, high=0.5)
    return found


def formula_of(entry: Activation, knobs: Mapping[str, Any], dtype: Any) -> Callable[..., Tensor]:
    """Return the formula as a function of the input and the learned parameters."""
    filled = with_tensors(entry, knobs, dtype)
    return lambda x, **parameters: entry.function(x, **filled, **parameters)


def value_and_gradients(
    function: Callable[..., Tensor], x: Tensor, parameters: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return the values, and the derivatives of their weighted sum by input and parameters."""
    leaves = [
        x.clone().requires_grad_(),
        *(parameter.clone().requires_grad_() for parameter in parameters.values()),
    ]
    values = function(leaves[0], **dict(zip(parameters, leaves[1:], strict=True)))
    weights = torch.linspace(0.5, 1.5, values.numel(), dtype=x.dtype).reshape(values.shape)
    grads = torch.autograd.grad((values * weights).sum(), leaves, allow_unused=True)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]
    return [values.detach(), *(z if g is None else g for g, z in zip(grads, zeros, strict=True))]


@contract("activation")
def kernel(entry: Activation) -> None:
    """Formula and kernel agree in value and gradient, in float32 and float64."""
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    for dtype in (torch.float32, torch.float64):
        rtol, atol = tolerance(dtype)
        for knobs in each_knob_varied(entry):
            parameters = learned(entry, knobs, dtype)
            shipped = activation_function(entry, knobs, "kernel")
            for sort, x in inputs_of(entry, knobs, dtype).items():
                ours = value_and_gradients(formula_of(entry, knobs, dtype), x, parameters)
                torchs = value_and_gradients(shipped, x, parameters)
                for what, got, wanted in zip(
                    ("value", *("gradient",) * len(ours)), ours, torchs, strict=False
                ):
                    words = f"{what} of the formula, {sort} inputs{said(knobs, entry)}"
                    require_close(got, wanted, words, rtol=rtol, atol=atol)


@contract("activation")
def finite(entry: Activation) -> None:
    """Value and gradient are finite for finite input up to 10 000."""
    for knobs in each_knob_varied(entry):
        parameters = learned(entry, knobs, torch.float32)
        for x in inputs_of(entry, knobs, torch.float32).values():
            found = value_and_gradients(formula_of(entry, knobs, torch.float32), x, parameters)
            for what, tensor in zip(("value", "gradient"), found, strict=False):
                require_finite(tensor, x, f"the {what}{said(knobs, entry)}")
            for name, tensor in zip(parameters, found[2:], strict=True):
                require_finite(tensor, x, f"the gradient by {name}{said(knobs, entry)}")


@contract("activation")
def gradient(entry: Activation) -> None:
    """The gradient is the one that finite differences give, but for parts that carry none."""
    require_gradients(_each_call(entry), entry.facts.detached)


def _each_call(entry: Activation) -> Iterator[tuple[Callable[..., Tensor], list[Tensor], str]]:
    """Give the activation as a function of its leaves, and those, for each value of its knobs."""
    for knobs in each_knob_varied(entry):
        if any(knobs[name] for name in entry.facts.surrogate):
            continue
        parameters = learned(entry, knobs, torch.float64)
        x = 1.5 * Draw(dtype=torch.float64, seed=1).real(ROWS, CLASSES)
        for kink in entry.facts.kinks_with(knobs):
            x = torch.where((x - kink).abs() < 1e-3, kink + 1e-2, x)
        formula = formula_of(entry, knobs, torch.float64)

        def call(x: Tensor, *values: Tensor, formula=formula, names=tuple(parameters)) -> Tensor:  # type: ignore[no-untyped-def]
            return formula(x, **dict(zip(names, values, strict=True)))

        yield call, [x, *parameters.values()], said(knobs, entry)


@contract("activation")
def derivative(entry: Activation) -> None:
    """The declared derivative is the gradient, also at the kinks."""
    declared = entry.facts.derivative
    if declared is None:
        if not entry.facts.elementwise:
            raise SkippedError("not elementwise: it has a Jacobian")
        raise BrokenError("an elementwise activation declares its derivative")
    for knobs in each_knob_varied(entry):
        parameters = learned(entry, knobs, torch.float64)
        for sort, x in inputs_of(entry, knobs, torch.float64).items():
            leaf = x.clone().requires_grad_()
            values = formula_of(entry, knobs, torch.float64)(leaf, **parameters)
            found = torch.autograd.grad(values.sum(), leaf)[0]
            wanted = declared(x, **with_tensors(entry, knobs, torch.float64), **parameters)
            words = f"the gradient, {sort} inputs{said(knobs, entry)}"
            require_close(found, wanted.expand(x.shape).to(x.dtype), words, rtol=1e-7, atol=1e-9)


@contract("activation")
def bounds(entry: Activation) -> None:
    """The values keep to the declared range, and come near its finite ends."""
    knobs = first_knobs(entry)
    grid = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e4, -100.0, 100.0, 1e4])])
    x = torch.stack([grid, *(grid.flip(0) / n for n in (1, 2, 3))], 1).double()
    declared = entry.facts.parameters.items()
    parameters = {  # at their first values, as the default knobs are
        name: torch.tensor(
            float(knobs[d.value] if isinstance(d.value, str) else d.value), dtype=torch.float64
        )
        for name, d in declared
    }
    values = formula_of(entry, knobs, torch.float64)(x, **parameters)
    (lowest, highest), (least, most) = entry.facts.range, (values.min(), values.max())
    if least < lowest or most > highest:
        raise BrokenError(
            f"values from {number(least)} to {number(most)}, declared are {lowest} to {highest}"
        )
    if math.isfinite(lowest) and least > lowest + 1e-3:
        raise BrokenError(f"no value comes near the declared lower end {lowest}: {number(least)}")
    if math.isfinite(highest) and most < highest - 1e-3:
        raise BrokenError(f"no value comes near the declared upper end {highest}: {number(most)}")


def _slopes(entry: Activation, knobs: Mapping[str, Any], places: list[float]) -> list[float]:
    x = torch.tensor(places, dtype=torch.float64, requires_grad=True)
    scalars = {
        **knobs,
        **{d.per: "scalar" for d in entry.facts.parameters.values() if d.per in knobs},
    }
    parameters = {n: p.mean() for n, p in learned(entry, scalars, torch.float64).items()}
    values = formula_of(entry, knobs, torch.float64)(x, **parameters)
    return [float(slope) for slope in torch.autograd.grad(values.sum(), x)[0]]


@contract("activation")
def kinks(entry: Activation) -> None:
    """The derivative jumps at the declared kinks and nowhere else."""
    if not entry.facts.elementwise:
        raise SkippedError("not elementwise")
    jumped: set[int] = set()
    for knobs in each_knob_varied(entry):
        declared = entry.facts.kinks_with(knobs)
        places = sorted({*(step / 4 for step in range(-32, 33)), *declared})
        left = _slopes(entry, knobs, [place - NEAR for place in places])
        right = _slopes(entry, knobs, [place + NEAR for place in places])
        for place, before, behind in zip(places, left, right, strict=True):
            if abs(before - behind) <= 1e-3:
                continue
            if place not in declared:
                raise BrokenError(
                    f"the derivative jumps at {place} from {number(before)} to {number(behind)}"
                    f"{said(knobs, entry)}, which is not declared"
                )
            jumped.add(declared.index(place))
    if len(jumped) < len(entry.facts.kinks):
        raise BrokenError("a kink is declared where the derivative never jumps")


@contract("activation")
def identities(entry: Activation) -> None:
    """It is the other activation that it claims to be, for the knobs of the claim."""
    if not entry.facts.identities:
        raise SkippedError("claims none")
    for claim in entry.facts.identities:
        other = activation.find(claim.other)
        mine, theirs = (
            {**first_knobs(e), **k} for e, k in ((entry, claim.when), (other, claim.knobs))
        )
        for sort, x in inputs_of(entry, mine, torch.float64).items():
            parameters = learned(entry, mine, torch.float64) if entry.facts.parameters else {}
            own = {n: p for n, p in parameters.items() if n in other.facts.parameters}
            got = formula_of(entry, mine, x.dtype)(x, **parameters)
            wanted = claim.times * formula_of(other, theirs, x.dtype)(x, **own)
            words = f"compared with {claim.other}, {sort} inputs{said(claim.when, entry)}"
            require_close(got, wanted, words, rtol=1e-9, atol=1e-11)


@contract("activation")
def trials(entry: Activation) -> None:
    """Under `vmap`, with a value of its own for each float knob, a trial is as alone."""
    if entry.facts.kernel_only:
        raise SkippedError(entry.facts.kernel_only)
    base = first_knobs(entry)
    x = 1.5 * Draw(seed=2).real(3, ROWS, CLASSES)
    parameters = learned(entry, base, x.dtype)
    together = torch.vmap(lambda x: activation_function(entry, base)(x, **parameters))(x)
    alone = torch.stack([activation_function(entry, base)(one, **parameters) for one in x])
    require_close(together, alone, "a trial under vmap", rtol=1e-5, atol=1e-6)
    for knob in filter(is_float, entry.knobs):
        values = [v for v in values_of(knob) if consistent(entry, {**base, knob.name: v})][:3]

        def trial(x: Tensor, value: Any, name: str = knob.name) -> Tensor:
            return activation_function(entry, {**base, name: value})(x, **parameters)

        some = x[: len(values)]
        together = torch.vmap(trial)(some, torch.tensor(values))
        alone = torch.stack([trial(one, value) for one, value in zip(some, values, strict=True)])
        words = f"a trial under vmap with {knob.name} of its own"
        require_close(together, alone, words, rtol=1e-5, atol=1e-6)


@contract("activation")
def dtype(entry: Activation) -> None:
    """It keeps dtype and shape, half precision included."""
    knobs = first_knobs(entry)
    for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        x = Draw().real(3, CLASSES, 2).to(kind)
        parameters = {n: p.to(kind) for n, p in learned(entry, knobs, torch.float32).items()}
        y = formula_of(entry, knobs, kind)(
            x, **{n: _along_channels(p) for n, p in parameters.items()}
        )
        if y.dtype != kind:
            raise BrokenError(f"{kind} inputs give {y.dtype} values")
        change = entry.facts.output_shape
        wanted = tuple(change(x.shape[1:], **knobs) if change else x.shape[1:])
        if tuple(y.shape[1:]) != wanted:
            raise BrokenError(f"inputs {list(x.shape)} give values {list(y.shape)}")


def _along_channels(parameter: Tensor) -> Tensor:
    """Let one number per channel broadcast against [N, channels, positions]."""
    return parameter.unsqueeze(-1) if parameter.dim() else parameter


@contract("activation")
def nan(entry: Activation) -> None:
    """An input that is not a number stays visible in the values."""
    knobs = first_knobs(entry)
    x = torch.full((2, CLASSES), math.nan)
    values = formula_of(entry, knobs, x.dtype)(x, **learned(entry, knobs, x.dtype))
    if not bool(values.isnan().all()):
        raise BrokenError(f"NaN becomes {number(values[~values.isnan()][0])}")
