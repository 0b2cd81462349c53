"""The step: one call that trains a group on a batch, and what evaluates it.

Two ways stand behind it. The fused step computes all trials of a group together and replays a
traced graph; the plain step is eager autograd and torch.optim on one module. The loop cannot tell
them apart: every result has one row per trial.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lossbench.components.modules import intervals
from lossbench.training.knobs import Rate


@dataclass(frozen=True)
class Split:
    """A split on the device: inputs [N, ...], and the target as the loss wants it."""

    inputs: Tensor
    target: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs)

    def to(self, device: torch.device) -> "Split":
        """Return the split on a device."""
        return Split(self.inputs.to(device), self.target.to(device))


@dataclass(frozen=True)
class Evaluation:
    """A split as the group sees it: raw outputs [trials, N, ...] and the mean loss [trials]."""

    outputs: Tensor
    loss: Tensor


def joined(parts: Iterable[Evaluation]) -> Evaluation:
    """Return what neighbouring trials make of a split as one."""
    outputs, loss = zip(*((part.outputs, part.loss) for part in parts), strict=True)
    return Evaluation(torch.cat(outputs), torch.cat(loss))


class Step(Protocol):
    """A gradient step for a group of trials, and all the state it moves."""

    trials: int
    note: str | None
    """What a person should know of how it computes, where that differs from the plan."""

    def train(
        self, batches: Sequence[Tensor], step: int, rate: Rate, momentum: Rate | None
    ) -> Tensor:
        """Make step number `step` (from 1) on the batches (rows [trials, size]) together.

        Returns the loss of each trial, [trials], without waiting for the device.
        """
        ...

    def evaluate(self, split: Split, best: bool = False) -> Evaluation:
        """Return what the weights of this moment (or the best ones) make of a split."""
        ...

    def evaluations(self, split: Split, best: bool = False) -> Iterator[Evaluation]:
        """Yield the same, some trials at a time: all outputs at once may be too many."""
        ...

    def keep_best(self, trials: Tensor) -> None:
        """Remember the weights of this moment as the best ones of these trials ([trials] bool)."""
        ...

    def freeze(self, trial: int) -> None:
        """Keep a trial's weights as they are from now on, for every evaluation to come."""
        ...

    def weights(self, trial: int, best: bool = False) -> dict[str, Tensor]:
        """Return a copy of a trial's weights by name."""
        ...

    def state(self) -> dict[str, Any]:
        """Return a copy of all that training has moved."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        ...


def gather(split: Split, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the samples at rows [trials, size]: inputs and targets [trials, size, ...]."""
    flat = rows.reshape(-1)
    return (
        _select(split.inputs, flat).view(*rows.shape, *split.inputs.shape[1:]),
        _select(split.target, flat).view(*rows.shape, *split.target.shape[1:]),
    )


def _select(values: Tensor, rows: Tensor) -> Tensor:
    # Rows of one element are copied one by one unless they lie in one dimension: 5 times faster.
    one_each = values.ndim > 1 and values.numel() == len(values) and values.is_contiguous()
    return (values.view(-1) if one_each else values).index_select(0, rows)


class Bounds:
    """Keeps weights within the intervals that the model declares for them.

    `weights` are the tensors by name, which training changes in place; more axes may lead.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self._kept = [(weights[name], *ends) for name, ends in intervals(model).items()]

    def keep_(self) -> None:
        """Clip what an update has moved out."""
        for weight, low, high in self._kept:
            weight.clamp_(low, high)


def clip_(grads: Tensor, norm: float | None, value: float | None) -> None:
    """Bound each row of gradients [trials, parameters] in place, as torch's clip_grad_* do."""
    if value is not None:
        grads.clamp_(-value, value)
    if norm is not None:
        lengths = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
        grads.mul_((norm / (lengths + 1e-6)).clamp_(max=1.0))
