"""A gradient step traced once into a flat graph of tensor operations, tidied, and checked.

Small networks are limited by Python and by the dispatch of tiny operations, not by arithmetic.
`make_fx` records what autograd and `vmap` would do at every step; replaying the record skips both.
The record is only trusted after it has given what the original gives on two different batches.

Tracing bakes in Python numbers, `training`, and shapes: one graph per batch shape and mode.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from lossbench.training.tidy import tidy

Function = Callable[..., tuple[Tensor, ...]]

ROUNDING = 20
"""So many times what rounding moved one way of computing it may move another."""


class NotTraceableError(Exception):
    """The function cannot be recorded, or its record does not give what the function gives."""


def trace(
    function: Function, batches: Sequence[Sequence[Tensor]], reference: Function | None = None
) -> Function:
    """Return a replay of `function`, checked on every one of `batches` (the first is traced).

    It is held against `reference`, another way to compute the same, or the function itself.

    `function` takes tensors and returns tensors, and may change some of its inputs in place
    (running statistics); the check compares those too.
    Raises NotTraceableError with the reason.
    """
    recorded = record(function, batches[0])
    tidy(recorded)
    for batch in batches:
        _check(reference or function, recorded.forward, batch)
    replay: Function = recorded.forward
    return replay


def record(function: Function, tensors: Sequence[Tensor]) -> fx.GraphModule:
    """Return what a function does with some tensors.

    Raises NotTraceableError with the reason.
    """
    try:
        recorded: fx.GraphModule = make_fx(function)(*_copies(tensors))
    except Exception as error:
        # Anything may be raised from within a user's network; the reason is what matters here.
        raise NotTraceableError(_reason(error)) from error
    return recorded


def _reason(error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first_line}"[:200]


def _copies(batch: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors with their strides.

    A trial's weights are a view into its row of the flat storage. Recorded on a contiguous copy,
    a `reshape` would become a `view` that the real ones refuse.
    """
    return [_copy(tensor.detach()) for tensor in batch]


def _copy(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous() or 0 in tensor.stride():
        return tensor.clone()
    return tensor.new_empty_strided(tensor.shape, tensor.stride()).copy_(tensor)


def _check(function: Function, replay: Function, batch: Sequence[Tensor]) -> None:
    """Hold the replay against the function: results, and inputs changed in place."""
    expected_inputs, got_inputs = _copies(batch), _copies(batch)
    expected = function(*expected_inputs)
    with torch.no_grad():
        got = replay(*got_inputs)
    same([*expected, *expected_inputs], [*got, *got_inputs], lambda: precise(function, batch))


def precise(function: Function, batch: Sequence[Tensor]) -> list[Tensor]:
    """Return results and changed inputs of a function in double precision."""
    doubles = [t.double() if t.is_floating_point() else t.clone() for t in batch]
    return [*function(*doubles), *doubles]


def same(
    expected: Sequence[Tensor],
    got: Sequence[Tensor],
    exact: Callable[[], Sequence[Tensor]] | None = None,
) -> None:
    """Hold tensors [trials, ...] against others. Raises NotTraceableError where they differ.

    `exact` gives the expected ones in double precision: where terms cancel, it tells how much of
    what is expected is rounding, and no more can be asked for.
    """
    for number, (wanted, value) in enumerate(zip(expected, got, strict=True)):
        close = wanted.shape == value.shape and torch.allclose(
            wanted, value, rtol=1e-4, atol=1e-6, equal_nan=True
        )
        if not close and not (exact and _rounded(wanted, value, exact()[number])):
            raise NotTraceableError(f"the traced step gives another tensor {number}")


def _rounded(wanted: Tensor, value: Tensor, exact: Tensor) -> bool:
    """Tell whether each trial's numbers differ by no more than rounding has moved the largest."""
    if wanted.shape != value.shape or not wanted.ndim or not exact.is_floating_point():
        return False
    rows = [tensor.reshape(len(wanted), -1).double() for tensor in (wanted, value, exact)]
    moved = (rows[0] - rows[2]).abs().amax(dim=1, keepdim=True)
    allowed = 1e-6 + 1e-4 * rows[2].abs() + ROUNDING * moved
    return bool(((rows[1] - rows[2]).abs() <= allowed).all())
