"""Shrinkage: inputs near 0 vanish, which makes a representation sparse."""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation


@activation(
    kernel="torch.nn.functional.softshrink",
    kinks=("-lambd", "lambd"),
    derivative=lambda x, *, lambd: x.abs() > lambd,
)
def softshrink(x: Tensor, *, lambd: NonNegative = 0.5) -> Tensor:
    """Pull every input towards 0 by the same amount, stopping at 0.

    Formula:    sign(x) max(|x| - lambd, 0)
    Derivative: 1 where |x| > lambd, else 0
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        lambd: how far inputs are pulled; those within it become 0.
    Reference:  Donoho, De-noising by Soft-Thresholding, 1995.
    """
    # 0 * x rather than 0: a NaN, which fails both comparisons, stays a NaN.
    inside = torch.where(x < -lambd, x + lambd, 0 * x)
    return torch.where(x > lambd, x - lambd, inside)


@activation(
    kernel="torch.nn.functional.hardshrink",
    kinks=("-lambd", "lambd"),
    derivative=lambda x, *, lambd: x.abs() > lambd,
    identities=(Identity("identity", when={"lambd": 0.0}),),
)
def hardshrink(x: Tensor, *, lambd: NonNegative = 0.5) -> Tensor:
    """Drop small inputs, leave large ones untouched.

    Formula:    x where |x| > lambd, else 0
    Derivative: 1 where |x| > lambd, else 0
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        lambd: what the size of an input must exceed to pass.
    Reference:  Donoho & Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, 1994.
    """
    return torch.where(x.abs() <= lambd, 0.0, x)


@activation(kernel="torch.nn.functional.tanhshrink", derivative=lambda x: torch.tanh(x) ** 2)
def tanhshrink(x: Tensor) -> Tensor:
    """What tanh cuts off: almost nothing near 0, the input less 1 far from it.

    Formula:    x - tanh(x)
    Derivative: tanh(x)^2
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Reference:  none: handed down from the Lua version of Torch.
    """
    return x - torch.tanh(x)
