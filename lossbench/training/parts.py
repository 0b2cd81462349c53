"""The pieces of a run: network, activation, loss and optimizer, and how they meet."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lossbench.components.declarations import ActivationFacts, LossFacts
from lossbench.components.modules import decayed, number_places
from lossbench.components.vocabulary import Target
from lossbench.config.spec import OptimizerOptions, RunSpec
from lossbench.errors import UsageError
from lossbench.plugins import resolve
from lossbench.registry import Entry
from lossbench.training.applied import applied
from lossbench.training.encode import choose_heads
from lossbench.training.groups import with_tensors
from lossbench.training.model import ActivationMaker, Heads, Model, Objective, Shape
from lossbench.training.update import Optimizer


class Parts:
    """The pieces of a run: what its network, loss and data are, and how they meet."""

    def __init__(
        self,
        spec: RunSpec,
        target: Target,
        inputs: Shape,
        brought: Callable[[], nn.Module] | None = None,
    ) -> None:
        """Take a run and what its data are; `brought` makes what the data bring to be trained."""
        self.spec = spec
        self.brought = brought
        self.target = target
        self.inputs = inputs
        self.loss: Entry[LossFacts] = resolve(spec.loss)
        self.activation: Entry[ActivationFacts] = resolve(spec.activation)
        self.heads: Heads = choose_heads(self.loss, dict(spec.loss.knobs), target)

    def of(self, spec: RunSpec) -> "Parts":
        """Return the pieces of another run of the group, whose `float` knobs may be others."""
        return self if spec is self.spec else Parts(spec, self.target, self.inputs, self.brought)

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
        if self.brought is not None:
            if not entry.facts.brought:
                raise UsageError(
                    f"network '{entry.name}' cannot be trained on dataset '{spec.dataset.name}', "
                    "which brings the point that is to be trained",
                    hint="leave the network out, or write network: point",
                )
            return self.brought()
        maker = ActivationMaker(self.activation, spec.activation.knobs, spec.activation.impl)
        network: nn.Module = entry.function(
            self.inputs, self.heads.outputs, maker, **spec.network.knobs
        )
        return network

    def models(self, specs: Sequence[RunSpec]) -> Callable[[int], Model]:
        """Return the function that makes each trial's model: its seed, and its own knobs."""
        own = with_tensors(specs)
        if own[0] is specs[0]:  # they share their knobs, which need not be those of the survey
            shared = self.of(specs[0])
            return lambda trial: shared.model(specs[trial].train.seed)
        return lambda trial: self.of(own[trial]).model(specs[trial].train.seed)

    def optimizers(self, specs: Sequence[RunSpec]) -> list[Optimizer]:
        """Return each trial's optimizer, with what weight decay acts on."""
        model = self.model(self.spec.train.seed)
        names = {
            "all": frozenset(dict(model.named_parameters())),
            "weights": frozenset(decayed(model)),
        }
        made = []
        for spec in specs:
            options = spec.optimizer.options
            on = options.weight_decay_on if isinstance(options, OptimizerOptions) else "weights"
            made.append(Optimizer(applied(spec.optimizer), names[on], repr(spec.schedule)))
        return made
