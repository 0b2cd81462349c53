"""Functions and derivatives that several activations are made of."""

import math

from lossbench.lazy import Tensor, torch


def normal_share(x: Tensor) -> Tensor:
    """Return the chance that a standard normal number is smaller: Phi(x)."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2


def normal_density(x: Tensor) -> Tensor:
    """Return the density of a standard normal number: phi(x)."""
    return torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def softplus_of(x: Tensor) -> Tensor:
    """Return ln(1 + e^x), with the larger exponent taken out, so that neither side overflows."""
    return torch.logaddexp(torch.zeros_like(x), x)


def silu_slope(x: Tensor) -> Tensor:
    """Return the derivative of x sigmoid(x): g (1 + x (1 - g)), with g = sigmoid(x)."""
    gate = torch.sigmoid(x)
    return gate * (1 + x * torch.sigmoid(-x))


def bell(x: Tensor) -> Tensor:
    """Return the derivative of erf: 2 / sqrt(pi) e^(-x^2)."""
    return 2 / math.sqrt(math.pi) * torch.exp(-x * x)
