"""The plain step: eager autograd and torch.optim on one module.

For what is large (fusing gains nothing), what cannot be traced or vmapped (recurrent layers,
random activations, a user's module with branches on data), and what only torch.optim does (L-BFGS,
mixed precision with gradient scaling).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.components.modules import noise_buffers
from lossbench.errors import UsageError
from lossbench.training.knobs import Rate
from lossbench.training.model import Model, is_setting
from lossbench.training.module_update import module_updater
from lossbench.training.step import Bounds, Evaluation, Split
from lossbench.training.update import Optimizer

EVALUATE_ELEMENTS = 4_000_000

AMP = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class PlainStep:
    """Trains one trial; see `Step` for what it promises."""

    trials = 1

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        seed: int,
        split: Split,
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        amp: str = "off",
    ) -> None:
        self.note: str | None = None
        self._model = model
        self._split = split
        self._per_step = accumulate
        self._clip = (clip_norm, clip_value)
        self._device = split.inputs.device
        self._amp = AMP.get(amp)
        # Only float16 gradients underflow; a scaler without need would only cost a check.
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=amp == "float16")
        self._noise = [model.get_buffer(name) for name in noise_buffers(model)]
        self._seed = seed
        self._params = [p for p in model.parameters() if p.requires_grad]
        self._rule = module_updater(model, optimizer)
        if (self._rule.closure or self._rule.looks_again) and self._scaler.is_enabled():
            raise UsageError(
                f"optimizer '{optimizer.applied.name}' asks for the loss several times per step, "
                "which gradient scaling (train.amp: float16) cannot follow",
                hint="train.amp: bfloat16 needs no scaling",
            )
        self._bounds = Bounds(model, dict(model.named_parameters()))
        self._best = self.weights(0)

    def train(
        self, batches: Sequence[Tensor], step: int, rate: Rate, momentum: Rate | None
    ) -> Tensor:
        """Make one step on the batches together; returns the loss, [1]."""
        self._model.train()
        loss = self._update(
            batches, step, float(rate), None if momentum is None else float(momentum)
        )
        with torch.no_grad():
            self._bounds.keep_()
        return loss[None]

    def _update(
        self, batches: Sequence[Tensor], step: int, rate: float, momentum: float | None
    ) -> Tensor:
        """Let the optimizer move the weights; returns the loss before."""

        def closure() -> Tensor:
            loss = self._gradients(batches, step)
            self._clip_gradients()
            return loss

        if self._rule.closure:
            return self._rule.step_with(closure, rate)
        loss = self._gradients(batches, step)
        if self._rule.looks_again:
            self._again(batches, step)
        self._clip_gradients()
        scaler = self._scaler
        if scaler.is_enabled():
            # The step is left out where a scaled gradient overflowed; the scale then shrinks.
            self._rule.step(step, rate, momentum, scaler)
            scaler.update()
        else:
            self._rule.step(step, rate, momentum)
        return loss

    def _again(self, batches: Sequence[Tensor], step: int) -> None:
        """Replace the gradients by those of the same batches, and noise, at the second place.

        Running statistics are those of the first pass: the weights go back from here.
        """
        buffers = {name: value.clone() for name, value in self._model.named_buffers()}
        with torch.no_grad():
            first = self._rule.climb()
        self._gradients(batches, step)
        with torch.no_grad():
            self._rule.back(first)
            for name, value in self._model.named_buffers():
                value.copy_(buffers[name])

    def _gradients(self, batches: Sequence[Tensor], step: int) -> Tensor:
        """Fill the gradients with those of the mean over all batches; returns that mean."""
        for parameter in self._params:
            parameter.grad = None
        totals, weights = [], []
        samples = sum(rows.numel() for rows in batches)
        for number, rows in enumerate(batches, start=1):
            for noise in self._noise:
                noise[0], noise[1] = self._seed, (step - 1) * self._per_step + number
            index = rows.reshape(-1)
            inputs = self._split.inputs.index_select(0, index)
            target = self._split.target.index_select(0, index)
            total, weight = self._judged(inputs, target)
            # The weight of all batches is not known yet; a mere sum would overflow in float16.
            loss = total / weight if self._per_step == 1 else total / samples
            self._scaler.scale(loss).backward()
            totals.append(total.detach())
            weights.append(weight.detach())
        total, weight = torch.stack(totals).sum(), torch.stack(weights).sum()
        if self._per_step > 1:
            for parameter in self._params:
                if parameter.grad is not None:
                    parameter.grad *= (samples / weight).to(parameter.grad.dtype)
        return (total / weight).float()

    def _judged(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of a batch's loss, and what its mean divides by.

        Only the network is in mixed precision: a sum over a batch soon exceeds what float16 can
        hold, and loses all but two digits in bfloat16.
        """
        if self._amp is None:
            _, total, weight = self._model(inputs, target)
        else:
            with torch.autocast(self._device.type, self._amp):
                raw = self._model.network(inputs)
            terms = self._model.loss(self._model.heads.split(raw.float()), target)
            total, weight = terms.total(), torch.as_tensor(terms.weight_sum())
        return total, weight.to(total.device)

    def _clip_gradients(self) -> None:
        norm, value = self._clip
        if norm is None and value is None:
            return
        if self._scaler.is_enabled():
            self._rule.unscale(self._scaler)
        if value is not None:
            nn.utils.clip_grad_value_(self._params, value)
        if norm is not None:
            nn.utils.clip_grad_norm_(self._params, norm)

    def evaluations(self, split: Split, best: bool = False) -> Iterator[Evaluation]:
        """Yield the same: there is but one trial."""
        yield self.evaluate(split, best)

    def evaluate(self, split: Split, best: bool = False) -> Evaluation:
        """Return raw outputs and mean loss of a split, in evaluation mode."""
        current = {k: v.clone() for k, v in self._model.state_dict().items()}
        other = self._best if best else self._rule.evaluation()
        if other is not None:
            self._model.load_state_dict(other, strict=False)
        self._model.eval()
        outputs, totals, weights = [], [], []
        size = max(1, EVALUATE_ELEMENTS // max(1, split.inputs[0].numel()))
        with torch.no_grad():
            for start in range(0, len(split), size):
                rows = slice(start, start + size)
                raw, total, weight = self._model(split.inputs[rows], split.target[rows])
                outputs.append(raw)
                totals.append(total)
                weights.append(weight.to(total.device))
        self._model.train()
        if other is not None:
            self._model.load_state_dict(current)
        loss = torch.stack(totals).sum() / torch.stack(weights).sum()
        return Evaluation(torch.cat(outputs)[None], loss[None])

    def keep_best(self, trials: Tensor) -> None:
        """Remember the weights of this moment as the best ones."""
        if bool(trials[0]):
            self._best = self.weights(0)

    def freeze(self, trial: int) -> None:
        """Do nothing: with its only trial stopped, the group makes no further step."""

    def weights(self, trial: int, best: bool = False) -> dict[str, Tensor]:
        """Return a copy of the weights by name: those to evaluate with."""
        del trial  # there is one
        if best:
            return {name: tensor.clone() for name, tensor in self._best.items()}
        named = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        named |= self._rule.evaluation() or {}
        return {
            name: tensor.detach().clone() for name, tensor in named.items() if not is_setting(name)
        }

    def state(self) -> dict[str, Any]:
        """Return a copy of all that training has moved."""
        named = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        return {
            "weights": {name: tensor.detach().clone() for name, tensor in named.items()},
            "optimizer": self._rule.state(),
            "scaler": self._scaler.state_dict(),
            "best": {name: tensor.clone() for name, tensor in self._best.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        named = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        with torch.no_grad():
            for name, value in state["weights"].items():
                named[name].copy_(value)
        self._best = {name: value.to(self._device) for name, value in state["best"].items()}
        self._scaler.load_state_dict(state["scaler"])
        self._rule.load(state["optimizer"])
