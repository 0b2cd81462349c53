"""Noise as a function of (seed, step, place, index), and the modules that drop with it.

Every element of a tensor has an index, every noisy layer a place in the network, every training
step a number, every trial a seed. A hash of the four says whether the element is kept. Nothing is
drawn in order, so the noise is the same alone and in a fused group, before and after a resume, on
a CPU and on a GPU. The hash uses integer operations that wrap around, and no look at a value, so
it goes through `vmap` and tracing.
"""

import math
from typing import Literal

from lossbench.components.vocabulary import NOISE_KEY
from lossbench.lazy import Tensor, nn, torch

Unit = Literal["element", "channel"]
"""What is kept or dropped as a whole: each element, or each channel of each sample."""


def _signed(word: int, bits: int) -> int:
    """Read an unsigned word as the signed one of the same bits, which is what tensors hold."""
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word


# Odd numbers without pattern, the first of them 2^64 divided by the golden ratio. Odd factors lose
# nothing: multiplying by one is a permutation of the words.
SEED_FACTOR = _signed(0x9E3779B97F4A7C15, 64)
STEP_FACTOR = _signed(0xD1B54A32D192ED03, 64)
PLACE_FACTOR = _signed(0x8CB92BA72F3D8DD7, 64)
KEY_MIX = _signed(0xFF51AFD7ED558CCD, 64)  # from the finalizer of MurmurHash3 (Appleby)

# The 32-bit mixer of least bias that a search among its kind found (Wellons, hash-prospector).
FIRST_MIX = _signed(0x7FEB352D, 32)
SECOND_MIX = _signed(0x846CA68B, 32)

LEVELS = 24
"""Bits that decide: as many as a float32 between 1/2 and 1 can tell apart."""


def key_words(key: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Mix (seed, step) and the place into two 32-bit words."""
    word = key[0] * SEED_FACTOR + key[1] * STEP_FACTOR + _signed(place * PLACE_FACTOR, 64)
    word = (word ^ (word >> 32)) * KEY_MIX
    word = (word ^ (word >> 32)) * KEY_MIX
    # A conversion to fewer bits keeps the lower ones.
    return word.to(torch.int32), (word >> 32).to(torch.int32)


def levels(key: Tensor, place: int, count: int) -> Tensor:
    """Return `count` independent numbers, uniform on the integers from -2^23 to 2^23 - 1."""
    first, second = key_words(key, place)
    word = torch.arange(count, dtype=torch.int32, device=key.device) ^ first
    # The masks turn the arithmetic shift of signed words into the logical one.
    word = (word ^ ((word >> 16) & 0xFFFF)) * FIRST_MIX
    # The second word of the key enters half way: two steps whose first words lie close together
    # would otherwise run through the same words in another order.
    word = (word ^ ((word >> 15) & 0x1FFFF) ^ second) * SECOND_MIX
    return word >> (32 - LEVELS)  # the upper bits are the best mixed


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
