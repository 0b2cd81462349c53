"""The modules that drop: what each element draws from the noise says whether it is kept."""

import math
from typing import Literal

from lossbench.components.noise import LEVELS, levels
from lossbench.components.vocabulary import NOISE_KEY
from lossbench.lazy import Tensor, nn, torch

Unit = Literal["element", "channel"]
"""What is kept or dropped as a whole: each element, or each channel of each sample."""


def kept(key: Tensor, place: int, shape: tuple[int, ...], p: float | Tensor) -> Tensor:
    """Tell for each element whether it is kept, which it is with probability 1 - p."""
    share = p * 2.0**LEVELS
    border = share.round().to(torch.int32) if isinstance(share, torch.Tensor) else round(share)
    return levels(key, place, math.prod(shape)).view(shape) >= border - 2 ** (LEVELS - 1)


def unit_shape(shape: tuple[int, ...], unit: Unit) -> tuple[int, ...]:
    """Return the shape of the noise for a batch of this shape; it broadcasts against the batch."""
    return shape if unit == "element" else (*shape[:2], *(1 for _ in shape[2:]))


class Keep(nn.Module):
    """Decides what a dropout layer keeps: holds its probability, its key and its place.

    A probability that is a tensor becomes a buffer, so that trials of one group may differ in it.
    """

    noise_key: Tensor

    def __init__(self, p: float | Tensor, unit: Unit) -> None:
        super().__init__()
        self.unit: Unit = unit
        self.place = 0
        self.p: float | Tensor
        if isinstance(p, torch.Tensor):
            self.register_buffer("p", p.detach().clone(), persistent=False)
        else:
            self.p = float(p)
        # Not part of the weights: the training step writes it before each forward pass.
        self.register_buffer(NOISE_KEY, torch.zeros(2, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ones where x is kept and zeros where it is dropped; broadcasts against x."""
        shape = unit_shape(tuple(x.shape), self.unit)
        return kept(self.noise_key, self.place, shape, self.p).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the knobs where the network is printed."""
        return f"p={self.p}, unit={self.unit}"


class Dropout(nn.Module):
    """Sets elements or channels to zero in training, and scales the rest so that the mean stays."""

    def __init__(self, p: float | Tensor = 0.5, unit: Unit = "element") -> None:
        super().__init__()
        self.keep = Keep(p, unit)

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training; give x back otherwise."""
        if not self.training:
            return x
        return x * (self.keep(x) * rescaling(self.keep.p, x.dtype))


def rescaling(p: float | Tensor, dtype: "torch.dtype") -> float | Tensor:
    """Return 1 / (1 - p), which keeps the mean, and 0 where everything is dropped."""
    if isinstance(p, torch.Tensor):
        return torch.where(p < 1, 1 / (1 - p), 0).to(dtype)
    return 1 / (1 - p) if p < 1 else 0.0


class AlphaDropout(nn.Module):
    """Sets to SELU's lowest value in training, then brings mean 0 and variance 1 back."""

    def __init__(self, p: float | Tensor = 0.5, unit: Unit = "element") -> None:
        super().__init__()
        self.keep = Keep(p, unit)

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training; give x back otherwise."""
        if not self.training:
            return x
        keep = self.keep(x)
        gain, shift = normalising(self.keep.p, x.dtype)
        return (x * keep + SELU_LOWEST * (1 - keep)) * gain + shift


SELU_LOWEST = -1.7580993408473766
"""The limit of SELU towards minus infinity: minus its scale times its alpha."""


def normalising(p: float | Tensor, dtype: "torch.dtype") -> tuple[float | Tensor, float | Tensor]:
    """Return the gain and the shift that undo what alpha dropout does to mean and variance.

    Both are 0 where everything is dropped.
    """
    if isinstance(p, torch.Tensor):
        gain = torch.where(p < 1, ((1 - p) * (1 + p * SELU_LOWEST**2)) ** -0.5, 0)
        return gain.to(dtype), (-gain * p * SELU_LOWEST).to(dtype)
    number = ((1 - p) * (1 + p * SELU_LOWEST**2)) ** -0.5 if p < 1 else 0.0
    return number, -number * p * SELU_LOWEST
