"""What every optimizer of torch.optim promises: that the rule makes torch's own steps."""

from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.optimizer_runs import (
    Knobs,
    Optimizer,
    bumpy_bowl,
    combinations,
    dtype_name,
    gap,
    require_formula,
    said,
)
from lossbench.components.samples import Draw
from lossbench.components.vocabulary import Applied
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

STEPS, MANY = 60, 200
"""Steps beside torch's; and for the defaults in float64, where each last bit shows."""

ALONE = 10
"""Steps with a single knob changed: what it does, it does from the first one on."""

SHAPES = ((4, 3), (5,))
EXACT = {"float64": 1e-13, "float32": 1e-5}
"""How far the steps may lead from torch's, relative to the largest weight, by dtype."""


def torch_optimizers(entry: Optimizer, knobs: Knobs, leaves: list[Tensor]) -> list[Any]:
    """Return torch's own optimizers of some parameters, as the facts say that they are built."""
    rest = []
    if entry.facts.matrices_only:
        other: Applied = knobs[entry.facts.matrices_only]
        others = [leaf for leaf in leaves if leaf.ndim != 2]
        leaves = [leaf for leaf in leaves if leaf.ndim == 2]
        rest = torch_optimizers(optimizer[other.name], dict(other.knobs), others) if others else []
    make = entry.load_kernel()
    if make is None:
        raise SkippedError(f"this torch ({torch.__version__}) has no {entry.kernel}")
    named = entry.facts.kernel_knobs
    return [make(leaves, **(named(knobs) if named else knobs)), *rest] if leaves else rest


@contract("optimizer")
def kernel(entry: Optimizer) -> None:
    """The rule makes torch.optim's steps, up to 200 of them, in float32 and float64."""
    require_formula(entry)
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.float32):
            torch.set_default_dtype(dtype)  # torch.optim keeps its own numbers in this one
            for place, knobs in enumerate(combinations(entry)):
                double = dtype == torch.float64
                if place < 2:  # the defaults, and as many changed as go together
                    steps = MANY if double and place == 0 else STEPS
                    follow_torch(entry, knobs, SHAPES[0], dtype, 0, steps)
                    if double:
                        follow_torch(entry, knobs, SHAPES[1], dtype, 1)
                elif double:
                    follow_torch(entry, knobs, SHAPES[0], dtype, 0, steps=ALONE)
    finally:
        torch.set_default_dtype(before)


def follow_torch(
    entry: Optimizer,
    knobs: Knobs,
    shape: tuple[int, ...],
    dtype: Any,
    seed: int = 0,
    steps: int = STEPS,
) -> None:
    """Make many steps beside torch's, from one start and with the gradients of torch's path.

    With gradients of its own, each would show how the problem magnifies a last bit. Raises
    BrokenError where weights or state part.
    """
    slope = bumpy_bowl(shape, dtype, seed, knobs)
    params = Draw(dtype=dtype, seed=seed + 10).normal(*shape)
    leaf = torch.nn.Parameter(params.clone())
    theirs = torch_optimizers(entry, knobs, [leaf])[0]
    state, bound = entry.facts.init(params, **knobs), EXACT[dtype_name(dtype)]
    for step in range(1, steps + 1):
        grads = slope(leaf.detach(), step)
        if entry.facts.sparse_gradients:
            places = torch.arange(grads.numel()).reshape(grads.shape)
            grads = torch.where((places + step) % 3 == 0, 0.0, grads)
        leaf.grad = grads.to_sparse() if entry.facts.sparse_gradients else grads.clone()
        theirs.step()
        params, state = entry.function(params, grads, state, step, **knobs)
        words = f"after step {step} in {dtype_name(dtype)}{said(entry, knobs)}"
        if gap(params, leaf) > bound:
            raise BrokenError(
                f"the weights are not torch's {words}: off by {gap(params, leaf):.2g}"
            )
        for name, wanted in theirs.state[leaf].items():
            if name not in state or not torch.is_tensor(wanted):
                continue
            if gap(state[name], wanted.to(dtype)) > 10 * bound:
                raise BrokenError(f"{name} of the state is not torch's {words}")
