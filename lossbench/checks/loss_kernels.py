"""What every loss promises where torch ships one too: the same values, gradients and sums."""

from collections.abc import Callable
from typing import Any

from lossbench.checks.contracts import SkippedError, contract
from lossbench.checks.knobs import all_combinations, said, with_tensors
from lossbench.checks.loss_inputs import (
    SHAPES,
    Inputs,
    Loss,
    draw_inputs,
    each_case,
    encodings_of,
    suits,
    terms_of,
    value_and_gradients,
    what,
)
from lossbench.checks.numbers import require_close, tolerance
from lossbench.components.samples import SORTS
from lossbench.kernels import reduce
from lossbench.lazy import Tensor, torch


def _require_kernel(entry: Loss) -> Callable[..., Any]:
    if not entry.kernel:
        raise SkippedError("torch ships no kernel")
    shipped = entry.load_kernel()
    if shipped is None:
        raise SkippedError(f"this torch ({torch.__version__}) has no {entry.kernel}")
    if entry.facts.kernel_only:
        raise SkippedError(entry.facts.kernel_only)
    return shipped


@contract("loss")
def kernel(entry: Loss) -> None:
    """Formula and kernel agree in value and gradient, in float32 and float64."""
    _require_kernel(entry)
    for dtype in (torch.float32, torch.float64):
        rtol, atol = tolerance(dtype)
        for knobs, encoding, part in each_case(entry):
            for sort in SORTS:
                inputs = draw_inputs(entry, knobs, encoding, dtype, sort) | part
                ours = value_and_gradients(entry, knobs, inputs)
                torchs = value_and_gradients(entry, knobs, inputs, "kernel")
                certain = _certain(entry, inputs)
                for name, other in torchs.items():
                    sound = torch.isfinite(other)
                    if name and certain is not None:
                        sound &= ~certain
                    if not bool(sound.any()):
                        continue
                    scale = atol * max(1.0, float(other[sound].abs().max()))
                    words = f"{what(name)}, {sort} inputs{said(knobs, entry)}"
                    require_close(ours[name][sound], other[sound], words, rtol=rtol, atol=scale)


def _certain(entry: Loss, inputs: Inputs) -> Tensor | None:
    """Return where torch's gradient is not that of its value (+-1e12): at probabilities 0 and 1."""
    if entry.facts.prediction != "probabilities" or "prediction" not in inputs:
        return None
    prediction = inputs["prediction"]
    return (prediction <= 0) | (prediction >= 1)


@contract("loss")
def reductions(entry: Loss) -> None:
    """Mean and sum are torch's, for every combination of knobs: weights, ignored labels, ..."""
    shipped = _require_kernel(entry)
    for encoding in encodings_of(entry):
        for knobs in filter(lambda knobs: suits(knobs, encoding), all_combinations(entry)):
            for shape in SHAPES:
                if len(shape) > 2 and (entry.facts.inputs or encoding == "labels"):
                    continue
                inputs = draw_inputs(entry, knobs, encoding, torch.float64, "random", shape)
                _same_reductions(entry, knobs, inputs, shipped, shape)


def _same_reductions(
    entry: Loss, knobs: dict[str, Any], inputs: Inputs, shipped: Any, shape: tuple[int, ...]
) -> None:
    given = with_tensors(entry, knobs, torch.float64)
    given |= {name: value for name, value in inputs.items() if name not in entry.inputs}
    renamed = entry.facts.kernel_knobs(given) if entry.facts.kernel_knobs else given
    plain = [inputs[name] for name in entry.inputs]
    try:
        expected = {r: shipped(*plain, **renamed, reduction=r) for r in ("mean", "sum")}
    except RuntimeError:
        if len(shape) == 2:
            raise
        return  # torch's own limits: [N, C] only, or weights of the last dimension
    for impl in ("formula", "kernel"):
        terms = terms_of(entry, knobs, inputs, impl)
        for reduction, value in expected.items():
            words = f"the {reduction} by the {impl}{said(knobs, entry)}"
            require_close(reduce(terms, reduction), value, words, rtol=1e-7, atol=1e-9)
