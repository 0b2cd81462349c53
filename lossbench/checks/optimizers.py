"""What every optimizer promises: its state, its groups of trials, its way down."""

import io
from collections.abc import Iterator
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.numbers import number, require_close, require_finite
from lossbench.checks.optimizer_kernels import torch_optimizers
from lossbench.checks.optimizer_runs import (
    TRIALS,
    Knobs,
    Optimizer,
    advance,
    bumpy,
    combinations,
    dtype_name,
    filled,
    gap,
    group,
    require_formula,
    run,
    run_constant,
    run_group,
    said,
    without_decay,
)
from lossbench.components.samples import Draw
from lossbench.components.vocabulary import is_off
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

RATES = (1, 10, 100, 1000, 0.1)
"""Multiples of the default rate: a cautious default takes long to come down anywhere."""

LAST = {"float64": 1e-13, "float32": 1e-5}
"""What the last digits may differ by."""

SOME = {"float64": 1e-9, "float32": 5e-5}
"""What another arrangement of the same terms may leave."""

COARSE = 2e-2
"""Three digits: what a matrix product leaves that rounds to bfloat16."""


# --- down a hill ------------------------------------------------------------------------------


@contract("optimizer")
def descends(entry: Optimizer) -> None:
    """It goes down a quadratic bowl, at its default rate or at a multiple of it."""
    width = torch.tensor([[0.5, 1.0, 2.0], [1.5, 0.8, 3.0]])
    centre = torch.tensor([[1.0, -1.0, 0.5], [0.3, 2.0, -0.7]])
    knobs = without_decay(filled(entry))
    facts = entry.facts.resolved(knobs)
    if facts.scope == "model":  # its parameters lie along one dimension
        width, centre = width.flatten(), centre.flatten()

    def height(params: Tensor) -> float:
        return float((width * (params - centre).square()).sum() / 2)

    first = height(torch.zeros_like(centre))
    if entry.facts.kernel_only:
        reached = [_bottom_by_kernel(entry, knobs, width, centre)]
    else:
        reached = []
        base = knobs["lr"] if knobs["lr"] is not None else knobs[facts.wraps or ""].knobs["lr"]
        for factor in RATES:
            rate = {**knobs, "lr": base * factor}
            steps = run(
                entry,
                rate,
                torch.full_like(centre, 0.01),
                steps=400,
                slope=lambda params, _: width * (params - centre),
            )
            reached.append(min(map(height, steps), key=_finite_first))
            if reached[-1] < 1e-2 * first:
                return
    if not min(reached, key=_finite_first) < 1e-2 * first:
        ends = ", ".join(number(height) for height in reached)
        raise BrokenError(f"from {number(first)} it comes to no less than {ends}")


def _finite_first(height: float) -> float:
    return height if height == height else float("inf")


def _bottom_by_kernel(entry: Optimizer, knobs: Knobs, width: Tensor, centre: Tensor) -> float:
    """Return the height after three steps of an optimizer that asks for the loss itself."""
    leaf = torch.nn.Parameter(torch.zeros_like(centre))
    theirs = torch_optimizers(entry, knobs, [leaf])[0]

    def closure() -> float:
        theirs.zero_grad()
        value = (width * (leaf - centre).square()).sum() / 2
        value.backward()
        return float(value.detach())

    for _ in range(3):
        theirs.step(closure)
    return float((width * (leaf.detach() - centre).square()).sum() / 2)


@contract("optimizer")
def finite(entry: Optimizer) -> None:
    """Gradients of zero, tiny and large ones leave finite weights."""
    require_formula(entry)
    sizes = torch.tensor((0.0, 1e-30, 1e-12, 1e6)).repeat_interleave(2)
    for knobs in combinations(entry):
        if any(name.startswith("eps") and _zero(value) for name, value in knobs.items()):
            continue
        start = Draw(seed=5).normal(*group(entry, knobs)[1:])
        params = torch.stack([torch.zeros_like(start), start] * (len(sizes) // 2))
        for size, seen in zip(sizes, run_constant(entry, knobs, params, sizes, 3), strict=True):
            words = f"a weight after gradients of {float(size):g}{said(entry, knobs)}"
            require_finite(seen, seen, words)


def _zero(value: Any) -> bool:
    return any(is_off(part) for part in (value if isinstance(value, tuple) else (value,)))


# --- the state --------------------------------------------------------------------------------


@contract("optimizer")
def pure(entry: Optimizer) -> None:
    """A step changes nothing that it is given; shape, dtype and the names of the state stay."""
    require_formula(entry)
    for knobs in combinations(entry):
        params = Draw(seed=1).normal(*group(entry, knobs)[1:])
        state = entry.facts.init(params, **knobs)
        for step in range(1, 4):
            grads = bumpy(params, step)
            given = params.clone(), grads.clone(), _copied(state)
            after, new_state = entry.function(params, grads, state, step, **knobs)
            for what, one, other in zip(
                ("parameters", "gradients", "state"), given, (params, grads, state), strict=True
            ):
                if not _same(one, other):
                    raise BrokenError(f"it writes into the {what} that it is given")
            if after.shape != params.shape or after.dtype != params.dtype:
                raise BrokenError(f"{_form(params)} become {_form(after)}{said(entry, knobs)}")
            if _forms(new_state) != _forms(state):
                raise BrokenError(
                    f"the state {_forms(state)} becomes {_forms(new_state)}{said(entry, knobs)}"
                )
            params, state = after, new_state


def _form(tensor: Tensor) -> str:
    return f"{dtype_name(tensor.dtype)} {list(tensor.shape)}"


def _forms(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _forms(value) for name, value in sorted(state.items())}
    return _form(state)


def _copied(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    return state.clone()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return torch.equal(one, other)


@contract("optimizer")
def saved(entry: Optimizer) -> None:
    """From a state that was saved and loaded it goes on exactly as it would have."""
    require_formula(entry)
    for knobs in combinations(entry):
        params = Draw(seed=2).normal(*group(entry, knobs)[1:])
        state = entry.facts.init(params, **knobs)
        for step in range(1, 4):
            params, state = advance(entry, knobs, params, state, bumpy, step)
        file = io.BytesIO()
        torch.save((params, state), file)
        file.seek(0)
        loaded, loaded_state = torch.load(file, weights_only=True)
        for step in range(4, 7):
            params, state = advance(entry, knobs, params, state, bumpy, step)
            loaded, loaded_state = advance(entry, knobs, loaded, loaded_state, bumpy, step)
        if not (_same(params, loaded) and _same(state, loaded_state)):
            raise BrokenError(f"it goes on otherwise from a saved state{said(entry, knobs)}")


@contract("optimizer")
def scalars(entry: Optimizer) -> None:
    """A parameter without dimensions keeps its shape, and so does an empty one."""
    require_formula(entry)
    knobs = filled(entry)
    for shape in ((), (0,)):
        params = torch.full(shape, 0.5)
        state = entry.facts.init(params, **knobs)
        for step in range(1, 3):
            grads = torch.full(shape, 0.2)
            params, state = entry.function(params, grads, state, step, **knobs)
            if params.shape != shape:
                raise BrokenError(f"a parameter of shape {list(shape)} gets {list(params.shape)}")


# --- groups of trials -------------------------------------------------------------------------


def _bound(entry: Optimizer, dtype: Any) -> float:
    # Muon's iteration rounds every product to bfloat16.
    return (
        COARSE
        if entry.facts.matrices_only
        else {"float64": 1e-9, "float32": 5e-5}[dtype_name(dtype)]
    )


def _grouped(entry: Optimizer, alone: Any) -> Iterator[tuple[Any, Knobs, int, tuple[int, ...]]]:
    """Give dtype, knobs, steps and the trials to look at of every group to run.

    The defaults, and as many knobs changed as go together, are tried for long, trial by trial and
    in both dtypes. A knob changed alone is tried briefly in one, at both ends of the group.
    """
    for place, knobs in enumerate(combinations(entry)):
        if place < 2:
            yield from (
                (dtype, knobs, 8, (*range(TRIALS),)) for dtype in (torch.float32, torch.float64)
            )
        else:
            yield alone, knobs, 4, (0, TRIALS - 1)


@contract("optimizer")
def trials(entry: Optimizer) -> None:
    """A trial in a group is the trial alone: bit for bit, unless it says why not."""
    require_formula(entry)
    for dtype, knobs, steps, some in _grouped(entry, torch.float32):
        params = Draw(dtype=dtype, seed=3).normal(*group(entry, knobs))
        together = run_group(entry, knobs, params, steps=steps)[[*some]]
        alone = torch.cat([run_group(entry, knobs, params[i][None], steps=steps) for i in some])
        words = f"a trial in a group{said(entry, knobs)}"
        if entry.facts.resolved(knobs).inexact:
            bound = COARSE if entry.facts.matrices_only else LAST[dtype_name(dtype)]
            require_close(together, alone, words, rtol=bound, atol=bound)
        elif not torch.equal(together, alone):
            raise BrokenError(f"{words} is off by {gap(together, alone):.2g}")


def _spread(value: Any, dtype: Any) -> Any:
    """Return a value of its own for each trial: some a little below the given one."""
    if isinstance(value, tuple):
        return tuple(_spread(part, dtype) for part in value)
    if isinstance(value, float) and value not in (0.0, float("inf")):
        return value * torch.linspace(0.9, 1.0, TRIALS, dtype=dtype)
    return value


def _of_trial(value: Any, trial: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_of_trial(part, trial) for part in value)
    return value[trial].item() if torch.is_tensor(value) else value


@contract("optimizer")
def knobs(entry: Optimizer) -> None:
    """With a value of its own for every float knob, a trial in a group is as alone."""
    require_formula(entry)
    for dtype, base, steps, some in _grouped(entry, torch.float64):
        own = {name: _spread(value, dtype) for name, value in base.items()}
        own = {name: value for name, value in own.items() if value is not base[name]}
        if "etas" in own:  # no eta+ below 1
            del own["etas"]
        own = {n: v for n, v in own.items() if not isinstance(v, tuple) or _tensors(v)}
        params = Draw(dtype=dtype, seed=3).normal(*group(entry, base))
        together = run_group(entry, base, params, own, steps)
        _require_dtype(together, dtype)
        bound = _bound(entry, dtype)
        for trial in some:
            values = {name: _of_trial(value, trial) for name, value in own.items()}
            alone = run_group(entry, {**base, **values}, params[trial][None], steps=steps)[0]
            words = f"a trial with knobs of its own{said(entry, base)}"
            require_close(together[trial], alone, words, rtol=bound, atol=bound)


def _require_dtype(weights: Tensor, dtype: Any) -> None:
    if weights.dtype != dtype:
        raise BrokenError(f"{dtype_name(dtype)} weights become {dtype_name(weights.dtype)}")


def _tensors(values: tuple[Any, ...]) -> bool:
    return any(torch.is_tensor(value) for value in values)


@contract("optimizer")
def clock(entry: Optimizer) -> None:
    """The number of the step may be a tensor, as in a traced step."""
    require_formula(entry)
    for dtype, knobs, steps, _ in _grouped(entry, torch.float64):
        params = Draw(dtype=dtype, seed=3).normal(*group(entry, knobs)[1:])
        counted = run(entry, knobs, params, steps)
        ticked = run(entry, knobs, params, steps, clock=torch.tensor)
        _require_dtype(ticked, dtype)
        bound = _bound(entry, dtype)
        words = f"with the step as a tensor{said(entry, knobs)}"
        require_close(ticked, counted, words, rtol=bound, atol=bound)


@contract("optimizer")
def decay(entry: Optimizer) -> None:
    """Weight decay may act on some weights and spare others."""
    require_formula(entry)
    facts = entry.facts.resolved(filled(entry))
    if facts.scope != "element" or all(knob.name != "weight_decay" for knob in entry.knobs):
        raise SkippedError("no weight decay on single weights")
    shape = group(entry, filled(entry))
    mask, params = (torch.arange(shape[-1]) % 2).double(), Draw(dtype=torch.float64).normal(*shape)
    rate = filled(entry, lr=0.05)
    masked, decayed, free = (
        run(entry, {**rate, "weight_decay": value}, params) for value in (0.1 * mask, 0.1, 0.0)
    )
    words = "where weight decay acts on some weights, one "
    exact = {"rtol": 1e-12, "atol": 1e-12}
    require_close(masked[..., 1::2], decayed[..., 1::2], f"{words}that decays", **exact)
    require_close(masked[..., 0::2], free[..., 0::2], f"{words}that is spared", **exact)
    if torch.allclose(decayed, free):
        raise BrokenError("weight_decay changes nothing")


# --- what it declares -------------------------------------------------------------------------


@contract("optimizer")
def identities(entry: Optimizer) -> None:
    """It is the other optimizer that it claims to be, for the knobs of the claim."""
    if not entry.facts.identities:
        raise SkippedError("claims none")
    for claim in entry.facts.identities:
        other = optimizer.find(claim.other)
        mine, theirs = filled(entry, **claim.when), filled(other, **claim.knobs)
        shape = group(entry, mine) if entry.facts.scope != "model" else group(entry, mine)[1:]
        params = Draw(dtype=torch.float64, seed=4).normal(*shape)
        got = run(entry, mine, params, 12)[0]
        wanted = params + claim.times * (run(other, theirs, params, 12)[0] - params)
        words = f"compared with {claim.other}{said(entry, claim.when)}"
        require_close(got, wanted, words, rtol=1e-11, atol=1e-12)


@contract("optimizer")
def rate(entry: Optimizer) -> None:
    """Its first knob is the learning rate, and every knob has a default."""
    if entry.knobs[0].name != "lr":
        raise BrokenError("the first knob is not lr")
    for knob in entry.knobs:
        if knob.required:
            raise BrokenError(f"the knob {knob.name} has no default")
    require_formula(entry)
    params = torch.ones(group(entry, filled(entry))[1:], dtype=torch.float64)
    slow, fast = (run(entry, filled(entry, lr=value), params, 4) for value in (1e-3, 2e-3))
    if torch.equal(slow[0], fast[0]):
        raise BrokenError("the learning rate changes nothing")
