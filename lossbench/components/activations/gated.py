"""Inputs multiplied by a gate of themselves: smooth, most of them with a dip left of 0."""

from lossbench.components.activations._slopes import (
    bell,
    normal_density,
    normal_share,
    silu_slope,
    softplus_of,
)
from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

INFINITY = float("inf")


@activation(
    range=(-0.2785, INFINITY),
    derivative=lambda x, *, beta: silu_slope(beta * x),
    identities=(
        Identity("silu", when={"beta": 1.0}),
        Identity("quick_gelu", when={"beta": 1.702}),
        Identity("identity", when={"beta": 0.0}, times=0.5),
    ),
)
def swish(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """The input gated by a sigmoid of itself: between a line (beta 0) and ReLU (beta infinite).

    Formula:    x sigmoid(beta x)
    Derivative: beta f + sigmoid(beta x) (1 - beta f)
    Shapes:     [...] -> [...]
    Range:      [-0.2785 / beta, inf) for beta > 0
    Knobs:
        beta: how steep the gate is.
    Note:       `learned_swish` learns beta.
    Reference:  Ramachandran, Zoph & Le, Searching for Activation Functions, 2017.
    """
    return x * torch.sigmoid(beta * x)


QUICK = 1.702
"""The steepness at which a sigmoid comes closest to the normal distribution."""


@activation(
    range=(-0.1637, INFINITY),
    derivative=lambda x: silu_slope(QUICK * x),
    identities=(Identity("swish", knobs={"beta": QUICK}),),
)
def quick_gelu(x: Tensor) -> Tensor:
    """GELU with a sigmoid in the place of the normal distribution: cheaper, 0.02 off at most.

    Formula:    x sigmoid(1.702 x)
    Derivative: g (1 + 1.702 x (1 - g)), with g = sigmoid(1.702 x)
    Shapes:     [...] -> [...]
    Range:      [-0.1637, inf)
    Reference:  Hendrycks & Gimpel, Gaussian Error Linear Units (GELUs), 2016.
    """
    return x * torch.sigmoid(QUICK * x)


@activation(
    range=(-0.4178, INFINITY),
    derivative=lambda x, *, beta: beta * silu_slope(x),
    identities=(
        Identity("silu", when={"beta": 1.0}),
        Identity("silu", when={"beta": 1.75}, times=1.75),
    ),
)
def e_swish(x: Tensor, *, beta: Positive = 1.5) -> Tensor:
    """SiLU stretched upwards, so that gradients right of 0 are larger than 1.

    Formula:    beta x sigmoid(x)
    Derivative: beta sigmoid(x) (1 + x (1 - sigmoid(x)))
    Shapes:     [...] -> [...]
    Range:      [-0.2785 beta, inf)
    Knobs:
        beta: the factor; the paper recommends 1 to 2.
    Reference:  Alcaide, E-swish: Adjusting Activations to Different Network Depths, 2018.
    """
    return beta * x * torch.sigmoid(x)


def _flat_slope(x: Tensor, *, bottom: float) -> Tensor:  # noqa: ARG001 - it only shifts
    """Return the derivative of SiLU where x >= 0, else 0."""
    return torch.where(x < 0, 0.0, silu_slope(x))


@activation(range=(-0.2, INFINITY), kinks=(0.0,), aliases=("fts",), derivative=_flat_slope)
def flatten_t_swish(x: Tensor, *, bottom: float = -0.2) -> Tensor:
    """ReLU times a sigmoid, lowered: sparse as ReLU, with a plateau below 0.

    Formula:    x sigmoid(x) + bottom where x >= 0, else bottom
    Derivative: sigmoid(x) (1 + x (1 - sigmoid(x))) where x >= 0, else 0
    Shapes:     [...] -> [...]
    Range:      [bottom, inf)
    Knobs:
        bottom: the plateau, T in the paper.
    Reference:  Chieng, Wahid, Ong & Perla, Flatten-T Swish: a Thresholded ReLU-Swish-like
                Activation Function for Deep Learning, 2018.
    """
    return torch.where(x < 0, bottom, x * torch.sigmoid(x) + bottom)


def _lisht_slope(x: Tensor) -> Tensor:
    """Return t + x (1 - t^2), with t = tanh(x)."""
    t = torch.tanh(x)
    return t + x * (1 - t * t)


@activation(range=(0.0, INFINITY), derivative=_lisht_slope)
def lisht(x: Tensor) -> Tensor:
    """The size of the input, with a rounded corner: both signs excite the unit.

    Formula:    x tanh(x)
    Derivative: tanh(x) + x (1 - tanh(x)^2)
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Reference:  Roy, Manna, Dubey & Chaudhuri, LiSHT: Non-Parametric Linearly Scaled Hyperbolic
                Tangent Activation Function for Neural Networks, 2019.
    """
    return x * torch.tanh(x)


SATURATED = 5.0
"""Beyond it tanh(e^x) is 1 to the last digit of float64, and e^x may overflow."""


def _tanh_exp_slope(x: Tensor) -> Tensor:
    """Return t + x e^x (1 - t^2), with t = tanh(e^x)."""
    e = torch.exp(x.clamp(max=SATURATED))
    t = torch.tanh(e)
    return t + x * e * (1 - t * t)


@activation(aliases=("telu",), range=(-0.3533, INFINITY), derivative=_tanh_exp_slope)
def tanh_exp(x: Tensor) -> Tensor:
    """The input gated by the tanh of its exponential: almost the identity from 1 on.

    Formula:    x tanh(e^x)
    Derivative: tanh(e^x) + x e^x (1 - tanh(e^x)^2)
    Shapes:     [...] -> [...]
    Range:      [-0.3533, inf)
    Reference:  Liu & Di, TanhExp: A Smooth Activation Function with High Convergence Speed for
                Lightweight Neural Networks, 2020.
    """
    safe = torch.where(x > SATURATED, SATURATED, x)
    return x * torch.tanh(torch.exp(safe))


def _serf_slope(x: Tensor) -> Tensor:
    """Return erf(q) + x sigmoid(x) erf'(q), with q = softplus(x)."""
    q = softplus_of(x)
    return torch.erf(q) + x * torch.sigmoid(x) * bell(q)


@activation(range=(-0.3485, INFINITY), derivative=_serf_slope)
def serf(x: Tensor) -> Tensor:
    """Mish with the error function in the place of tanh.

    Formula:    x erf(ln(1 + e^x))
    Derivative: erf(q) + x sigmoid(x) (2 / sqrt(pi)) e^(-q^2), with q = ln(1 + e^x)
    Shapes:     [...] -> [...]
    Range:      [-0.3485, inf)
    Reference:  Nag & Bhattacharyya, SERF: Towards better training of deep neural networks using
                log-Softplus ERror activation Function, 2021.
    """
    return x * torch.erf(softplus_of(x))


def _smish_slope(x: Tensor) -> Tensor:
    """Return t + x (1 - t^2) g (1 - g) / (1 + g), with g = sigmoid(x), t = tanh(ln(1 + g))."""
    g = torch.sigmoid(x)
    t = torch.tanh(torch.log1p(g))
    return t + x * (1 - t * t) * g * torch.sigmoid(-x) / (1 + g)


@activation(range=(-0.25, INFINITY), derivative=_smish_slope)
def smish(x: Tensor) -> Tensor:
    """The input gated by the tanh of a logarithm of its sigmoid; the gate ends at 0.6.

    Formula:    x tanh(ln(1 + sigmoid(x)))
    Derivative: t + x (1 - t^2) g (1 - g) / (1 + g), with g = sigmoid(x) and t = tanh(ln(1 + g))
    Shapes:     [...] -> [...]
    Range:      [-0.25, inf)
    Reference:  Wang, Ren & Wang, Smish: A Novel Activation Function for Deep Learning Methods,
                2022.
    """
    return x * torch.tanh(torch.log1p(torch.sigmoid(x)))


def _logish_slope(x: Tensor) -> Tensor:
    """Return ln(1 + g) + x g (1 - g) / (1 + g), with g = sigmoid(x)."""
    g = torch.sigmoid(x)
    return torch.log1p(g) + x * g * torch.sigmoid(-x) / (1 + g)


@activation(range=(-0.2529, INFINITY), derivative=_logish_slope)
def logish(x: Tensor) -> Tensor:
    """The input gated by a logarithm of its sigmoid; the gate ends at ln 2.

    Formula:    x ln(1 + sigmoid(x))
    Derivative: ln(1 + g) + x g (1 - g) / (1 + g), with g = sigmoid(x)
    Shapes:     [...] -> [...]
    Range:      [-0.2529, inf)
    Reference:  Zhu, Zeng, Liu, Zhang & Wang, Logish: A New Nonlinear Nonmonotonic Activation
                Function for Convolutional Neural Network, 2021.
    """
    return x * torch.log1p(torch.sigmoid(x))


def _phish_slope(x: Tensor) -> Tensor:
    """Return t + x (1 - t^2) gelu'(x), with t = tanh(gelu(x))."""
    t = torch.tanh(x * normal_share(x))
    return t + x * (1 - t * t) * (normal_share(x) + x * normal_density(x))


@activation(range=(0.0, INFINITY), derivative=_phish_slope)
def phish(x: Tensor) -> Tensor:
    """The input gated by the tanh of its GELU: never negative.

    Formula:    x tanh(gelu(x))
    Derivative: t + x (1 - t^2) (Phi(x) + x phi(x)), with t = tanh(gelu(x))
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Reference:  Naveen, Phish: A Novel Hyper-Optimizable Activation Function, 2022.
    """
    return x * torch.tanh(x * normal_share(x))


@activation(
    range=(-0.5, INFINITY),
    kinks=(-2.0,),
    derivative=lambda x: torch.where(x <= -2, 0.0, torch.where(x >= 0, 1.0, x + 1)),
)
def hard_mish(x: Tensor) -> Tensor:
    """Mish from a parabola and two lines: the same shape without an exponential.

    Formula:    x clip(x + 2, 0, 2) / 2
    Derivative: 0 where x <= -2, 1 where x >= 0, else x + 1
    Shapes:     [...] -> [...]
    Range:      [-0.5, inf)
    Reference:  Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019 (the
                author's note H-Mish).
    """
    return torch.where(x <= -2, 0.0, torch.where(x >= 0, x, x * (x + 2) / 2))


def _elish_slope(x: Tensor) -> Tensor:
    """Return silu' where x >= 0, else e^x g + (e^x - 1) g (1 - g), with g = sigmoid(x)."""
    safe, g = x.clamp(max=0), torch.sigmoid(x)
    left = torch.exp(safe) * g + torch.expm1(safe) * g * (1 - g)
    return torch.where(x >= 0, silu_slope(x), left)


@activation(range=(-0.1716, INFINITY), derivative=_elish_slope)
def elish(x: Tensor) -> Tensor:
    """SiLU on the right, ELU times a sigmoid on the left.

    Formula:    x sigmoid(x) where x >= 0, else (e^x - 1) sigmoid(x)
    Derivative: g (1 + x (1 - g)) where x >= 0, else e^x g + (e^x - 1) g (1 - g), with
                g = sigmoid(x)
    Shapes:     [...] -> [...]
    Range:      [-0.1716, inf)
    Note:       the lowest value is 2 sqrt(2) - 3.
    Reference:  Basirat & Roth, The Quest for the Golden Activation Function, 2018.
    """
    safe = torch.where(x >= 0, 0.0, x)
    return torch.where(x >= 0, x, torch.expm1(safe)) * torch.sigmoid(x)
