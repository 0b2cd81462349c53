"""Smooth relatives of the rectifier: x times a gate, or a softened corner; and the identity."""

import math
from typing import Literal

from lossbench.components.activations._slopes import (
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


@activation(aliases=("linear",), derivative=lambda x: torch.ones_like(x))
def identity(x: Tensor) -> Tensor:
    """Nothing happens: the network stays linear, which is the baseline of every activation.

    Formula:    x
    Derivative: 1
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Reference:  none: the absence of an activation.
    """
    return x


def _softplus_corner(*, beta: float, threshold: float) -> float:
    """Return where the identity takes over: a jump of 2e-9 by default, a real one if set low."""
    return threshold / beta


@activation(
    kernel="torch.nn.functional.softplus",
    range=(0.0, INFINITY),
    kinks=(_softplus_corner,),
    derivative=lambda x, *, beta, threshold: torch.where(
        beta * x <= threshold, torch.sigmoid(beta * x), 1.0
    ),
)
def softplus(x: Tensor, *, beta: Positive = 1.0, threshold: float = 20.0) -> Tensor:
    """ReLU with a rounded corner; always positive, so it also serves variances and rates.

    Formula:    ln(1 + e^(beta x)) / beta where beta x <= threshold, else x
    Derivative: sigmoid(beta x) where beta x <= threshold, else 1
    Shapes:     [...] -> [...]
    Range:      (0, inf)
    Knobs:
        beta: how sharp the corner is; ReLU in the limit.
        threshold: beyond it the identity stands for the logarithm, which could overflow.
    Reference:  Dugas, Bengio, Belisle, Nadeau & Garcia, Incorporating Second-Order Functional
                Knowledge for Better Option Pricing, 2001.
    """
    scaled = beta * x
    straight = scaled > threshold
    safe = torch.where(straight, 0.0, scaled)  # or the branch not taken gives 0 * inf = NaN
    return torch.where(straight, x, torch.logaddexp(torch.zeros_like(safe), safe) / beta)


@activation(
    kernel="torch.nn.functional.logsigmoid",
    range=(-INFINITY, 0.0),
    derivative=lambda x: torch.sigmoid(-x),
)
def log_sigmoid(x: Tensor) -> Tensor:
    """The logarithm of the sigmoid: a log-probability that never underflows.

    Formula:    ln(1 / (1 + e^-x)) = -ln(1 + e^-x)
    Derivative: 1 / (1 + e^x)
    Shapes:     [...] -> [...]
    Range:      (-inf, 0)
    Reference:  none: classical.
    """
    # logaddexp takes the larger exponent out, so that neither side overflows.
    return -torch.logaddexp(torch.zeros_like(x), -x)


def _gelu_slope(x: Tensor, *, approximate: str) -> Tensor:
    """Return Phi(x) + x phi(x), or the derivative of the approximation."""
    if approximate == "none":
        return normal_share(x) + x * normal_density(x)
    t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return (1 + t + x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x)) / 2


@activation(kernel="torch.nn.functional.gelu", range=(-0.17, INFINITY), derivative=_gelu_slope)
def gelu(x: Tensor, *, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """Weigh an input by the chance that a standard normal number is smaller than it.

    Formula:    x Phi(x) = x (1 + erf(x / sqrt(2))) / 2; with approximate = tanh
                x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
    Derivative: Phi(x) + x phi(x)
    Shapes:     [...] -> [...]
    Range:      [-0.17, inf)
    Knobs:
        approximate: none for the exact function, tanh for the cheaper approximation.
    Reference:  Hendrycks & Gimpel, Gaussian Error Linear Units (GELUs), 2016.
    """
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x * (1 + torch.tanh(inner)) / 2
    return x * normal_share(x)


@activation(
    kernel="torch.nn.functional.silu",
    range=(-0.2785, INFINITY),
    derivative=silu_slope,
    identities=(Identity("swish", knobs={"beta": 1.0}), Identity("e_swish", knobs={"beta": 1.0})),
)
def silu(x: Tensor) -> Tensor:
    """The input gated by its own sigmoid: smooth, and slightly negative left of 0.

    Formula:    x sigmoid(x)
    Derivative: sigmoid(x) (1 + x (1 - sigmoid(x)))
    Shapes:     [...] -> [...]
    Range:      [-0.2785, inf)
    Note:       swish with its steepness fixed at 1.
    Reference:  Elfwing, Uchibe & Doya, Sigmoid-Weighted Linear Units for Neural Network Function
                Approximation in Reinforcement Learning, 2018.
    """
    return x * torch.sigmoid(x)


def _mish_slope(x: Tensor) -> Tensor:
    """Return t + x sigmoid(x) (1 - t^2), with t = tanh(softplus(x))."""
    t = torch.tanh(softplus_of(x))
    return t + x * torch.sigmoid(x) * (1 - t * t)


@activation(kernel="torch.nn.functional.mish", range=(-0.3089, INFINITY), derivative=_mish_slope)
def mish(x: Tensor) -> Tensor:
    """The input gated by the tanh of its softplus: SiLU with a slightly steeper gate.

    Formula:    x tanh(ln(1 + e^x))
    Derivative: t + x sigmoid(x) (1 - t^2), with t = tanh(ln(1 + e^x))
    Shapes:     [...] -> [...]
    Range:      [-0.3089, inf)
    Reference:  Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019.
    """
    return x * torch.tanh(softplus_of(x))


@activation(
    kernel="torch.nn.functional.hardswish",
    aliases=("hard_silu",),
    range=(-0.375, INFINITY),
    kinks=(-3.0, 3.0),
    derivative=lambda x: torch.where(x <= -3, 0.0, torch.where(x >= 3, 1.0, (2 * x + 3) / 6)),
)
def hardswish(x: Tensor) -> Tensor:
    """SiLU with the straight-line sigmoid: the same shape from a parabola.

    Formula:    x clip(x + 3, 0, 6) / 6
    Derivative: 0 where x <= -3, 1 where x >= 3, else (2 x + 3) / 6
    Shapes:     [...] -> [...]
    Range:      [-0.375, inf)
    Reference:  Howard et al., Searching for MobileNetV3, 2019.
    """
    return torch.where(x <= -3, 0.0, torch.where(x >= 3, x, x * (x + 3) / 6))
