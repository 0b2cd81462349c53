"""The order of the samples: a function of the seed and the epoch alone.

Nothing is drawn along the way, so a resumed run finds its order again, and a trial sees the same
batches alone and in any group.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Return 63 well mixed bits of some integers (the finaliser of SplitMix64, once a number).

    Neighbouring seeds and epochs then give unrelated orders.
    Reference: Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class Order:
    """Cuts every epoch of every trial into batches, and batches into steps."""

    def __init__(
        self,
        seeds: Sequence[int],
        samples: int,
        batch_size: int,
        *,
        accumulate: int = 1,
        drop_last: bool = False,
        shuffle: bool = True,
        device: torch.device | None = None,
    ) -> None:
        self._seeds = list(seeds)
        self._samples = samples
        self._batch_size = batch_size
        self._shuffles = shuffle and batch_size < samples
        self._device = device
        stop = samples - samples % batch_size if drop_last else samples
        batches = [(start, min(start + batch_size, stop)) for start in range(0, stop, batch_size)]
        self._steps = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]

    def of(self, seeds: Sequence[int], device: torch.device) -> "Order":
        """Return the same order for other seeds, on a device."""
        other = copy(self)
        other._seeds, other._device = list(seeds), device
        return other

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps of an epoch."""
        return len(self._steps)

    @property
    def batch_sizes(self) -> Counter[int]:
        """How often an epoch has a batch of each size."""
        return Counter(stop - start for step in self._steps for start, stop in step)

    @property
    def smallest_batch(self) -> int:
        """The number of samples of the smallest batch."""
        return min(self.batch_sizes)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Tensor]]:
        """Yield the batches of each step of an epoch from step `first` on: rows [trials, size]."""
        if self._shuffles:
            # Contenders share their seeds: each order is drawn once.
            orders = {seed: self._permutation(seed, epoch) for seed in set(self._seeds)}
            rows = torch.stack([orders[seed] for seed in self._seeds])
        else:
            rows = torch.arange(self._samples).expand(len(self._seeds), -1)
        rows = rows.to(self._device)
        for step in self._steps[first:]:
            yield [rows[:, start:stop] for start, stop in step]

    def _permutation(self, seed: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix(seed, epoch))
        return torch.randperm(self._samples, generator=generator)
