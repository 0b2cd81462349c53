"""A block: neighbouring trials of a group whose whole step is made while it is in the cache.

A step touches some dozens of tensors, one after another. Where those of all trials together are
larger than a core's cache, each operation would fetch them from memory again; so everything, from
the batch to the new weights, is done for one block of trials, then for the next.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from lossbench.training.gradients import Gradients
from lossbench.training.knobs import Rate
from lossbench.training.stack import Stack
from lossbench.training.step import Split, clip_
from lossbench.training.update import Optimizer, Updater

BLOCK_ELEMENTS = 524_288
"""Elements of the largest tensor of a block. Smaller blocks lie better in a core's cache, but every
block makes all the calls of a step again."""


def blocks(trials: int, largest: int) -> list[slice]:
    """Cut a group into blocks, where a trial's largest tensor has so many elements.

    Blocks of one size need one graph: slightly smaller ones are taken where they divide the group,
    else blocks of two neighbouring sizes.
    """
    most = max(1, min(trials, BLOCK_ELEMENTS // max(1, largest)))
    even = (size for size in range(most, 2 * most // 3, -1) if trials % size == 0)
    pieces = -(-trials // next(even, most))
    cuts = [number * trials // pieces for number in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


class Block:
    """Some trials' share of a group, with what computes their gradients and applies them."""

    def __init__(
        self,
        trials: slice,
        stack: Stack,
        optimizers: Sequence[Optimizer],
        gradients: Gradients,
        split: Split,
        *,
        noise: str | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.trials = trials
        own = self._own = stack.part(trials)
        self.updater = Updater(optimizers[trials], stack.layout, own.flat)
        self._gradients = gradients
        self._given = own.given()
        gradients.prepare(self._given, split)
        self._split = split
        self._noise = None if noise is None else own.buffers[noise]
        self._clip = (clip_norm, clip_value)

    def train(
        self, batches: Sequence[Tensor], step: int, rate: Rate, momentum: Rate | None
    ) -> Tensor:
        """Make a step on batches (rows of the whole group); returns the loss of each trial."""
        loss, grads = self._computed(batches, step)
        if self.updater.looks_again:
            grads = self._again(grads, batches, step)
        if self._clip != (None, None):
            clip_(grads, *self._clip)
        own = None if momentum is None else self._share(momentum)
        self.updater.step(grads, step, self._share(rate), own)
        return loss

    def _computed(self, batches: Sequence[Tensor], step: int) -> tuple[Tensor, ...]:
        """Return loss and gradients at the weights of this moment."""
        if self._gradients.accumulate > 1:
            return self._accumulated(batches, step)
        return self._of(batches[0], step)

    def _again(self, grads: Tensor, batches: Sequence[Tensor], step: int) -> Tensor:
        """Return the gradients of the same batches, with the same noise, at the second place.

        Running statistics are those of the first pass: the weights go back from here.
        """
        first = self._own.flat.clone()
        buffers = {name: value.clone() for name, value in self._own.buffers.items()}
        self._own.flat.copy_(self.updater.second_place(grads))
        grads = self._computed(batches, step)[1]
        self._own.flat.copy_(first)
        for name, value in buffers.items():
            self._own.buffers[name].copy_(value)
        return grads

    def _of(self, rows: Tensor, count: int) -> tuple[Tensor, ...]:
        """Return what one batch gives; `count` numbers the noise."""
        if self._noise is not None:
            self._noise[:, 1] = count
        return self._gradients(self._given, self._split, rows[self.trials])

    def _accumulated(self, batches: Sequence[Tensor], step: int) -> tuple[Tensor, Tensor]:
        """Return loss and gradients of several batches, as one batch of all their samples has them.

        Sums and weights are added up, so that class weights and ignored samples count as they do
        in the large batch.
        """
        first = (step - 1) * self._gradients.accumulate
        total, weight, grads = self._of(batches[0], first + 1)
        for number, rows in enumerate(batches[1:], start=2):
            more_total, more_weight, more_grads = self._of(rows, first + number)
            total, weight, grads = total + more_total, weight + more_weight, grads + more_grads
        return total / weight, grads / weight[:, None]

    def _share(self, value: Rate) -> Rate:
        return value[self.trials] if isinstance(value, Tensor) else value
