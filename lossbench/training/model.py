"""Network, link and loss as one module, so that one call goes from a batch to its loss.

The network speaks in raw outputs; the loss wants logits, probabilities, or several heads per
target. What stands between them is the link. Bringing all three into one `nn.Module` lets
`torch.func.functional_call` reach every parameter and buffer there is, those of the loss included.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossbench import registry
from lossbench.components.declarations import ActivationFacts, LossFacts, Parameter
from lossbench.components.modules import KEEP_WITHIN
from lossbench.components.noise import uniform
from lossbench.components.vocabulary import NOISE_KEY, Encoding, PredictionKind, Terms
from lossbench.kernels import activation_function, as_terms, first_state, loss_function
from lossbench.registry import Entry

Shape = tuple[int, ...]
NO_KNOBS: Mapping[str, Any] = MappingProxyType({})


KNOB = "knob_"
"""What the name of a buffer begins with that holds a knob which differs between trials."""


def is_setting(buffer: str) -> bool:
    """Tell whether a buffer is a knob or a key of the noise: set from outside, never learned."""
    last = buffer.rpartition(".")[2]
    return last == NOISE_KEY or last.startswith(KNOB)


class Component(nn.Module):
    """A component in a network: its formula or kernel, with its knobs.

    A knob that differs between the trials of a group comes as a tensor. It becomes a buffer, so
    that each trial has its own under `vmap`.
    """

    def __init__(self, entry: Entry[Any], knobs: Mapping[str, Any], impl: str) -> None:
        super().__init__()
        self.name = entry.name
        self._entry, self._impl = entry, impl
        self._fixed = {n: v for n, v in knobs.items() if not isinstance(v, Tensor)}
        for name, value in knobs.items():
            if isinstance(value, Tensor):
                self.register_buffer(KNOB + name, value)
        # Where nothing differs between trials, the call is put together once.
        self._made = None if self._buffers else self._make()

    def _make(self) -> Callable[..., Any]:
        raise NotImplementedError

    def call(self) -> Callable[..., Any]:
        """Return the component as a function that has its knobs."""
        return self._made or self._make()

    def knobs(self) -> dict[str, Any]:
        """Return all knobs, those of this trial included."""
        own = {
            name.removeprefix(KNOB): value
            for name, value in self._buffers.items()
            if name.startswith(KNOB)
        }
        return {**self._fixed, **own}

    def extra_repr(self) -> str:
        """Name the component and its knobs, for people who print the network."""
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.knobs().items())])


class Activation(Component):
    """One place in the network where an activation stands, with the parameters it learns there."""

    def __init__(
        self, entry: Entry[ActivationFacts], knobs: Mapping[str, Any], impl: str, shape: Shape
    ) -> None:
        super().__init__(entry, knobs, impl)
        self._random, self._noise = entry.facts.random, entry.facts.noise
        if self._noise:
            # Not part of the weights: the training step writes it before each forward pass.
            self.register_buffer(NOISE_KEY, torch.zeros(2, dtype=torch.int64), persistent=False)
            self.place = 0
        # A channel's parameter must meet dimension 1 of the batch: [C] becomes [C, 1, ..., 1].
        self._trailing = (1,) * (len(shape) - 1)
        self._per_channel: dict[str, bool] = {}
        for name, declared in entry.facts.parameters.items():
            value = first_value(declared, knobs)
            per = knobs.get(declared.per, declared.per)
            self._per_channel[name] = per == "channel"
            size = (shape[0],) if per == "channel" else ()
            drawn = declared.initial
            made = torch.full(size, float(value)) if drawn is None else drawn(size)
            self.register_parameter(name, nn.Parameter(made))
            if declared.within is not None:
                setattr(self, KEEP_WITHIN, declared.within)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the activation elementwise, or along the dimension that its knobs name."""
        learned: dict[str, Any] = {
            name: parameter.view(-1, *self._trailing) if self._per_channel[name] else parameter
            for name, parameter in self._parameters.items()
            if parameter is not None
        }
        if self._random:
            learned["training"] = self.training
        if self._noise and self.training:
            key = self._buffers[NOISE_KEY]
            assert key is not None
            learned[self._noise] = uniform(key, self.place, inputs.numel()).view(inputs.shape)
        result: Tensor = self.call()(inputs, **learned)
        return result

    def _make(self) -> Callable[..., Any]:
        return activation_function(self._entry, self.knobs(), self._impl)


def first_value(declared: Parameter, knobs: Mapping[str, Any]) -> float:
    """Return a learned parameter's first value: a number, or the knob that is named."""
    return float(knobs[declared.value] if isinstance(declared.value, str) else declared.value)


class ActivationMaker:
    """Makes a fresh activation, with parameters of its own, for each place of a network."""

    def __init__(
        self, entry: Entry[ActivationFacts], knobs: Mapping[str, Any], impl: str = "auto"
    ) -> None:
        self._entry, self._knobs, self._impl = entry, dict(knobs), impl

    def __call__(
        self, shape: Shape, name: str | None = None, knobs: Mapping[str, Any] = NO_KNOBS
    ) -> tuple[nn.Module, Shape]:
        """Return the network's activation, or the named one, and the shape behind it."""
        if name is not None:
            other = registry.activation.find(name)
            return ActivationMaker(other, {**other.defaults(), **knobs})(shape)
        if self._entry.builds_module:
            return self._entry.function(**self._knobs), shape
        change = self._entry.facts.output_shape
        behind = shape if change is None else change(shape, **self._knobs)
        return Activation(self._entry, self._knobs, self._impl, shape), behind


@dataclass(frozen=True)
class Heads:
    """How raw outputs become what the loss is called with: one head per argument.

    `kinds` are the heads in their order, the prediction first; each takes `width` of the outputs
    along dimension 1. `encoding` is the form of the target; with `log_target` its logarithm.
    `show` says what metrics see of the raw outputs, where that is not the prediction itself.
    """

    kinds: tuple[tuple[str, PredictionKind], ...]
    width: int
    encoding: Encoding
    log_target: bool = False
    show: Callable[[Tensor], Mapping[str, Tensor]] | None = None

    @property
    def outputs(self) -> int:
        """How many outputs the network needs."""
        return self.width * len(self.kinds)

    def split(self, raw: Tensor) -> dict[str, Tensor]:
        """Return each head's share of the raw outputs, through its link."""
        if len(self.kinds) == 1:
            ((name, kind),) = self.kinds
            return {name: self._link(raw, kind)}
        shares = raw.split(self.width, dim=1)
        return {
            name: self._link(share, kind)
            for (name, kind), share in zip(self.kinds, shares, strict=True)
        }

    def _link(self, raw: Tensor, kind: PredictionKind) -> Tensor:
        """Turn raw outputs into log-probabilities, probabilities or positive numbers."""
        exclusive = self.encoding in ("index", "distribution")
        if kind == "log_probabilities":
            return F.log_softmax(raw, dim=1) if exclusive else F.logsigmoid(raw)
        if kind == "probabilities":
            return raw.softmax(dim=1) if exclusive else raw.sigmoid()
        if kind == "positive":
            return F.softplus(raw)
        if kind == "value":
            return raw[:, 0]  # what stands behind it is the point
        return raw  # real, logits, scores


class Objective(Component):
    """The loss with its knobs, its learned parameters and its state."""

    def __init__(
        self, entry: Entry[LossFacts], knobs: Mapping[str, Any], impl: str, outputs: int
    ) -> None:
        super().__init__(entry, knobs, impl)
        facts = entry.facts
        for name, declared in facts.parameters.items():
            shape = declared.shape(outputs, **knobs) if declared.shape else ()
            initial = torch.full(shape, 0.0 if declared.initial else first_value(declared, knobs))
            if declared.initial is not None:
                initial = declared.initial(shape)
            self.register_parameter(name, nn.Parameter(initial))
        for name, made in first_state(entry, knobs, outputs).items():
            self.register_buffer(name, made)
        self._state = tuple(facts.state)

    def forward(self, heads: Mapping[str, Tensor], target: Tensor) -> Terms:
        """Return the loss of a batch before reduction; training also moves the loss's state."""
        inputs = dict(heads)
        prediction = inputs.pop("prediction")
        learned = {k: v for k, v in self._parameters.items() if v is not None}
        state = {name: self._buffers[name] for name in self._state}
        terms: Terms = self.call()(prediction, target, **inputs, **learned, **state)
        if terms.values.dim() == 0 and terms.weight is None:
            # One value for the batch counts for all its samples: pieces of a split then add up.
            samples = float(len(target))
            count = torch.full_like(terms.values, samples).detach()
            terms = Terms(terms.values * samples, count, terms.state)
        if self.training and terms.state is not None:
            for name, value in terms.state.items():
                buffer = self._buffers[name]
                assert buffer is not None
                buffer.copy_(value.detach())
        return terms

    def _make(self) -> Callable[..., Any]:
        if not self._entry.builds_module:
            return loss_function(self._entry, self.knobs(), self._impl)
        # A user's own module: as a submodule, its parameters are trained with the network's.
        self.module = self._entry.function(**self.knobs())
        return lambda prediction, target, **more: as_terms(
            self._entry, self.module(prediction, target, **more)
        )


class Model(nn.Module):
    """What is trained: called with inputs it predicts, called with targets too it also judges."""

    def __init__(self, network: nn.Module, heads: Heads, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.loss = objective
        self.heads = heads

    def forward(self, inputs: Tensor, target: Tensor | None = None) -> Any:
        """Return raw outputs; with a target, (raw outputs, sum of the loss, sum of its weight)."""
        raw = self.network(inputs)
        if target is None:
            return raw
        terms = self.loss(self.heads.split(raw), target)
        return raw, terms.total(), torch.as_tensor(terms.weight_sum())
