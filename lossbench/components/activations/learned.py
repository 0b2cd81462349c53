"""Activations whose shape is learned with the weights: what training finds is the answer.

Each place in a network has parameters of its own. They start at the values given here, and weight
decay leaves them alone. Where a kink lies at a learned position it is declared nowhere: it moves.
"""

from collections.abc import Mapping
from typing import Any, Literal

from lossbench.components.activations._slopes import bell, silu_slope
from lossbench.components.declarations import Parameter
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

Per = Literal["scalar", "channel"]
"""One value for the whole place in the network, or one for each channel (dimension 1)."""


def _prelu_kernel(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what torch's prelu is called with: the slopes in one dimension."""
    return {"weight": given["slope"].reshape(-1)}


@activation(
    kernel="torch.nn.functional.prelu",
    kinks=(0.0,),
    parameters={"slope": Parameter(value="init", per="per")},
    kernel_knobs=_prelu_kernel,
    derivative=lambda x, *, slope, **_: torch.where(x > 0, 1.0, slope),
)
def prelu(
    x: Tensor,
    *,
    slope: Tensor,
    init: float = 0.25,  # noqa: ARG001 - says what `slope` is made of, which comes ready made
    per: Per = "scalar",  # noqa: ARG001
) -> Tensor:
    """Leaky ReLU whose slope is learned, for the whole layer or for each channel.

    Formula:    max(0, x) + slope min(0, x)
    Derivative: 1 where x > 0, else slope; with respect to the slope min(0, x)
    Shapes:     [...] -> [...]; the slope broadcasts: [] or [C, 1, ...] against [N, C, ...]
    Range:      (-inf, inf)
    Knobs:
        init: the slope before training.
        per: one slope for the whole layer (scalar), or one for each channel (dimension 1).
    Reference:  He, Zhang, Ren & Sun, Delving Deep into Rectifiers: Surpassing Human-Level
                Performance on ImageNet Classification, 2015.
    """
    return torch.where(x > 0, x, slope * x)


@activation(
    aliases=("trainable_swish",),
    parameters={"beta": Parameter(value="init", per="per")},
    derivative=lambda x, *, beta, **_: silu_slope(beta * x),
)
def learned_swish(
    x: Tensor,
    *,
    beta: Tensor,
    init: float = 1.0,  # noqa: ARG001 - says what `beta` is made of
    per: Per = "scalar",  # noqa: ARG001
) -> Tensor:
    """Swish that learns how steep its gate is: from half the identity at 0 to ReLU at infinity.

    Formula:    x sigmoid(beta x)
    Derivative: beta f + sigmoid(beta x) (1 - beta f); with respect to beta
                x^2 sigmoid(beta x) (1 - sigmoid(beta x))
    Shapes:     [...] -> [...]; beta broadcasts: [] or [C, 1, ...] against [N, C, ...]
    Range:      [-0.2785 / beta, inf) for beta > 0
    Knobs:
        init: the steepness before training.
        per: one steepness for the whole layer (scalar), or one for each channel (dimension 1).
    Note:       `swish` is the one with a fixed beta.
    Reference:  Ramachandran, Zoph & Le, Searching for Activation Functions, 2017.
    """
    return x * torch.sigmoid(beta * x)


@activation(
    parameters={"scale": Parameter(0.8944), "bias": Parameter(-0.4472)},
    range=(-0.4472, float("inf")),
    derivative=lambda x, *, scale, bias: 2 * scale * x.clamp(min=0),  # noqa: ARG005 - by name
)
def star_relu(x: Tensor, *, scale: Tensor, bias: Tensor) -> Tensor:
    """Squared ReLU, scaled and shifted to mean 0 and variance 1 for standard normal inputs.

    Formula:    scale max(0, x)^2 + bias, which start at 0.8944 and -0.4472
    Derivative: 2 scale max(0, x)
    Shapes:     [...] -> [...]
    Range:      [bias, inf)
    Note:       the first values are 2 / sqrt(5) and -1 / sqrt(5): max(0, x)^2 of a standard normal
                number has mean 1/2 and variance 5/4.
    Reference:  Yu et al., MetaFormer Baselines for Vision, 2022.
    """
    return scale * torch.where(x <= 0, 0.0, x) ** 2 + bias


def _srelu_slope(
    x: Tensor, *, lower: Tensor, lower_slope: Tensor, upper: Tensor, upper_slope: Tensor
) -> Tensor:
    """Return the slope of the piece in which x lies."""
    return torch.where(x >= upper, upper_slope, torch.where(x <= lower, lower_slope, 1.0))


@activation(
    parameters={
        "lower": Parameter(0.0, per="channel"),
        "lower_slope": Parameter(0.0, per="channel"),
        "upper": Parameter(1.0, per="channel"),
        "upper_slope": Parameter(1.0, per="channel"),
    },
    derivative=_srelu_slope,
)
def srelu(
    x: Tensor, *, lower: Tensor, lower_slope: Tensor, upper: Tensor, upper_slope: Tensor
) -> Tensor:
    """Three straight pieces with learned ends and slopes: the letter S, or nearly any bend.

    Formula:    upper + upper_slope (x - upper) where x >= upper, lower + lower_slope (x - lower)
                where x <= lower, else x
    Derivative: upper_slope, lower_slope, 1
    Shapes:     [N, C, ...] -> [N, C, ...]; the parameters [C, 1, ...] broadcast
    Range:      (-inf, inf)
    Note:       it starts as ReLU: lower 0, lower_slope 0, upper 1, upper_slope 1.
    Reference:  Jin et al., Deep Learning with S-shaped Rectified Linear Activation Units, 2016.
    """
    left = torch.where(x <= lower, lower + lower_slope * (x - lower), x)
    return torch.where(x >= upper, upper + upper_slope * (x - upper), left)


@activation(
    parameters={
        "a": Parameter(1.0, within=(0.1, float("inf"))),
        "b": Parameter(1.0, within=(0.1, float("inf"))),
    },
    range=(-1.0, float("inf")),
    derivative=lambda x, *, a, b: a / b * torch.exp(x.clamp(max=0) / b),
)
def pelu(x: Tensor, *, a: Tensor, b: Tensor) -> Tensor:
    """ELU that learns its plateau, its decay and its slope, with no jump of the derivative.

    Formula:    (a / b) x where x >= 0, else a (e^(x / b) - 1); a and b start at 1
    Derivative: a / b where x >= 0, else (a / b) e^(x / b)
    Shapes:     [...] -> [...]
    Range:      (-a, inf)
    Note:       a and b are kept at 0.1 or above after each step, as in the paper.
    Reference:  Trottier, Giguere & Chaib-draa, Parametric Exponential Linear Unit for Deep
                Convolutional Neural Networks, 2017.
    """
    safe = torch.where(x >= 0, 0.0, x)
    return torch.where(x >= 0, a / b * x, a * torch.expm1(safe / b))


def _acon_slope(x: Tensor, *, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
    """Return d q (1 + beta d x (1 - q)) + p2, with d = p1 - p2 and q = sigmoid(beta d x)."""
    return (p1 - p2) * silu_slope(beta * (p1 - p2) * x) + p2


def _standard_normal(shape: tuple[int, ...]) -> Tensor:
    """Draw first values, under the seed that draws the network's weights."""
    return torch.randn(shape)


@activation(
    aliases=("acon",),
    parameters={
        "p1": Parameter(1.0, per="channel", initial=_standard_normal),
        "p2": Parameter(0.0, per="channel", initial=_standard_normal),
        "beta": Parameter(1.0, per="channel"),
    },
    derivative=_acon_slope,
)
def acon_c(x: Tensor, *, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
    """A smooth maximum of two lines, which learns by channel whether to activate at all.

    Formula:    d x sigmoid(beta d x) + p2 x, with d = p1 - p2
    Derivative: d q (1 + beta d x (1 - q)) + p2, with q = sigmoid(beta d x)
    Shapes:     [N, C, ...] -> [N, C, ...]; the parameters [C, 1, ...] broadcast
    Range:      (-inf, inf)
    Note:       p1 and p2 start at standard normal numbers, beta at 1. With beta towards infinity it
                is max(p1 x, p2 x), with beta 0 the line (p1 + p2) x / 2; with p1 = 1 and p2 = 0 it
                is swish.
    Reference:  Ma, Zhang, Liu & Sun, Activate or Not: Learning Customized Activation, 2021.
    """
    difference = (p1 - p2) * x
    return difference * torch.sigmoid(beta * difference) + p2 * x


def _smu_slope(x: Tensor, *, mu: Tensor, alpha: float, **_: object) -> Tensor:
    """Return ((1 + a) + (1 - a) erf(u) + (1 - a) u erf'(u)) / 2, with u = mu (1 - a) x."""
    u = mu * (1 - alpha) * x
    return ((1 + alpha) + (1 - alpha) * (torch.erf(u) + u * bell(u))) / 2


@activation(
    parameters={"mu": Parameter(value="init")},
    # With the first value of mu the bend is a few millionths wide: to every eye a kink.
    kinks=(0.0,),
    derivative=_smu_slope,
)
def smu(
    x: Tensor,
    *,
    mu: Tensor,
    alpha: float = 0.25,
    init: Positive = 1000000.0,  # noqa: ARG001 - says what `mu` is made of
) -> Tensor:
    """Leaky ReLU with a rounded corner, whose sharpness is learned.

    Formula:    ((1 + alpha) x + (1 - alpha) x erf(mu (1 - alpha) x)) / 2
    Derivative: ((1 + alpha) + (1 - alpha) erf(u)) / 2 + (1 - alpha)^2 mu x e^(-u^2) / sqrt(pi),
                with u = mu (1 - alpha) x
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        alpha: the slope far on the left.
        init: the sharpness mu before training; the paper's is a million, leaky ReLU to the eye.
    Note:       alpha 0 and mu 1 / sqrt(2) is GELU.
    Reference:  Biswas, Kumar, Banerjee & Pandey, SMU: Smooth Activation Function for Deep Networks
                using Smoothing Maximum Technique, 2022.
    """
    return ((1 + alpha) * x + (1 - alpha) * x * torch.erf(mu * (1 - alpha) * x)) / 2


@activation(
    aliases=("dyt",),
    parameters={
        "alpha": Parameter(value="init"),
        "weight": Parameter(1.0, per="channel"),
        "bias": Parameter(0.0, per="channel"),
    },
    range=(-1.0, 1.0),
    derivative=lambda x, *, alpha, weight, **_: weight * alpha * (1 - torch.tanh(alpha * x) ** 2),
)
def dynamic_tanh(
    x: Tensor,
    *,
    alpha: Tensor,
    weight: Tensor,
    bias: Tensor,
    init: Positive = 0.5,  # noqa: ARG001 - says what `alpha` is made of
) -> Tensor:
    """A tanh of learned steepness, scale and shift: what can stand in the place of a layer norm.

    Formula:    weight tanh(alpha x) + bias
    Derivative: weight alpha (1 - tanh(alpha x)^2)
    Shapes:     [N, C, ...] -> [N, C, ...]; weight and bias [C, 1, ...] broadcast
    Range:      (bias - |weight|, bias + |weight|)
    Knobs:
        init: the steepness alpha before training.
    Note:       weight starts at 1, bias at 0; each channel has its own, alpha is one number.
    Reference:  Zhu, Chen, He, LeCun & Liu, Transformers without Normalization, 2025.
    """
    return weight * torch.tanh(alpha * x) + bias


def _polynomial(x: Tensor, *coefficients: Tensor | float) -> Tensor:
    """Return c0 + c1 x + c2 x^2 + ..., from the highest power down."""
    value = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


def _rational_slope(x: Tensor, **c: Tensor) -> Tensor:
    """Return (P' (1 + |Q|) - P sign(Q) Q') / (1 + |Q|)^2."""
    a, b = [c[f"a{i}"] for i in range(6)], [c[f"b{i}"] for i in range(1, 5)]
    top, bottom = _polynomial(x, *a), _polynomial(x, 0.0, *b)
    top_slope = _polynomial(x, *(i * a[i] for i in range(1, 6)))
    bottom_slope = _polynomial(x, *((i + 1) * b[i] for i in range(4)))
    whole = 1 + bottom.abs()
    return (top_slope * whole - top * bottom.sign() * bottom_slope) / whole**2


LEAKY_TOP = (0.02979246, 0.61837738, 2.32335207, 3.05202660, 1.48548002, 0.25103717)
LEAKY_BOTTOM = (1.14201226, 4.39322834, 0.87154450, 0.34720652)
"""The paper's table of first values, for leaky ReLU with slope 0.01 on [-3, 3]."""


@activation(
    aliases=("pau", "pade"),
    # The absolute value bends wherever Q changes its sign: at 0, and where its roots move to.
    kinks=(0.0,),
    parameters={
        **{f"a{i}": Parameter(value) for i, value in enumerate(LEAKY_TOP)},
        **{f"b{i + 1}": Parameter(value) for i, value in enumerate(LEAKY_BOTTOM)},
    },
    derivative=_rational_slope,
)
def rational(
    x: Tensor,
    *,
    a0: Tensor,
    a1: Tensor,
    a2: Tensor,
    a3: Tensor,
    a4: Tensor,
    a5: Tensor,
    b1: Tensor,
    b2: Tensor,
    b3: Tensor,
    b4: Tensor,
) -> Tensor:
    """A quotient of two polynomials with learned coefficients: close to any activation there is.

    Formula:    P(x) / (1 + |Q(x)|), with P = a0 + a1 x + ... + a5 x^5, Q = b1 x + ... + b4 x^4
    Derivative: (P' (1 + |Q|) - P sign(Q) Q') / (1 + |Q|)^2
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Note:       it starts close to leaky ReLU with slope 0.01, with the coefficients of the paper.
                The absolute value keeps the divisor away from 0.
    Reference:  Molina, Schramowski & Kersting, Pade Activation Units: End-to-end Learning of
                Flexible Activation Functions in Deep Networks, 2020.
    """
    return _polynomial(x, a0, a1, a2, a3, a4, a5) / (1 + _polynomial(x, 0.0, b1, b2, b3, b4).abs())


for _name in ("frelu", "dynamic_relu", "meta_acon", "multihead_attention"):
    activation.refuse(
        _name,
        "it holds layers of its own, which need the shape that arrives",
        f"it is a layer: use network: {{name: layers, layers: [..., {_name}, ...]}}",
    )
