"""Every loss against its kernel, finite differences, other libraries, and its declarations."""

import math
import re
from typing import Any

import pytest
import torch
from component_cases import (
    CLASSES,
    SAMPLES,
    TOLERANCE,
    all_combinations,
    default_knobs,
    each_knob_varied,
    is_float,
    loss_inputs,
    values_of,
    vectors_as_tensors,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap

from lossbench.components.vocabulary import Terms
from lossbench.kernels import loss_function, reduce
from lossbench.registry import Entry, loss

CASES = [
    pytest.param(entry, encoding, id=f"{name}-{encoding}")
    for name, entry in loss.items()
    for encoding in entry.facts.encodings
]
WITH_KERNEL = [case for case in CASES if case.values[0].kernel]  # type: ignore[attr-defined]
EVERY = [pytest.param(entry, id=name) for name, entry in loss.items()]
DTYPES = [torch.float32, torch.float64]


def served(entry: Entry[Any], knobs: dict[str, Any], encoding: str) -> bool:
    """Tell whether the knobs suit the encoding: labels to ignore exist among indices only."""
    return not (encoding == "distribution" and knobs.get("ignore_index", -1) >= 0)


def judge(entry: Entry[Any], knobs: Any, inputs: dict[str, Tensor], impl: str) -> Terms:
    return loss_function(entry, knobs, impl)(**inputs)


def value_and_gradients(
    entry: Entry[Any], knobs: Any, inputs: dict[str, Tensor], impl: str
) -> list[Tensor]:
    """Return the values, and the derivatives of their sum by the prediction and further heads."""
    leaves = {n: v.clone().requires_grad_() for n, v in inputs.items() if n != "target"}
    values = judge(entry, knobs, {**inputs, **leaves}, impl).values
    return [values.detach(), *torch.autograd.grad(values.sum(), list(leaves.values()))]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("entry", "encoding"), WITH_KERNEL)
def test_formula_equals_kernel_in_value_and_gradient(
    entry: Entry[Any], encoding: Any, dtype: torch.dtype
) -> None:
    for knobs in each_knob_varied(entry):
        if not served(entry, knobs, encoding):
            continue
        for sort, inputs in loss_inputs(entry, knobs, encoding, dtype).items():
            prediction = inputs["prediction"]
            ours = value_and_gradients(entry, knobs, inputs, "formula")
            torchs = value_and_gradients(entry, knobs, inputs, "kernel")
            # At probabilities of 0 and 1 torch's gradient is not that of its value (+-1e12).
            certain = entry.facts.prediction == "probabilities" and (
                (prediction <= 0) | (prediction >= 1)
            )
            for position, (mine, other) in enumerate(zip(ours, torchs, strict=True)):
                if position and certain is not False:
                    mine, other = mine.masked_fill(certain, 0), other.masked_fill(certain, 0)
                # Where a kernel overflows, the formula is asked to be finite (below), not equal.
                sound = torch.isfinite(other)
                assert sound.any()
                scale = TOLERANCE[dtype]["atol"] * max(1.0, float(other[sound].abs().max()))
                torch.testing.assert_close(
                    mine[sound],
                    other[sound],
                    rtol=TOLERANCE[dtype]["rtol"],
                    atol=scale,
                    msg=lambda text, k=knobs, s=sort: f"{s}, {k}: {text}",
                )


@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_finite_in_value_and_gradient(entry: Entry[Any], encoding: Any) -> None:
    for knobs in each_knob_varied(entry):
        if not served(entry, knobs, encoding):
            continue
        for sort, inputs in loss_inputs(entry, knobs, encoding, torch.float32).items():
            for tensor in value_and_gradients(entry, knobs, inputs, "formula"):
                assert torch.isfinite(tensor).all(), (sort, knobs)


@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_derivative_equals_finite_differences(entry: Entry[Any], encoding: Any) -> None:
    for knobs in each_knob_varied(entry):
        if not served(entry, knobs, encoding):
            continue
        inputs = loss_inputs(entry, knobs, encoding, torch.float64)["random"]
        names = [name for name in inputs if name != "target"]

        def call(*leaves: Tensor, names=names, inputs=inputs, knobs=knobs) -> Tensor:
            given = {**inputs, **dict(zip(names, leaves, strict=True))}
            return judge(entry, knobs, given, "formula").values

        assert torch.autograd.gradcheck(call, [inputs[n].requires_grad_() for n in names])


@pytest.mark.parametrize(
    ("entry", "encoding", "shape"),
    [
        pytest.param(*case.values, shape, id=f"{case.id}-{len(shape)}d")
        for case in WITH_KERNEL
        for shape in ((SAMPLES, CLASSES), (3, CLASSES, 2, 2))
        if len(shape) == 2 or "labels" not in case.values
    ],
)
@pytest.mark.filterwarnings("ignore:reduction. .mean. divides:UserWarning")  # kl_div says so
def test_mean_and_sum_are_torchs(entry: Entry[Any], encoding: Any, shape: tuple[int, ...]) -> None:
    """For every combination of knobs: class weights, ignored labels, smoothing, ..."""
    kernel = entry.load_kernel()
    assert kernel is not None
    for knobs in all_combinations(entry):
        if not served(entry, knobs, encoding):
            continue
        inputs = loss_inputs(entry, knobs, encoding, torch.float64, shape)["random"]
        vectors = vectors_as_tensors(knobs, torch.float64)
        given = {
            **vectors,
            **{n: v for n, v in inputs.items() if n not in ("prediction", "target")},
        }
        renamed = entry.facts.kernel_knobs(given) if entry.facts.kernel_knobs else given
        plain = inputs["prediction"], inputs["target"]
        try:
            expected = {r: kernel(*plain, **renamed, reduction=r) for r in ("mean", "sum")}
        except RuntimeError:
            assert (
                len(shape) > 2
            )  # torch's own limits: [N, C] only, or weights of the last dimension
            continue
        for impl in ("formula", "kernel"):
            terms = judge(entry, knobs, inputs, impl)
            for reduction, value in expected.items():
                torch.testing.assert_close(
                    reduce(terms, reduction), value, rtol=1e-9, atol=1e-12, msg=str(knobs)
                )


@pytest.mark.filterwarnings("error:There is a performance drop")  # vmap looping over a kernel
@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_trials_under_vmap_equal_a_loop(entry: Entry[Any], encoding: Any) -> None:
    """Predictions and every float knob may differ between the trials of a group."""
    base = default_knobs(entry)
    inputs = loss_inputs(entry, base, encoding, torch.float32)
    trials = [inputs["random"], inputs["constant"], inputs["boundary"]]
    names = list(trials[0])
    stacked = [torch.stack([trial[name] for trial in trials]) for name in names]

    def step(*tensors: Tensor, **knobs: Any) -> tuple[Tensor, Tensor, Tensor]:
        def total(prediction: Tensor) -> tuple[Tensor, Tensor]:
            given = {**dict(zip(names, tensors, strict=True)), "prediction": prediction}
            terms = loss_function(entry, {**base, **knobs})(**given)
            return terms.total(), torch.as_tensor(terms.weight_sum())

        gradient, weight = torch.func.grad(total, has_aux=True)(tensors[0])
        return gradient, total(tensors[0])[0], weight

    def loop(**knobs: Any) -> list[Tensor]:
        each = [
            step(*(t[i] for t in stacked), **{name: values[i] for name, values in knobs.items()})
            for i in range(len(trials))
        ]
        return [torch.stack(part) for part in zip(*each, strict=True)]

    for mine, other in zip(vmap(step)(*stacked), loop(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    for knob in filter(is_float, entry.knobs):
        values = (values_of(knob) * 3)[: len(trials)]

        def varied(value: Tensor, *tensors: Tensor, name: str = knob.name) -> Any:
            return step(*tensors, **{name: value})

        together = vmap(varied)(torch.tensor(values), *stacked)
        for mine, other in zip(together, loop(**{knob.name: values}), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_keeps_the_dtype(entry: Entry[Any], encoding: Any, dtype: torch.dtype) -> None:
    for knobs in each_knob_varied(entry):
        if not served(entry, knobs, encoding):
            continue
        inputs = loss_inputs(entry, knobs, encoding, torch.float32)["random"]
        lowered = {n: v.to(dtype) if v.is_floating_point() else v for n, v in inputs.items()}
        terms = judge(entry, knobs, lowered, "formula")
        assert terms.values.dtype == dtype
        assert terms.weight is None or terms.weight.dtype == dtype


@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_nan_stays_visible(entry: Entry[Any], encoding: Any) -> None:
    knobs = default_knobs(entry)
    inputs = loss_inputs(entry, knobs, encoding, torch.float32)["random"]
    broken = {**inputs, "prediction": torch.full_like(inputs["prediction"], math.nan)}
    assert judge(entry, knobs, broken, "formula").total().isnan()


@pytest.mark.parametrize(("entry", "encoding"), CASES)
def test_documented_range(entry: Entry[Any], encoding: Any) -> None:
    found = re.fullmatch(r"[\[(](-?[\w.]+), (-?[\w.]+)[\])]", entry.doc.sections["Range"])
    assert found, entry.doc.sections["Range"]
    lowest, highest = float(found[1]), float(found[2])
    for knobs in each_knob_varied(entry):
        if not served(entry, knobs, encoding):
            continue
        for inputs in loss_inputs(entry, knobs, encoding, torch.float64).values():
            values = judge(entry, knobs, inputs, "formula").values
            assert lowest <= values.min()
            assert values.max() <= highest


RESIDUAL = [
    pytest.param(entry, id=name)
    for name, entry in loss.items()
    if entry.facts.encodings == ("real",) and not entry.facts.heads
]


@pytest.mark.parametrize("entry", RESIDUAL)
@settings(max_examples=40, deadline=None)
@given(pair=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
def test_declared_symmetry_and_zero_hold(entry: Entry[Any], pair: tuple[float, float]) -> None:
    x, y = (torch.tensor([value], dtype=torch.float64) for value in pair)
    for knobs in each_knob_varied(entry):
        if entry.facts.symmetric:
            assert torch.equal(entry.function(x, y, **knobs), entry.function(y, x, **knobs))
        if entry.facts.zero_at_target:
            assert entry.function(x, x, **knobs) == 0
            assert entry.function(x, y, **knobs) >= 0


@pytest.mark.parametrize("entry", RESIDUAL)
def test_symmetry_and_zero_are_declared_where_they_hold(entry: Entry[Any]) -> None:
    x = torch.linspace(-2, 2, 9).double()
    y = x.flip(0) * 0.7 + 0.1
    knobs = default_knobs(entry)
    symmetric = torch.equal(entry.function(x, y, **knobs), entry.function(y, x, **knobs))
    assert entry.facts.symmetric == symmetric
    assert entry.facts.zero_at_target == bool((entry.function(x, x, **knobs) == 0).all())


@pytest.mark.parametrize("entry", EVERY)
def test_documentation_is_complete(entry: Entry[Any]) -> None:
    for name in ("Formula", "Derivative", "Shapes", "Range", "Reference"):
        assert entry.doc.sections.get(name), name
    assert entry.doc.summary.endswith(".")
    for knob in entry.knobs:
        assert knob.doc, knob.name
        assert not isinstance(knob.annotation, str)
