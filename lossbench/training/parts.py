"""The pieces of a run: network, activation, loss and optimizer, and how they meet."""

import torch
from torch import nn

from lossbench.components.declarations import ActivationFacts, LossFacts
from lossbench.components.modules import decayed, number_places
from lossbench.components.vocabulary import Target
from lossbench.config.spec import OptimizerOptions, RunSpec
from lossbench.plugins import resolve
from lossbench.registry import Entry
from lossbench.training.applied import applied
from lossbench.training.encode import choose_heads
from lossbench.training.model import ActivationMaker, Heads, Model, Objective, Shape
from lossbench.training.update import Optimizer


class Parts:
    """The pieces of a run: what its network, loss and data are, and how they meet."""

    def __init__(self, spec: RunSpec, target: Target, inputs: Shape) -> None:
        self.spec = spec
        self.target = target
        self.inputs = inputs
        self.loss: Entry[LossFacts] = resolve(spec.loss)
        self.activation: Entry[ActivationFacts] = resolve(spec.activation)
        self.heads: Heads = choose_heads(self.loss, dict(spec.loss.knobs), target)

    def model(self, seed: int) -> Model:
        """Make the model with the weights of this seed, on the host.

        The caller's random state is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = self._network()
            objective = Objective(
                self.loss, self.spec.loss.knobs, self.spec.loss.impl, self.heads.outputs
            )
        model = Model(network, self.heads, objective)
        number_places(model)
        return model

    def _network(self) -> nn.Module:
        spec = self.spec
        entry = resolve(spec.network)
        maker = ActivationMaker(self.activation, spec.activation.knobs, spec.activation.impl)
        network: nn.Module = entry.function(
            self.inputs, self.heads.outputs, maker, **spec.network.knobs
        )
        return network

    def optimizer(self, spec: RunSpec) -> Optimizer:
        """Return a trial's optimizer, with what weight decay acts on."""
        options = spec.optimizer.options
        on_all = isinstance(options, OptimizerOptions) and options.weight_decay_on == "all"
        model = self.model(spec.train.seed)
        names = dict(model.named_parameters()) if on_all else decayed(model)
        return Optimizer(applied(spec.optimizer), frozenset(names))
