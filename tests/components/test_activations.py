"""Activations: identities, Jacobians, limits and refusals that no declaration can say.

What every activation promises (kernel, derivative, range, kinks, knobs) is held by
test_contracts.py; published numbers are in test_activation_values.py.
"""

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.components.activations.gated_units import glu
from lossbench.components.samples import CLASSES, Draw
from lossbench.errors import UsageError
from lossbench.kernels import activation_function
from lossbench.registry import activation
from lossbench.training.model import ActivationMaker

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
    assert close(formula("hardswish", x), x * formula("hardsigmoid", x))
    assert close(formula("silu", x), x * formula("sigmoid", x))
    assert close(formula("gelu", x) - formula("gelu", -x), x)
    assert close(formula("softshrink", x) + formula("hardtanh", x, min_val=-0.5, max_val=0.5), x)
    assert close(formula("tanhshrink", x), x - formula("tanh", x))
    assert close(
        formula("isrlu", x.clamp(max=0), alpha=0.7), formula("isru", x.clamp(max=0), alpha=0.7)
    )
    assert close(formula("isrlu", x.clamp(min=0)), formula("relu", x))
    assert close(formula("star_relu", x, scale=1.0, bias=0.0), formula("squared_relu", x))
    assert close(formula("squareplus", x, b=4.0) - formula("squareplus", -x, b=4.0), x)
    assert close(formula("sparse_plus", x) - formula("sparse_plus", -x), x)
    assert close(formula("sparse_sigmoid", x), formula("hardtanh", x) / 2 + 0.5)
    assert close(formula("lisht", x), x.abs() * formula("tanh", x.abs()))
    assert close(formula("swish", x, beta=2.0), formula("silu", 2 * x) / 2)
    assert close(formula("penalized_tanh", x, alpha=0.0), formula("tanh", x.clamp(min=0)))
    assert close(formula("flatten_t_swish", x, bottom=0.0), formula("silu", x.clamp(min=0)))
    assert close(formula("hard_mish", x.clamp(min=-2)), x.clamp(min=-2) * (x + 2).clamp(0, 2) / 2)
    assert close(formula("snake", x, alpha=0.5), x + 1 - formula("sine", math.pi / 2 - x))
    assert close(formula("gcu", x), x * formula("sine", x + math.pi / 2))


def test_slope_of_prelu_per_channel_meets_dimension_one() -> None:
    x = Draw().normal(3, 2, 4)
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


# --- learned shapes -----------------------------------------------------------------------------

ten_numbers = torch.linspace(-4, 4, 10, dtype=torch.float64)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_learned_activations_pass_through_known_ones() -> None:
    x, zero, one = ten_numbers, number(0), number(1)
    slopes = {"lower": zero, "lower_slope": zero, "upper": one, "upper_slope": one}
    assert close(formula("srelu", x, **slopes), formula("relu", x))
    slopes["lower_slope"] = number(0.05)
    assert close(formula("srelu", x, **slopes), formula("leaky_relu", x, negative_slope=0.05))
    slopes.update(lower=number(-1), lower_slope=zero, upper_slope=zero)
    assert close(formula("srelu", x, **slopes), formula("hardtanh", x))
    assert close(formula("pelu", x, a=one, b=one), formula("elu", x))
    assert close(formula("pelu", x, a=number(2), b=number(2)), formula("celu", x, alpha=2.0))
    assert close(formula("acon_c", x, p1=one, p2=zero, beta=one), formula("silu", x))
    assert close(formula("acon_c", x, p1=number(3), p2=one, beta=zero), 2 * x)
    sharp = {"p1": one, "p2": number(0.25), "beta": number(1e4)}
    assert close(formula("acon_c", x, **sharp), formula("leaky_relu", x, negative_slope=0.25))
    assert close(formula("learned_swish", x, beta=number(1.7)), formula("swish", x, beta=1.7))
    gelu_like = {"mu": number(1 / math.sqrt(2)), "alpha": 0.0}
    assert close(formula("smu", x, **gelu_like), formula("gelu", x))
    leaky = formula("leaky_relu", x, negative_slope=0.25)
    assert close(formula("smu", x, mu=number(1e6), alpha=0.25), leaky)
    start = {"alpha": number(0.5), "weight": one, "bias": zero}
    assert close(formula("dynamic_tanh", x, **start), formula("tanh", x / 2))


def test_star_relu_starts_with_mean_0_and_variance_1() -> None:
    x = Draw(dtype=torch.float64).normal(400_000)
    parameters = {n: p.value for n, p in activation["star_relu"].facts.parameters.items()}
    y = formula("star_relu", x, **parameters)
    assert abs(float(y.mean())) < 0.01
    assert abs(float(y.var()) - 1) < 0.02


def test_rational_starts_close_to_leaky_relu_and_can_be_others() -> None:
    first = {n: p.value for n, p in activation["rational"].facts.parameters.items()}
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    leaky = formula("leaky_relu", x)
    assert float((formula("rational", x, **first) - leaky).abs().max()) < 0.08
    # The continued fraction of tanh, cut off: the paper's coefficients for it.
    pade = {**dict.fromkeys(first, 0.0), "a1": 1, "a3": 1 / 9, "a5": 1 / 945, "b2": 4 / 9,
            "b4": 1 / 63}  # fmt: skip
    assert torch.allclose(formula("rational", x, **pade), torch.tanh(x), atol=5e-4)


def test_first_values_and_shapes_of_learned_parameters_in_a_network() -> None:
    def place(name: str, shape: tuple[int, ...] = (5, 4), **knobs: Any) -> Any:
        return ActivationMaker(activation[name], {**activation[name].defaults(), **knobs})(shape)[0]

    torch.manual_seed(0)
    acon = place("acon_c")
    assert acon.p1.shape == acon.p2.shape == acon.beta.shape == (5,)
    assert not torch.equal(acon.p1, acon.p2)
    assert torch.equal(acon.beta, torch.ones(5))
    assert abs(float(place("acon_c", (4000,)).p1.detach().std()) - 1) < 0.05
    tanh = place("dynamic_tanh", init=0.8)
    assert float(tanh.alpha.detach()) == pytest.approx(0.8)
    assert (tanh.weight.shape, tanh.bias.shape) == ((5,), (5,))
    assert place("learned_swish", per="channel").beta.shape == (5,)
    assert place("pelu").keep_within == (0.1, math.inf)
    x = Draw().normal(3, 5, 4)
    for name in ("acon_c", "dynamic_tanh", "srelu"):
        module = place(name)
        module(x).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


# --- units that are halved, doubled, or compete ---------------------------------------------------


def test_gates_are_what_their_names_say() -> None:
    a, b = Draw(dtype=torch.float64).normal(2, 3, 4).unbind()
    x = torch.cat([a, b], -1)
    for name, gate in (("bilinear_glu", "identity"), ("reglu", "relu"), ("geglu", "gelu"),
                       ("swiglu", "silu")):  # fmt: skip
        assert close(formula(name, x), formula(gate, a) * b), name
        assert close(formula(name, x.T, dim=0), (formula(gate, a) * b).T), name
    assert close(formula("glu", x), a * formula("sigmoid", b))
    # torch's glu gates with the second half, the variants with the first.
    swapped = torch.cat([b, a], -1)
    assert close(formula("swiglu", x), formula("glu", swapped) * a)


def test_maxout_lets_neighbours_compete() -> None:
    x = torch.tensor([[3.0, 1.0, -2.0, 0.5, 0.0, 7.0]])
    assert formula("maxout", x, k=2).tolist() == [[3.0, 0.5, 7.0]]
    assert formula("maxout", x, k=3).tolist() == [[3.0, 7.0]]
    assert formula("maxout", x, k=1).tolist() == x.tolist()
    y = Draw().normal(2, 6, 3, 3)
    torch.testing.assert_close(formula("maxout", y, k=3), y.reshape(2, 2, 3, 3, 3).amax(2))


def test_crelu_loses_nothing() -> None:
    x = Draw().normal(3, 4, 5)
    y = formula("crelu", x)
    assert y.shape == (3, 8, 5)
    torch.testing.assert_close(y[:, :4] - y[:, 4:], x)
    torch.testing.assert_close(y[:, :4] * y[:, 4:], torch.zeros_like(x))
    torch.testing.assert_close(formula("crelu", x, dim=-1), torch.cat([x.relu(), (-x).relu()], -1))


@pytest.mark.parametrize(
    ("name", "shape", "knobs", "words"),
    [
        ("maxout", (7, 3), {"k": 2}, "maxout: 7 channels do not fall into groups of 2"),
        ("swiglu", (5,), {"dim": -1}, "swiglu: dimension -1 has 5 entries"),
        ("reglu", (6,), {"dim": 0}, "reglu: dim = 0 is not a dimension"),
        ("crelu", (6,), {"dim": 2}, "crelu: dim = 2 is not a dimension"),
    ],
)
def test_shapes_that_do_not_fit(name: str, shape: tuple[int, ...], knobs: Any, words: str) -> None:
    behind = activation[name].facts.output_shape
    assert behind is not None
    with pytest.raises(UsageError, match=words):
        behind(shape, **knobs)


@pytest.mark.parametrize("name", ["frelu", "DynamicReLU", "meta_acon", "MultiheadAttention"])
def test_what_holds_layers_of_its_own_is_a_layer(name: str) -> None:
    with pytest.raises(UsageError, match="holds layers of its own") as caught:
        activation.find(name)
    assert "it is a layer" in str(caught.value.hint)
