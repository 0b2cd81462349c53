"""What one batch gives some trials: the loss of each, and its gradient, from a traced graph.

Ordinary modules and pure losses go in. `functional_call` makes the model a function of its
weights, `vmap` gives it a trial axis, one backward pass of the sum of all losses gives every
trial its own gradient, and the whole is replayed from a trace (training/trace.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from lossbench.training.model import Model
from lossbench.training.stack import Stack
from lossbench.training.step import Split, gather
from lossbench.training.trace import NotTraceableError, trace

TRACE_FROM = 50
"""Batches of one size from which tracing it pays; rarer ones (the last of an epoch) run eagerly."""

Graph = Callable[..., tuple[Tensor, ...]]
Graphs = Mapping[tuple[int, int], Graph]
"""What gives loss and gradients of a batch, by the number of trials and the size of the batch."""


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

    def prepare(self, stack: Stack, split: Split) -> tuple[Tensor, ...]:
        """Make ready for so many trials; returns what of theirs goes into the computation.

        Raises what `vmap` raises about a model that it refuses.
        """
        views = stack.layout.views(stack.flat)
        tensors = (*views, *(stack.buffers[name] for name in self._buffers))
        if any(trials == stack.trials for trials, _ in self.graphs):
            return tensors

        def example(size: int, first: int = 0) -> list[Tensor]:
            rows = (torch.arange(size, device=stack.flat.device) + first) % len(split)
            return [*tensors, *gather(split, rows.expand(stack.trials, size))]

        # A model that `vmap` refuses is refused here, before anything is trained.
        self._compute(*(tensor.clone() for tensor in example(max(self._batch_sizes))))
        for size, count in self._batch_sizes.items():
            graph = self._compute
            if count >= TRACE_FROM:
                graph = self._traced([example(size), example(size, first=1)])
            self.graphs[stack.trials, size] = graph
        return tensors

    def __call__(
        self, tensors: Sequence[Tensor], inputs: Tensor, target: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the losses [trials] and gradients [trials, parameters] of a batch.

        Where batches accumulate it is sums of the loss, their weights, gradients of the sums.
        """
        return self.graphs[inputs.shape[0], inputs.shape[1]](*tensors, inputs, target)

    def _compute(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute what one batch gives, eagerly: this is what is traced."""
        *given, inputs, target = tensors
        count = len(self._names)
        buffers = dict(zip(self._buffers, given[count:], strict=True))

        def terms(params: Sequence[Tensor], own: dict[str, Tensor], x: Tensor, y: Tensor) -> Any:
            weights = dict(zip(self._names, params, strict=True)) | own
            _, total, weight = functional_call(self._model, weights, (x, y))
            return total, weight.to(total.dtype)

        with torch.enable_grad():
            params = [tensor.detach().requires_grad_() for tensor in given[:count]]
            total, weight = vmap(terms)(params, buffers, inputs, target)
            # Alone, a mean is divided before the backward pass, as in every training loop.
            loss = total if self.accumulate > 1 else total / weight
            grads = torch.autograd.grad(loss.sum(), params, allow_unused=True)
        filled = [
            (torch.zeros_like(p) if g is None else g).reshape(len(inputs), -1)
            for p, g in zip(params, grads, strict=True)
        ]
        flat = torch.cat(filled, dim=1)
        if self.accumulate > 1:
            return total.detach(), weight.detach(), flat
        return loss.detach(), flat

    def _traced(self, examples: Sequence[Sequence[Tensor]]) -> Graph:
        """Trace the computation, holding it against eager `vmap` on every example."""
        try:
            return trace(self._compute, examples)
        except NotTraceableError as error:
            self.note = f"untraced, eager vmap ({error})"
            return self._compute
