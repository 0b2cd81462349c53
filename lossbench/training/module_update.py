"""How the plain step turns gradients into new weights: torch.optim, or a rule of the catalogue."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossbench.components.vocabulary import Applied
from lossbench.training.knobs import DECAY
from lossbench.training.stack import Layout
from lossbench.training.update import Optimizer, Updater

NamedParameters = Sequence[tuple[str, nn.Parameter]]


def module_updater(model: nn.Module, optimizer: Optimizer) -> "RuleOnModule | KernelOnModule":
    """Return torch's own optimizer where it may be used, else the rule of the catalogue."""
    if optimizer.applied.kernel is None:
        return RuleOnModule(model, optimizer)
    return KernelOnModule(model, optimizer)


class RuleOnModule:
    """A formula of the catalogue, on the parameters of one module."""

    closure = False

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._layout = Layout.of(model)
        by_name = dict(model.named_parameters())
        self._params = [by_name[name] for name in self._layout.names]
        flat = torch.cat([p.detach().reshape(-1) for p in self._params])[None]
        self._flat = flat
        # The module's parameters become views of the flat storage: a rule's update is theirs.
        for parameter, view in zip(self._params, self._layout.views(flat), strict=True):
            parameter.data = view[0]
        self._updater = Updater([optimizer], self._layout, flat)
        self._scaled = _Scaled(self._params)
        self._averages = optimizer.facts.evaluate is not None

    def step(
        self,
        step: int,
        rate: float,
        momentum: float | None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Update the module's parameters."""

        def update() -> None:
            with torch.no_grad():
                self._updater.step(self._grads(), step, rate, momentum)

        if scaler is None:
            update()
        else:
            self._scaled.update = update
            scaler.step(self._scaled)

    @property
    def looks_again(self) -> bool:
        """Whether the rule wants the gradient of a second place before it makes its step."""
        return self._updater.looks_again

    def climb(self) -> Tensor:
        """Move the weights to where the gradient is taken once more; returns those of before."""
        first = self._flat.clone()
        self._flat.copy_(self._updater.second_place(self._grads()))
        return first

    def back(self, first: Tensor) -> None:
        """Put the weights back to what `climb` returned."""
        self._flat.copy_(first)

    def _grads(self) -> Tensor:
        """Return the gradients as a row, zeros where there are none."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return torch.cat([grad.reshape(-1) for grad in grads])[None]

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the scale before they are clipped."""
        scaler.unscale_(self._scaled)

    def step_with(self, closure: Any, rate: float) -> Tensor:
        """Refuse: no rule of the catalogue asks for the loss again."""
        raise NotImplementedError

    def evaluation(self) -> dict[str, Tensor] | None:
        """Return the averaged weights by name, where the optimizer keeps them."""
        return self._layout.row(self._updater.evaluation(), 0) if self._averages else None

    def state(self) -> Any:
        """Return the optimizer's state."""
        return self._updater.state()

    def load(self, state: Any) -> None:
        """Take what `state` gave."""
        self._updater.load(state)


class _Scaled(torch.optim.Optimizer):
    """A rule as torch's gradient scaler wants it: parameters, and a step that it may leave out."""

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        super().__init__(params, {})
        self.update: Callable[[], None] = lambda: None

    def step(self, closure: Any = None) -> Any:  # noqa: ARG002 - torch's own signature
        """Make the update that the rule has prepared."""
        self.update()


class KernelOnModule:
    """An optimizer of torch.optim, with our rule for what weight decay acts on."""

    looks_again = False

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.closure = optimizer.facts.closure
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        rest = optimizer.rest
        if rest is not None:
            matrices = [(n, p) for n, p in named if p.ndim == 2]
            others = [(n, p) for n, p in named if p.ndim != 2]
            parts = [(optimizer.without_rest(), matrices), (rest, others)]
        else:
            parts = [(optimizer.applied, named)]
        self._sparse = optimizer.facts.sparse_gradients
        self._optimizers = [
            _torch_optimizer(applied, params, optimizer.decayed)
            for applied, params in parts
            if params
        ]
        base = optimizer.rate
        self._scales = [
            float(opt.param_groups[0]["lr"]) / base if base else 1.0 for opt in self._optimizers
        ]

    def _set(self, rate: float, momentum: float | None) -> None:
        for optimizer, scale in zip(self._optimizers, self._scales, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
                if momentum is not None and "momentum" in group:
                    group["momentum"] = momentum
                elif momentum is not None and "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])

    def step(
        self,
        step: int,
        rate: float,
        momentum: float | None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Let torch.optim update the module's parameters."""
        del step  # torch counts itself
        self._set(rate, momentum)
        for optimizer in self._optimizers:
            if self._sparse:
                _sparsify(optimizer)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the scale before they are clipped."""
        for optimizer in self._optimizers:
            scaler.unscale_(optimizer)

    def step_with(self, closure: Any, rate: float) -> Tensor:
        """Let an optimizer that asks for the loss again call for it."""
        self._set(rate, None)
        loss: Tensor = self._optimizers[0].step(closure)
        return loss.detach()

    def climb(self) -> Tensor:
        """Refuse: no optimizer of torch.optim looks at a second place."""
        raise NotImplementedError

    def back(self, first: Tensor) -> None:
        """Refuse, as `climb` does."""
        raise NotImplementedError

    def evaluation(self) -> None:
        """Return nothing: torch.optim keeps no other weights."""

    def state(self) -> Any:
        """Return the state of torch's optimizers."""
        return [_copied(optimizer.state_dict()) for optimizer in self._optimizers]

    def load(self, state: Any) -> None:
        """Take what `state` gave."""
        for optimizer, saved in zip(self._optimizers, state, strict=True):
            optimizer.load_state_dict(_copied(saved))


def _torch_optimizer(
    applied: Applied, named: NamedParameters, decayed: frozenset[str]
) -> torch.optim.Optimizer:
    """Make an optimizer of torch.optim: one group that weight decay acts on, one that it spares."""
    knobs = dict(applied.knobs)
    if applied.facts.kernel_knobs is not None:
        knobs = applied.facts.kernel_knobs(knobs)
    assert applied.kernel is not None
    weights = [parameter for name, parameter in named if name in decayed]
    spared = [parameter for name, parameter in named if name not in decayed]
    # Without weight decay one group serves all; L-BFGS takes no more than one.
    groups: list[Any] = weights + spared
    if knobs.get(DECAY) and weights and spared:
        groups = [{"params": weights}, {"params": spared, DECAY: 0.0}]
    elif not weights:
        knobs = {**knobs, DECAY: 0.0} if DECAY in knobs else knobs
    made: torch.optim.Optimizer = applied.kernel(groups, **knobs)
    return made


def _sparsify(optimizer: torch.optim.Optimizer) -> None:
    """Hand over only the gradient elements that were touched, as SparseAdam wants them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and not parameter.grad.is_sparse:
                parameter.grad = parameter.grad.to_sparse()


def _copied(state: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, state)
