"""Every activation against its kernel, finite differences, and its own declarations."""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from component_cases import (
    CLASSES,
    TOLERANCE,
    activation_inputs,
    consistent,
    default_knobs,
    each_knob_varied,
    generator,
    is_float,
    learned,
    values_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev, vmap

from lossbench.components.activations.along_a_dimension import glu
from lossbench.errors import UsageError
from lossbench.kernels import activation_function
from lossbench.registry import Entry, activation

EVERY = [pytest.param(entry, id=name) for name, entry in activation.items()]
ELEMENTWISE = [p for p in EVERY if p.values[0].facts.elementwise]  # type: ignore[attr-defined]
TRAINABLE = [p for p in EVERY if not p.values[0].facts.kernel_only]  # type: ignore[attr-defined]
WITH_KERNEL = [p for p in EVERY if p.values[0].kernel]  # type: ignore[attr-defined]
DTYPES = [torch.float32, torch.float64]


def evaluate(entry: Entry[Any], knobs: dict[str, Any]) -> Any:
    """Return the formula as a function; of those that draw, what they do in evaluation."""

    def call(x: Tensor, **parameters: Tensor) -> Tensor:
        return entry.function(x, **knobs, **parameters)

    return call


def value_and_gradients(function: Any, x: Tensor, parameters: dict[str, Tensor]) -> list[Tensor]:
    """Return the values, and the derivatives of their weighted sum by input and parameters."""
    leaves = [
        x.clone().requires_grad_(),
        *(p.clone().requires_grad_() for p in parameters.values()),
    ]
    values = function(leaves[0], **dict(zip(parameters, leaves[1:], strict=True)))
    weights = torch.linspace(0.5, 1.5, values.numel(), dtype=x.dtype).reshape(values.shape)
    return [values.detach(), *torch.autograd.grad((values * weights).sum(), leaves)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("entry", WITH_KERNEL)
def test_formula_equals_kernel_in_value_and_gradient(entry: Entry[Any], dtype: torch.dtype) -> None:
    for knobs in each_knob_varied(entry):
        parameters = learned(entry, knobs, dtype)
        kernel = activation_function(entry, knobs, "kernel")
        for sort, x in activation_inputs(entry, knobs, dtype).items():
            ours = value_and_gradients(evaluate(entry, knobs), x, parameters)
            torchs = value_and_gradients(kernel, x, parameters)
            for mine, other in zip(ours, torchs, strict=True):
                torch.testing.assert_close(
                    mine,
                    other,
                    **TOLERANCE[dtype],
                    msg=lambda text, k=knobs, s=sort: f"{s}, {k}: {text}",
                )


@pytest.mark.parametrize("entry", EVERY)
def test_finite_in_value_and_gradient_up_to_1e4(entry: Entry[Any]) -> None:
    for knobs in each_knob_varied(entry):
        parameters = learned(entry, knobs, torch.float32)
        for x in activation_inputs(entry, knobs, torch.float32).values():
            for tensor in value_and_gradients(evaluate(entry, knobs), x, parameters):
                assert torch.isfinite(tensor).all(), knobs


@pytest.mark.parametrize("entry", EVERY)
def test_derivative_equals_finite_differences(entry: Entry[Any]) -> None:
    for knobs in each_knob_varied(entry):
        parameters = learned(entry, knobs, torch.float64)
        x = 3 * torch.randn(6, CLASSES, generator=generator(1), dtype=torch.float64)
        for kink in entry.facts.kinks_with(knobs):
            x = torch.where((x - kink).abs() < 1e-3, kink + 1e-2, x)
        leaves = [x.requires_grad_(), *(p.requires_grad_() for p in parameters.values())]

        def call(x: Tensor, *values: Tensor, entry=entry, knobs=knobs, names=tuple(parameters)):
            return entry.function(x, **knobs, **dict(zip(names, values, strict=True)))

        assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("entry", EVERY)
def test_keeps_dtype_and_shape(entry: Entry[Any], dtype: torch.dtype) -> None:
    knobs = default_knobs(entry)
    x = torch.randn(3, CLASSES, 2, generator=generator()).to(dtype)
    y = entry.function(x, **knobs, **{
        name: value.to(dtype) for name, value in learned(entry, knobs, torch.float32).items()
    })  # fmt: skip
    assert y.dtype == dtype
    change = entry.facts.output_shape
    assert tuple(y.shape[1:]) == (change(x.shape[1:], **knobs) if change else x.shape[1:])


@pytest.mark.parametrize("entry", EVERY)
def test_nan_stays_visible(entry: Entry[Any]) -> None:
    knobs = default_knobs(entry)
    x = torch.full((2, CLASSES), math.nan)
    assert entry.function(x, **knobs, **learned(entry, knobs, x.dtype)).isnan().all()


@pytest.mark.parametrize("entry", EVERY)
def test_declared_range_holds_and_is_reached(entry: Entry[Any]) -> None:
    knobs = default_knobs(entry)
    grid = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e4, -100.0, 100.0, 1e4])])
    x = torch.stack([grid, grid.flip(0)], 1).double()
    values = entry.function(x, **knobs, **learned(entry, knobs, x.dtype))
    lowest, highest = entry.facts.range
    assert lowest <= values.min()
    assert values.max() <= highest
    if math.isfinite(lowest):
        assert values.min() < lowest + 1e-3
    if math.isfinite(highest):
        assert values.max() > highest - 1e-3


def slopes(entry: Entry[Any], knobs: dict[str, Any], points: list[float]) -> list[float]:
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    y = entry.function(x, **knobs, **learned(entry, {**knobs, "per": "scalar"}, x.dtype))
    return torch.autograd.grad(y.sum(), x)[0].tolist()


@pytest.mark.parametrize("entry", ELEMENTWISE)
def test_kinks_are_declared_completely(entry: Entry[Any]) -> None:
    """At every declared kink something jumps for some knobs; elsewhere the derivative does not."""
    jumped: set[int] = set()
    for knobs in each_knob_varied(entry):
        kinks = entry.facts.kinks_with(knobs)
        for place in {*(step / 4 for step in range(-32, 33)), *kinks}:
            left, right = slopes(entry, knobs, [place - 1e-7, place + 1e-7])
            jumps = abs(left - right) > 1e-3
            assert not jumps or place in kinks, (place, knobs)
            if jumps:
                jumped.add(kinks.index(place))
    assert len(jumped) == len(entry.facts.kinks)


@pytest.mark.parametrize("entry", TRAINABLE)
def test_knobs_that_differ_between_trials(entry: Entry[Any]) -> None:
    """A float knob as a tensor under vmap gives what a loop over plain numbers gives."""
    base = default_knobs(entry)
    x = 3 * torch.randn(3, 5, CLASSES, generator=generator(2))
    parameters = learned(entry, base, x.dtype)
    for knob in filter(is_float, entry.knobs):
        values = [v for v in values_of(knob) if consistent(entry, {**base, knob.name: v})][:3]
        trials = x[: len(values)]

        def trial(x: Tensor, value: Any, name: str = knob.name) -> Tensor:
            return activation_function(entry, {**base, name: value})(x, **parameters)

        together = vmap(trial)(trials, torch.tensor(values))
        alone = torch.stack([trial(x, value) for x, value in zip(trials, values, strict=True)])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
        first = trial(trials[0], torch.tensor(values[0]))
        torch.testing.assert_close(first, alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("entry", EVERY)
def test_documentation_is_complete(entry: Entry[Any]) -> None:
    sections = entry.doc.sections
    for name in ("Formula", "Derivative", "Shapes", "Range", "Reference"):
        assert sections.get(name), name
    assert entry.doc.summary.endswith(".")
    for knob in entry.knobs:
        assert knob.doc, knob.name
        assert not isinstance(knob.annotation, str)


# --- identities: second derivations that share no code with the formulas ------------------------

numbers = st.lists(
    st.floats(-60, 60, allow_subnormal=False), min_size=CLASSES, max_size=CLASSES
).map(lambda values: torch.tensor([values], dtype=torch.float64))


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def formula(name: str, x: Tensor, **knobs: Any) -> Tensor:
    return activation[name].function(x, **knobs)


@settings(max_examples=60, deadline=None)
@given(x=numbers)
def test_identities_between_activations(x: Tensor) -> None:
    assert close(formula("sigmoid", x) + formula("sigmoid", -x), torch.ones_like(x))
    assert close(formula("tanh", x), 2 * formula("sigmoid", 2 * x) - 1)
    assert close(formula("softplus", x, threshold=100.0) - formula("softplus", -x), x)
    assert close(formula("log_sigmoid", x).exp(), formula("sigmoid", x))
    assert close(formula("relu6", x), formula("hardtanh", x, min_val=0.0, max_val=6.0))
    assert close(formula("leaky_relu", x, negative_slope=0.0), formula("relu", x))
    assert close(formula("leaky_relu", x, negative_slope=1.0), formula("identity", x))
    assert close(formula("celu", x, alpha=1.0), formula("elu", x))
    assert close(formula("hardswish", x), x * formula("hardsigmoid", x))
    assert close(formula("silu", x), x * formula("sigmoid", x))
    assert close(formula("gelu", x) - formula("gelu", -x), x)
    assert close(formula("softshrink", x) + formula("hardtanh", x, min_val=-0.5, max_val=0.5), x)
    assert close(formula("threshold", x, threshold=0.0, value=0.0), formula("relu", x))


@settings(max_examples=60, deadline=None)
@given(x=numbers, shift=st.floats(-1e3, 1e3))
def test_softmax_is_a_distribution_that_ignores_a_shift(x: Tensor, shift: float) -> None:
    probabilities = formula("softmax", x)
    assert close(probabilities.sum(-1), torch.ones(1, dtype=torch.float64))
    assert torch.allclose(formula("softmax", x + shift), probabilities, rtol=1e-8, atol=1e-12)
    assert close(formula("softmin", x), formula("softmax", -x))
    assert close(formula("log_softmax", x).exp(), probabilities)


def test_jacobian_of_softmax() -> None:
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    p = formula("softmax", x)
    expected = torch.diag(p) - torch.outer(p, p)  # p_i ([i = j] - p_j)
    assert close(jacrev(activation["softmax"].function)(x), expected)
    assert close(jacrev(activation["softmin"].function)(-x), -expected)


def test_known_values() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    known = {
        "gelu": [-0.15865525, 0.0, 1.95449974],
        "silu": [-0.26894142, 0.0, 1.76159416],
        "mish": [-0.30340146, 0.0, 1.94395896],
        "selu": [-1.11133074, 0.0, 2.10140197],
        "softplus": [0.31326169, 0.69314718, 2.12692801],
        "softsign": [-0.5, 0.0, 2 / 3],
    }
    for name, values in known.items():
        expected = torch.tensor(values, dtype=torch.float64)
        assert torch.allclose(formula(name, x), expected, atol=1e-7), name


def test_slope_of_prelu_per_channel_meets_dimension_one() -> None:
    x = torch.randn(3, 2, 4, generator=generator())
    slope = torch.tensor([0.1, 0.9]).reshape(2, 1)
    for impl in ("formula", "kernel"):
        y = activation_function(activation["prelu"], {"per": "channel"}, impl)(x, slope=slope)
        for channel, factor in enumerate((0.1, 0.9)):
            expected = torch.nn.functional.leaky_relu(x[:, channel], factor)
            torch.testing.assert_close(y[:, channel], expected)


def test_rrelu_draws_in_training_only() -> None:
    call = activation_function(activation["rrelu"], {"lower": 0.1, "upper": 0.3})
    x = torch.full((1000,), -1.0)
    torch.manual_seed(0)
    drawn = -call(x, training=True)
    assert 0.1 <= drawn.min() < 0.11
    assert 0.29 < drawn.max() <= 0.3
    torch.testing.assert_close(call(x), torch.full((1000,), -0.2))


def test_glu_refuses_what_cannot_be_halved() -> None:
    shape_behind = activation["glu"].facts.output_shape
    assert shape_behind is not None
    assert shape_behind((6, 5), dim=1) == (3, 5)
    assert shape_behind((6, 4), dim=-1) == (6, 2)
    for shape, dim, words in [
        ((5,), -1, "5 entries"),
        ((6,), 0, "0 is the batch"),
        ((6,), 2, "-1 to -1, or 1 to 1"),
    ]:
        with pytest.raises(UsageError, match=words):
            shape_behind(shape, dim=dim)
    with pytest.raises(UsageError, match="cannot be halved"):
        glu(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("hardtanh", {"min_val": 1.0, "max_val": 1.0}, "min_val = 1.0 is not below"),
        ("rrelu", {"lower": 0.5, "upper": 0.2}, "lower = 0.5 is above"),
    ],
)
def test_knobs_that_contradict_each_other(name: str, knobs: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        activation_function(activation[name], knobs)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("nn.ReLU6", "relu6"),
        ("torch.nn.LogSigmoid", "log_sigmoid"),
        ("logsigmoid", "log_sigmoid"),
        ("LeakyReLU", "leaky_relu"),
        ("F.hardtanh", "hardtanh"),
        ("nn.Softmax", "softmax"),
        ("nn.GELU", "gelu"),
    ],
)
def test_torchs_spellings(spelling: str, name: str) -> None:
    assert activation.find(spelling).name == name


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; from lossbench.registry import activation, loss;"
        "assert len(activation) and len(loss); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
