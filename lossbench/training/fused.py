"""The fused step: all trials of a group in one computation, and all that training moves of them.

What a batch gives is computed in training/gradients.py, what becomes of a gradient in
training/update.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from lossbench.components.modules import noise_buffers
from lossbench.training.block import Block, blocks
from lossbench.training.gradients import Gradients, Graphs
from lossbench.training.knobs import Rate
from lossbench.training.model import Model, is_setting
from lossbench.training.stack import Stack
from lossbench.training.step import Bounds, Evaluation, Split, joined
from lossbench.training.update import Optimizer

EVALUATE_ELEMENTS = 4_000_000
"""Input elements of a trial evaluated at once: bounds the memory of an evaluation."""

EVALUATE_BLOCK = 500_000
"""Elements of the widest activation, over the trials evaluated together: they stay in the cache,
and still outweigh what a call of `vmap` costs."""


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
        graphs: Graphs | None = None,
    ) -> None:
        """Take what is to be trained; `graphs` are those of a step that computes the same."""
        self.trials = stack.trials
        self._model = model
        self._stack = stack
        model.train()
        noise = _share_noise(model, stack, seeds)
        names = stack.layout.names
        gradients = Gradients(model, names, list(stack.buffers), batch_sizes, accumulate, graphs)
        sample = max(widest, split.inputs[0].numel())
        largest = max(sample * max(batch_sizes), *stack.layout.sizes)
        options: dict[str, Any] = {
            "noise": noise,
            "clip_norm": clip_norm,
            "clip_value": clip_value,
        }
        self._blocks = [
            Block(trials, stack, optimizers, gradients, split, **options)
            for trials in blocks(stack.trials, largest)
        ]
        self.graphs, self.note = gradients.graphs, gradients.note
        views = dict(zip(names, stack.layout.views(stack.flat), strict=True))
        self._bounds = Bounds(model, views)
        self._widest = widest
        self._best = _Kept.of(stack)
        # Trials that stopped: their rows go on being computed, but these are their weights.
        self._frozen = _Kept.of(stack)
        self._is_frozen = torch.zeros(stack.trials, dtype=torch.bool, device=stack.flat.device)

    def train(
        self, batches: Sequence[Tensor], step: int, rate: Rate, momentum: Rate | None
    ) -> Tensor:
        """Make one step on the batches together; returns the loss of each trial."""
        with torch.no_grad():
            losses = [block.train(batches, step, rate, momentum) for block in self._blocks]
            self._bounds.keep_()
        return losses[0] if len(losses) == 1 else torch.cat(losses)

    def evaluations(self, split: Split, best: bool = False) -> Iterator[Evaluation]:
        """Yield raw outputs and mean loss of a split, in evaluation mode, some trials at a time."""
        flat, stacked = self._chosen(best)
        weights = dict(zip(self._stack.layout.names, self._stack.layout.views(flat), strict=True))
        weights |= stacked
        # The cut of the samples is that of one trial alone, so that its sums are the same in
        # every group; the trials are cut for speed and for memory.
        samples = max(1, EVALUATE_ELEMENTS // max(1, split.inputs[0].numel()))
        trials = max(1, EVALUATE_BLOCK // (self._widest * min(samples, len(split))))
        for at in range(0, self.trials, trials):
            own = {name: values[at : at + trials] for name, values in weights.items()}
            self._model.eval()
            with torch.no_grad():
                part = self._evaluate(own, split, samples)
            self._model.train()
            yield Evaluation(*part)

    def evaluate(self, split: Split, best: bool = False) -> Evaluation:
        """Return raw outputs and mean loss of a split, in evaluation mode."""
        return joined(self.evaluations(split, best))

    def _evaluate(
        self, weights: dict[str, Tensor], split: Split, samples: int
    ) -> tuple[Tensor, Tensor]:
        """Return raw outputs and mean loss of some trials, so many samples at a time."""
        trials = len(next(iter(weights.values())))
        if trials == 1:  # MKL would take another way for a single product, which rounds otherwise
            weights = {name: value.expand(2, *value.shape[1:]) for name, value in weights.items()}
        together = vmap(
            lambda w, x, y: functional_call(self._model, w, (x, y)), in_dims=(0, None, None)
        )
        pieces = [
            together(weights, split.inputs[at : at + samples], split.target[at : at + samples])
            for at in range(0, len(split), samples)
        ]
        outputs, totals, sums = zip(*pieces, strict=True)
        loss = torch.stack(totals).sum(0) / torch.stack(sums).sum(0)
        return torch.cat(outputs, dim=1)[:trials], loss[:trials]

    def _chosen(self, best: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weights and buffers of all trials to evaluate with."""
        if best:
            return self._best.flat, self._best.buffers
        parts = [block.updater.evaluation() for block in self._blocks]
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)
        buffers = self._stack.buffers
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
            "optimizer": [state for block in self._blocks for state in block.updater.state()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        _Kept(self._stack.flat, self._stack.buffers).load(state["current"])
        self._best.load(state["best"])
        self._frozen.load(state["frozen"])
        self._is_frozen.copy_(state["is_frozen"])
        states = iter(state["optimizer"])
        for block in self._blocks:
            block.updater.load(states)


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


def _share_noise(model: Model, stack: Stack, seeds: Sequence[int]) -> str | None:
    """Let all noisy layers read one tensor [trials, 2] of seed and step; returns a name of it."""
    names = noise_buffers(model)
    noise = torch.tensor([[seed, 0] for seed in seeds], device=stack.flat.device)
    for name in names:
        stack.buffers[name] = noise
    return next(iter(names), None)
