"""Waves and bumps: functions that come back, for what repeats or is near a place."""

from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation


@activation(
    aliases=("sin", "siren"),
    range=(-1.0, 1.0),
    derivative=lambda x, *, omega: omega * torch.cos(omega * x),
)
def sine(x: Tensor, *, omega: float = 1.0) -> Tensor:
    """A sine: networks of it fit images, sounds and their derivatives.

    Formula:    sin(omega x)
    Derivative: omega cos(omega x)
    Shapes:     [...] -> [...]
    Range:      [-1, 1]
    Knobs:
        omega: the frequency; SIREN has 30 in its first layer.
    Reference:  Sitzmann, Martel, Bergman, Lindell & Wetzstein, Implicit Neural Representations with
                Periodic Activation Functions, 2020.
    """
    return torch.sin(omega * x)


@activation(derivative=lambda x: torch.cos(x) - x * torch.sin(x))
def gcu(x: Tensor) -> Tensor:
    """A wave that grows with its input: one unit can learn XOR.

    Formula:    x cos(x)
    Derivative: cos(x) - x sin(x)
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Reference:  Noel, Trivedi & Dutta, Growing Cosine Unit: A Novel Oscillatory Activation Function
                That Can Speedup Training and Reduce Parameters in Convolutional Neural Networks,
                2021.
    """
    return x * torch.cos(x)


@activation(derivative=lambda x, *, alpha: 1 + torch.sin(2 * alpha * x))
def snake(x: Tensor, *, alpha: Positive = 1.0) -> Tensor:
    """The identity with a wave on it: learns what repeats, and goes on beyond the data.

    Formula:    x + sin(alpha x)^2 / alpha
    Derivative: 1 + sin(2 alpha x)
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        alpha: the frequency; the wave's height is 1 / alpha.
    Reference:  Ziyin, Hartwig & Ueda, Neural Networks Fail to Learn Periodic Functions and How to
                Fix It, 2020.
    """
    return x + torch.sin(alpha * x) ** 2 / alpha


@activation(range=(0.0, 1.0), derivative=lambda x: -2 * x * torch.exp(-x * x))
def gaussian(x: Tensor) -> Tensor:
    """A bump: the unit answers near 0 and nowhere else, as a radial basis function does.

    Formula:    e^(-x^2)
    Derivative: -2 x e^(-x^2)
    Shapes:     [...] -> [...]
    Range:      (0, 1]
    Reference:  Broomhead & Lowe, Multivariable Functional Interpolation and Adaptive Networks,
                1988.
    """
    return torch.exp(-x * x)
