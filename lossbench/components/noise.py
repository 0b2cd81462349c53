"""Noise as a function of (seed, step, place, index): a hash in the place of a generator.

Every element of a tensor has an index, every noisy module a place in the network, every training
step a number, every trial a seed. A hash of the four says what the element draws. Nothing is drawn
in order, so the noise is the same alone and in a fused group, before and after a resume, on a CPU
and on a GPU. The hash uses integer operations that wrap around, and no look at a value, so it goes
through `vmap` and tracing.
"""

import math

from lossbench.lazy import Tensor, torch


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


def uniform(key: Tensor, place: int, count: int) -> Tensor:
    """Return `count` independent numbers, drawn evenly from between 0 and 1, float32.

    One bit less than there are levels, so that no number rounds to 1.
    """
    steps = (levels(key, place, count) >> 1) + 2 ** (LEVELS - 2)
    return (steps.to(torch.float32) + 0.5) / 2 ** (LEVELS - 1)


def normal(key: Tensor, place: int, count: int) -> Tensor:
    """Return `count` independent standard normal numbers, float32.

    Two uniform numbers make one: nothing is lost by it, and the elements stay independent.
    Reference: Box & Muller, A Note on the Generation of Random Normal Deviates, 1958.
    """
    middle = levels(key, place, 2 * count).to(torch.float32) + (2 ** (LEVELS - 1) + 0.5)
    radius, angle = (middle / 2**LEVELS).split(count)  # within (0, 1]
    return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle)
