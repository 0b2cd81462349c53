"""The fused step: all trials of a group in one computation, traced once and replayed.

Ordinary modules and pure losses go in. `functional_call` makes the model a function of its
weights, `vmap` gives it a trial axis, one backward pass of the sum of all losses gives every
trial its own gradient, and the whole is replayed from a trace (training/trace.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from lossbench.components.modules import noise_buffers
from lossbench.training.model import Model, is_setting
from lossbench.training.stack import Stack
from lossbench.training.step import Bounds, Evaluation, Split, clip_, gather
from lossbench.training.trace import NotTraceableError, trace
from lossbench.training.update import Optimizer, Rate, Updater

TRACE_FROM = 50
"""Batches of one size from which tracing it pays; rarer ones (the last of an epoch) run eagerly."""

EVALUATE_ELEMENTS = 4_000_000
"""Input elements of a trial evaluated at once: bounds the memory of an evaluation."""

EVALUATE_BLOCK = 500_000
"""Elements of the widest activation, over the trials evaluated together: they stay in the cache,
and still outweigh what a call of `vmap` costs."""


Graph = Callable[..., tuple[Tensor, ...]]
"""What gives loss and gradients of one batch: weights, buffers and batch in, by `_compute`."""


class FusedStep:
    """Trains a group of trials at once; see `Step` for what it promises."""

    def __init__(
        self,
        model: Model,
        stack: Stack,
        optimizers: Sequence[Optimizer],
        seeds: Sequence[int],
        split: Split,
        *,
        batch_sizes: Mapping[int, int],
        widest: int = 1,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        graphs: Mapping[int, Graph] | None = None,
    ) -> None:
        """Take what is to be trained; `graphs` are those of a step that computes the same."""
        self.trials = stack.trials
        self.note: str | None = None
        self._model = model
        self._stack = stack
        self._views = stack.layout.views(stack.flat)
        self._updater = Updater(optimizers, stack.layout, stack.flat)
        self._bounds = Bounds(model, dict(zip(stack.layout.names, self._views, strict=True)))
        self._accumulates = accumulate > 1
        self._per_step = accumulate
        self._clip = (clip_norm, clip_value)
        self._noise = _share_noise(model, stack, seeds)
        self._buffers = list(stack.buffers)
        self._split = split
        self._widest = widest
        self.graphs: dict[int, Graph] = dict(graphs or {})
        self._best = _Kept.of(stack)
        # Trials that stopped: their rows go on being computed, but these are their weights.
        self._frozen = _Kept.of(stack)
        self._is_frozen = torch.zeros(stack.trials, dtype=torch.bool, device=stack.flat.device)
        model.train()
        # A model that `vmap` refuses is refused here, before anything is trained.
        self._compute(*(tensor.clone() for tensor in self._example(max(batch_sizes))))
        for size, count in batch_sizes.items():
            if size not in self.graphs:
                self.graphs[size] = self._graph(size) if count >= TRACE_FROM else self._compute

    def train(
        self, batches: Sequence[Tensor], step: int, rate: Rate, momentum: Rate | None
    ) -> Tensor:
        """Make one step on the batches together; returns the loss of each trial."""
        with torch.no_grad():
            if self._accumulates:
                loss, grads = self._accumulated(batches, step)
            else:
                loss, grads = self._replay(batches[0], step)
            if self._clip != (None, None):
                clip_(grads, *self._clip)
            self._updater.step(grads, step, rate, momentum)
            self._bounds.keep_()
        return loss

    def _replay(self, rows: Tensor, count: int) -> tuple[Tensor, ...]:
        """Return loss and gradients of one batch; `count` numbers the noise."""
        if self._noise is not None:
            self._noise[:, 1] = count
        inputs, target = gather(self._split, rows)
        buffers = (self._stack.buffers[name] for name in self._buffers)
        return self.graphs[rows.shape[1]](*self._views, *buffers, inputs, target)

    def _accumulated(self, batches: Sequence[Tensor], step: int) -> tuple[Tensor, Tensor]:
        """Return loss and gradients of several batches, as one batch of all their samples has them.

        Sums and weights are added up, so that class weights and ignored samples count as they do
        in the large batch.
        """
        first = (step - 1) * self._per_step
        total, weight, grads = self._replay(batches[0], first + 1)
        for number, rows in enumerate(batches[1:], start=2):
            more_total, more_weight, more_grads = self._replay(rows, first + number)
            total, weight, grads = total + more_total, weight + more_weight, grads + more_grads
        return total / weight, grads / weight[:, None]

    def _compute(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return what one batch gives, eagerly: this is what is traced."""
        names, count = self._stack.layout.names, len(self._views)
        buffers = dict(zip(self._buffers, tensors[count:-2], strict=True))

        def terms(params: Sequence[Tensor], own: dict[str, Tensor], x: Tensor, y: Tensor) -> Any:
            weights = dict(zip(names, params, strict=True)) | own
            _, total, weight = functional_call(self._model, weights, (x, y))
            return total, weight.to(total.dtype)

        with torch.enable_grad():
            params = [tensor.detach().requires_grad_() for tensor in tensors[:count]]
            total, weight = vmap(terms)(params, buffers, *tensors[-2:])
            # Alone, a mean is divided before the backward pass, as in every training loop.
            loss = total if self._accumulates else total / weight
            grads = torch.autograd.grad(loss.sum(), params, allow_unused=True)
        filled = [
            (torch.zeros_like(p) if g is None else g).reshape(self.trials, -1)
            for p, g in zip(params, grads, strict=True)
        ]
        flat = torch.cat(filled, dim=1)
        if self._accumulates:
            return total.detach(), weight.detach(), flat
        return loss.detach(), flat

    def _graph(self, size: int) -> Graph:
        """Trace the step for a batch size, holding it against eager `vmap` on two batches."""
        try:
            return trace(self._compute, [self._example(size), self._example(size, first=1)])
        except NotTraceableError as error:
            self.note = f"untraced, eager vmap ({error})"
            return self._compute

    def _example(self, size: int, first: int = 0) -> list[Tensor]:
        """Return what a step of this size computes with: weights, buffers, a batch."""
        rows = (torch.arange(size, device=self._stack.flat.device) + first) % len(self._split)
        buffers = [self._stack.buffers[name] for name in self._buffers]
        return [*self._views, *buffers, *gather(self._split, rows.expand(self.trials, size))]

    def evaluate(self, split: Split, best: bool = False) -> Evaluation:
        """Return raw outputs and mean loss of a split, in evaluation mode."""
        flat, stacked = self._chosen(best)
        weights = dict(zip(self._stack.layout.names, self._stack.layout.views(flat), strict=True))
        weights |= stacked
        # The cut of the samples is that of one trial alone, so that its sums are the same in
        # every group; the trials are cut for speed.
        samples = max(1, EVALUATE_ELEMENTS // max(1, split.inputs[0].numel()))
        trials = max(1, EVALUATE_BLOCK // (self._widest * min(samples, len(split))))
        self._model.eval()
        with torch.no_grad():
            blocks = [
                self._evaluate({n: w[at : at + trials] for n, w in weights.items()}, split, samples)
                for at in range(0, self.trials, trials)
            ]
        self._model.train()
        outputs, loss = zip(*blocks, strict=True)
        return Evaluation(torch.cat(outputs), torch.cat(loss))

    def _evaluate(
        self, weights: dict[str, Tensor], split: Split, samples: int
    ) -> tuple[Tensor, Tensor]:
        """Return raw outputs and mean loss of some trials, so many samples at a time."""
        together = vmap(
            lambda w, x, y: functional_call(self._model, w, (x, y)), in_dims=(0, None, None)
        )
        pieces = [
            together(weights, split.inputs[at : at + samples], split.target[at : at + samples])
            for at in range(0, len(split), samples)
        ]
        outputs, totals, sums = zip(*pieces, strict=True)
        loss = torch.stack(totals).sum(0) / torch.stack(sums).sum(0)
        return torch.cat(outputs, dim=1), loss

    def _chosen(self, best: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weights and buffers of all trials to evaluate with."""
        if best:
            return self._best.flat, self._best.buffers
        flat, buffers = self._updater.evaluation(), self._stack.buffers
        if not bool(self._is_frozen.any()):
            return flat, buffers
        mixed = _Kept(flat.clone(), {name: value.clone() for name, value in buffers.items()})
        mixed.keep(self._is_frozen, self._frozen.flat, self._frozen.buffers)
        return mixed.flat, mixed.buffers

    def keep_best(self, trials: Tensor) -> None:
        """Remember the weights of this moment as the best ones of these trials."""
        self._best.keep(trials.to(self._is_frozen.device), *self._chosen(best=False))

    def freeze(self, trial: int) -> None:
        """Keep a trial's weights as they are from now on."""
        only = torch.arange(self.trials, device=self._is_frozen.device) == trial
        self._frozen.keep(only, *self._chosen(best=False))
        self._is_frozen |= only

    def weights(self, trial: int, best: bool = False) -> dict[str, Tensor]:
        """Return a copy of a trial's weights by name."""
        flat, buffers = self._chosen(best)
        named = self._stack.layout.row(flat, trial)
        named |= {name: value[trial] for name, value in buffers.items()}
        return {
            name: tensor.detach().clone() for name, tensor in named.items() if not is_setting(name)
        }

    def state(self) -> dict[str, Any]:
        """Return a copy of all that training has moved."""
        return {
            "current": _Kept.of(self._stack).state(),
            "best": self._best.state(),
            "frozen": self._frozen.state(),
            "is_frozen": self._is_frozen.clone(),
            "optimizer": self._updater.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        _Kept(self._stack.flat, self._stack.buffers).load(state["current"])
        self._best.load(state["best"])
        self._frozen.load(state["frozen"])
        self._is_frozen.copy_(state["is_frozen"])
        self._updater.load(state["optimizer"])


@dataclass(frozen=True)
class _Kept:
    """Weights and buffers of all trials, kept apart from those that training moves."""

    flat: Tensor
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, stack: Stack) -> "_Kept":
        """Copy those of this moment."""
        return cls(stack.flat.clone(), {n: value.clone() for n, value in stack.buffers.items()})

    def keep(self, trials: Tensor, flat: Tensor, buffers: dict[str, Tensor]) -> None:
        """Overwrite the rows of these trials."""
        self.flat[trials] = flat[trials]
        for name, value in buffers.items():
            self.buffers[name][trials] = value[trials]

    def state(self) -> dict[str, Any]:
        """Return a copy."""
        return {
            "flat": self.flat.clone(),
            "buffers": {n: v.clone() for n, v in self.buffers.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave, in place."""
        self.flat.copy_(state["flat"])
        for name, value in state["buffers"].items():
            self.buffers[name].copy_(value)


def _share_noise(model: Model, stack: Stack, seeds: Sequence[int]) -> Tensor | None:
    """Let all noisy layers read one tensor [trials, 2] of seed and step, where there are any."""
    names = noise_buffers(model)
    if not names:
        return None
    noise = torch.tensor([[seed, 0] for seed in seeds], device=stack.flat.device)
    for name in names:
        stack.buffers[name] = noise
    return noise
