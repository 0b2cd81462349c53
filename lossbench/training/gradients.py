"""What one batch gives some trials: the loss of each, and its gradient, from a traced graph.

Ordinary modules and pure losses go in. `functional_call` makes the model a function of its
weights, `vmap` gives it a trial axis, one backward pass of the sum of all losses gives every
trial its own gradient, and the whole is replayed from a trace (training/trace.py).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from lossbench.training.convolutions import Quick
from lossbench.training.lanes import LanesGraph, NotInLanesError
from lossbench.training.model import Model
from lossbench.training.stack import Given
from lossbench.training.step import Split, gather
from lossbench.training.trace import NotTraceableError, precise, record, same, trace

TRACE_FROM = 50
"""Batches of one size from which tracing it pays; rarer ones (the last of an epoch) run eagerly."""

Graph = Callable[[Given, Split, Tensor], tuple[Tensor, ...]]
Graphs = Mapping[tuple[int, int], Graph]
"""What gives loss and gradients of a batch, by the number of trials and the size of the batch."""


class _TrialsFirst:
    """A traced step whose tensors all begin with the trials."""

    def __init__(self, replay: Callable[..., tuple[Tensor, ...]]) -> None:
        self.replay = replay

    def __call__(self, given: Given, split: Split, rows: Tensor) -> tuple[Tensor, ...]:
        return self.replay(*given.tensors, *gather(split, rows))


class Gradients:
    """Computes losses and gradients of batches, for any number of trials of a model.

    batch_sizes: how often each size occurs. Where a step accumulates several batches, sums of the
    loss and their weights are computed instead of means, to be added up. `graphs` are those of
    something that computes the same.
    """

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        buffers: Sequence[str],
        batch_sizes: Mapping[int, int],
        accumulate: int = 1,
        graphs: Graphs | None = None,
    ) -> None:
        self.note: str | None = None
        self.accumulate = accumulate
        self._model = model
        self._names = list(names)
        self._buffers = list(buffers)
        self._batch_sizes = dict(batch_sizes)
        self.graphs: dict[tuple[int, int], Graph] = dict(graphs or {})

    def prepare(self, given: Given, split: Split) -> None:
        """Make ready for as many trials as are given here.

        Raises what `vmap` raises about a model that it refuses.
        """
        trials = len(given.flat)
        if any(own == trials for own, _ in self.graphs):
            return
        # A model that `vmap` refuses is refused here, before anything is trained.
        largest = _tensors(given, split, _first(split, trials, max(self._batch_sizes)))
        self._compute(*(tensor.clone() for tensor in largest))
        for size, count in self._batch_sizes.items():
            graph = self._traced(given, split, size) if count >= TRACE_FROM else None
            self.graphs[trials, size] = graph or self._eager

    def __call__(self, given: Given, split: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the losses [trials] and gradients [trials, parameters] of a batch.

        Where batches accumulate it is sums of the loss, their weights, gradients of the sums.
        """
        return self.graphs[rows.shape[0], rows.shape[1]](given, split, rows)

    def _eager(self, given: Given, split: Split, rows: Tensor) -> tuple[Tensor, ...]:
        return self._quick(*_tensors(given, split, rows))

    def _traced(self, given: Given, split: Split, size: int) -> Graph | None:
        """Trace the computation, holding it against eager `vmap` on two batches."""
        rows = [_first(split, len(given.flat), size, start) for start in (0, 1)]
        examples = [_tensors(given, split, own) for own in rows]
        try:
            return self._lanes(given, split, rows, examples)
        except (NotTraceableError, NotInLanesError):
            pass  # the common case: larger networks keep the trials first
        try:
            return _TrialsFirst(trace(self._quick, examples, self._compute))
        except NotTraceableError as error:
            self.note = f"untraced, eager vmap ({error})"
            return None

    def _lanes(
        self,
        given: Given,
        split: Split,
        rows: Sequence[Tensor],
        examples: Sequence[Sequence[Tensor]],
    ) -> LanesGraph:
        """Return the computation with the trials side by side, held against eager `vmap`."""
        if given.flat.device.type != "cpu":
            raise NotInLanesError("another device has its own ways")
        recorded = record(self._compute_one, [tensor[0] for tensor in examples[0]])
        lanes = LanesGraph(recorded, given, rows[0])
        for own, example in zip(rows, examples, strict=True):
            with torch.no_grad():
                try:
                    found = lanes(given, split, own)
                except (RuntimeError, IndexError) as error:
                    raise NotInLanesError(str(error)) from error
                same(self._compute(*example), found, partial(precise, self._compute, example))
        return lanes

    def _quick(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute the same, with convolutions made for many trials: this is what is traced."""
        with Quick():
            return self._compute(*tensors)

    def _compute(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute what one batch gives all trials, eagerly."""
        count = len(self._names)

        def terms(params: Sequence[Tensor], *others: Tensor) -> tuple[Tensor, Tensor]:
            return self._terms(*params, *others)

        with torch.enable_grad():
            params = [tensor.detach().requires_grad_() for tensor in tensors[:count]]
            total, weight = vmap(terms)(params, *tensors[count:])
            return self._results(total, weight, params, (len(total), -1))

    def _compute_one(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute what one batch gives one trial."""
        count = len(self._names)
        with torch.enable_grad():
            params = [tensor.detach().requires_grad_() for tensor in tensors[:count]]
            total, weight = self._terms(*params, *tensors[count:])
            return self._results(total, weight, params, (-1,))

    def _terms(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of a trial's loss, and of its weights."""
        *given, inputs, target = tensors
        named = dict(zip([*self._names, *self._buffers], given, strict=True))
        _, total, weight = functional_call(self._model, named, (inputs, target))
        return total, weight.to(total.dtype)

    def _results(
        self, total: Tensor, weight: Tensor, params: Sequence[Tensor], shape: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        # Alone, a mean is divided before the backward pass, as in every training loop.
        loss = total if self.accumulate > 1 else total / weight
        grads = torch.autograd.grad(loss.sum(), params, allow_unused=True)
        filled = [
            (torch.zeros_like(p) if g is None else g).reshape(shape)
            for p, g in zip(params, grads, strict=True)
        ]
        flat = torch.cat(filled, dim=-1)
        if self.accumulate > 1:
            return total.detach(), weight.detach(), flat
        return loss.detach(), flat


def _tensors(given: Given, split: Split, rows: Tensor) -> list[Tensor]:
    """Return what is computed with: weights, buffers, a batch."""
    return [*given.tensors, *gather(split, rows)]


def _first(split: Split, trials: int, size: int, start: int = 0) -> Tensor:
    """Return the rows of a batch of the split's first samples, the same for all trials."""
    rows = torch.arange(start, start + size, device=split.inputs.device) % len(split)
    return rows.expand(trials, size)
