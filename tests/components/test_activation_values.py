"""Activations against numbers from outside: other libraries, papers, plain arithmetic."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from lossbench import activations
from lossbench.registry import activation

COUNTING = [-1.0, 0.0, 1.0, 2.0, 3.0]
HALF = [-0.5, 0.0, 1.0, 2.0, 3.0]

KERAS = [
    ("relu", {}, COUNTING, [0, 0, 1, 2, 3]),
    ("sigmoid", {}, COUNTING, [0.26894143, 0.5, 0.7310586, 0.880797, 0.95257413]),
    ("sparse_sigmoid", {}, COUNTING, [0.0, 0.5, 1.0, 1.0, 1.0]),
    ("softplus", {}, COUNTING, [0.31326166, 0.6931472, 1.3132616, 2.126928, 3.0485873]),
    ("softsign", {}, COUNTING, [-0.5, 0, 0.5, 0.6666667, 0.75]),
    ("silu", {}, COUNTING, [-0.26894143, 0, 0.7310586, 1.7615942, 2.8577223]),
    ("log_sigmoid", {}, COUNTING, [-1.3132616, -0.6931472, -0.31326166, -0.126928, -0.04858732]),
    ("leaky_relu", {"negative_slope": 0.2}, COUNTING, [-0.2, 0, 1, 2, 3]),
    ("hardsigmoid", {}, COUNTING, [0.33333334, 0.5, 0.6666667, 0.8333334, 1.0]),
    ("elu", {"alpha": 0.5}, COUNTING, [-0.31606027, 0, 1, 2, 3]),
    ("selu", {}, COUNTING, [-1.1113307, 0.0, 1.050701, 2.101402, 3.152103]),
    ("gelu", {"approximate": "tanh"}, COUNTING,
     [-0.15880796, 0.0, 0.841192, 1.9545977, 2.9963627]),
    ("celu", {}, COUNTING, [-0.63212055, 0.0, 1.0, 2.0, 3.0]),
    ("glu", {}, [*COUNTING, 4.0], [-0.8807971, 0.0, 0.98201376]),
    ("tanhshrink", {}, COUNTING, [-0.238406, 0.0, 0.238406, 1.035972, 2.004945]),
    ("hardshrink", {}, HALF, [0.0, 0.0, 1.0, 2.0, 3.0]),
    ("softshrink", {}, HALF, [0.0, 0.0, 0.5, 1.5, 2.5]),
    ("squareplus", {}, HALF, [0.780776, 1.0, 1.618034, 2.414214, 3.302776]),
    ("sparse_plus", {}, HALF, [0.0625, 0.25, 1.0, 2.0, 3.0]),
    ("sparsemax", {}, HALF, [0.0, 0.0, 0.0, 0.0, 1.0]),
    ("softmax", {}, [1.0, 2.0, 3.0], [0.09003057, 0.24472848, 0.66524094]),
    ("log_softmax", {}, [1.0, 2.0, 3.0], [-2.407606, -1.407606, -0.407606]),
]  # fmt: skip
ADDONS = [
    ("lisht", {}, [-2.0, -1.0, 0.0, 1.0, 2.0],
     [1.9280552, 0.7615942, 0.0, 0.7615942, 1.9280552]),
]  # fmt: skip
BI_TEMPERED = [
    ("tempered_softmax", {"t": 4.0}, [-0.5, 0.1, 2.0], [0.3205458, 0.32714278, 0.3523402]),
    ("tempered_softmax", {"t": 4.0}, [0.1, 1.5, -5.0], [0.3430056, 0.36491093, 0.29220778]),
    ("tempered_softmax", {"t": 4.0}, [4.0, -3.0, -6.0], [0.41369352, 0.30534995, 0.28299212]),
    ("tempered_sigmoid", {"t": 4.0}, [0.0, 3.0, 6.0], [0.5, 0.58516014, 0.6421035]),
]


@pytest.mark.parametrize(("name", "knobs", "x", "expected"), [*KERAS, *ADDONS, *BI_TEMPERED])
def test_numbers_that_other_libraries_test_for(name, knobs, x, expected) -> None:  # type: ignore[no-untyped-def]
    """Of Keras (ops/nn_test.py), TensorFlow Addons, and the authors of bi-tempered loss."""
    found = getattr(activations, name)(torch.tensor(x, dtype=torch.float64), **knobs)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


ARITHMETIC: dict[str, Callable[[float], float]] = {
    "gelu": lambda x: x * ndtr(x),
    "mish": lambda x: x * math.tanh(_softplus(x)),
    "swish": lambda x: x * _sigmoid(x),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "e_swish": lambda x: 1.5 * x * _sigmoid(x),
    "tanh_exp": lambda x: x * math.tanh(math.exp(x)),
    "serf": lambda x: x * math.erf(_softplus(x)),
    "smish": lambda x: x * math.tanh(math.log(1 + _sigmoid(x))),
    "logish": lambda x: x * math.log(1 + _sigmoid(x)),
    "phish": lambda x: x * math.tanh(x * ndtr(x)),
    "hard_mish": lambda x: 0.5 * x * min(2, max(0, x + 2)),
    "elish": lambda x: x * _sigmoid(x) if x >= 0 else (math.exp(x) - 1) * _sigmoid(x),
    "flatten_t_swish": lambda x: max(0, x) * _sigmoid(x) - 0.2,
    "squared_relu": lambda x: max(0, x) ** 2,
    "thresholded_relu": lambda x: x if x > 1 else 0,
    "nl_relu": lambda x: math.log(1 + max(0, x)),
    "smelu": lambda x: 0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "isru": lambda x: x / math.sqrt(1 + x * x),
    "isrlu": lambda x: x if x >= 0 else x / math.sqrt(1 + x * x),
    "bent_identity": lambda x: (math.sqrt(x * x + 1) - 1) / 2 + x,
    "arctan": math.atan,
    "lecun_tanh": lambda x: 1.7159 * math.tanh(2 * x / 3),
    "penalized_tanh": lambda x: math.tanh(x) if x > 0 else math.tanh(x) / 4,
    "sine": math.sin,
    "gcu": lambda x: x * math.cos(x),
    "snake": lambda x: x + math.sin(x) ** 2,
    "gaussian": lambda x: math.exp(-x * x),
    "erf": math.erf,
    "star_relu": lambda x: 0.8944 * max(0, x) ** 2 - 0.4472,
    "srelu": lambda x: max(0, x),
    "pelu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "acon_c": lambda x: x * _sigmoid(x),
    "smu": lambda x: max(x, x / 4),
    "dynamic_tanh": lambda x: math.tanh(x / 2),
    "learned_swish": lambda x: x * _sigmoid(x),
}
"""Each formula once more, in plain arithmetic, at its defaults and first values."""


@pytest.mark.parametrize("name", ARITHMETIC)
def test_plain_arithmetic_gives_the_same(name: str) -> None:
    points = [-3.7, -2.0, -1.1, -1.0, -0.3, 0.0, 0.4, 1.0, 1.9, 4.2]
    found = getattr(activations, name)(torch.tensor(points, dtype=torch.float64))
    wanted = torch.tensor([float(ARITHMETIC[name](x)) for x in points], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


LOWEST = {
    "silu": -0.2785, "mish": -0.3088, "gelu": -0.17, "hardswish": -0.375, "quick_gelu": -0.1636,
    "e_swish": -0.2785 * 1.5, "tanh_exp": -0.353, "serf": -0.348, "logish": -0.2528,
    "hard_mish": -0.5, "elish": 2 * math.sqrt(2) - 3,
}  # fmt: skip
"""The lowest values that the papers name."""


@pytest.mark.parametrize("name", LOWEST)
def test_the_lowest_value_is_the_one_that_the_paper_names(name: str) -> None:
    formula = activation[name].function
    knobs = activation[name].defaults()
    found = minimize_scalar(
        lambda x: float(formula(torch.tensor(x, dtype=torch.float64), **knobs)),
        bounds=(-3, 0), method="bounded",
    )  # fmt: skip
    assert found.fun == pytest.approx(LOWEST[name], abs=6e-4)
    assert activation[name].facts.range[0] <= found.fun


def test_selu_keeps_mean_0_and_variance_1() -> None:
    """The two integrals that its constants solve (Klambauer et al., 2017, section 2)."""
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    weight = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    y = activations.selu(x)
    assert float(torch.trapezoid(weight * y, x)) == pytest.approx(0, abs=1e-9)
    assert float(torch.trapezoid(weight * y * y, x)) == pytest.approx(1, abs=1e-9)


def test_squareplus_meets_softplus_at_0_and_keeps_its_digits_on_the_left() -> None:
    at_zero = activations.squareplus(torch.zeros(1), b=4 * math.log(2) ** 2)
    assert float(at_zero) == pytest.approx(math.log(2), rel=1e-6)
    far = activations.squareplus(torch.tensor([-1e4]), b=4.0)
    assert float(far) == pytest.approx(1e-4, rel=1e-5)  # 1 / |x|, where the sum would give 0
