"""What the networks share: the last layer, the first weights, and named modules in a row."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from lossbench.components.modules import Shape, decayed
from lossbench.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor

Initialization = Literal[
    "default",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
]
"""How weights are drawn: as torch does by itself, or by one of the field's schemes."""


class Row:
    """Modules one behind the other, each under a name, and the shape behind the last."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._modules: dict[str, nn.Module] = {}

    def add(self, name: str, made: "tuple[nn.Module, Shape]") -> None:
        """Put a module and the shape behind it at the end."""
        self._modules[name], self.shape = made

    def flatten(self) -> None:
        """Make a vector of each sample, unless it is one."""
        if len(self.shape) != 1:
            self.add("flatten", (nn.Flatten(), (math.prod(self.shape),)))

    def finish(self, outputs: int | Shape, *, bias: bool = True) -> "nn.Sequential":
        """Add the output layer, and return the network."""
        wanted = (outputs,) if isinstance(outputs, int) else tuple(outputs)
        self.flatten()
        count = math.prod(wanted)
        self.add("output", (nn.Linear(self.shape[0], count, bias=bias), (count,)))
        if len(wanted) != 1:
            self.add("unflatten", (nn.Unflatten(1, wanted), wanted))
        return self.sequential()

    def sequential(self) -> "nn.Sequential":
        """Return the modules as they stand, without an output layer."""
        network = nn.Sequential()
        for name, module in self._modules.items():
            network.add_module(name, module)
        return network


def initialize(
    network: "nn.Module", scheme: Initialization, gain: float | None = None
) -> "nn.Module":
    """Draw the weights by the scheme, in the order of the layers, and set their biases to 0.

    `default` changes nothing. Without a gain, Kaiming's schemes take the root of 2, which suits
    ReLU, the others 1.
    """
    if scheme == "default":
        return network
    weights = decayed(network)
    parameters = dict(network.named_parameters())
    for name, parameter in parameters.items():
        if name in weights:
            draw(parameter, scheme, gain)
            bias = parameters.get(f"{name.rpartition('.')[0]}.bias")
            if bias is not None:
                nn.init.zeros_(bias)
    return network


def draw(weight: "Tensor", scheme: Initialization, gain: float | None = None) -> None:
    """Fill one weight.

    With the number of inputs and outputs of a unit, for the default gains: Xavier has variance
    2 / (in + out) (Glorot and Bengio 2010), Kaiming 2 / in (He et al. 2015); orthogonal makes rows
    or columns orthonormal (Saxe et al. 2013).
    """
    factor = _DEFAULT_GAINS.get(scheme, 1.0) if gain is None else float(gain)
    if scheme in ("kaiming_uniform", "kaiming_normal"):
        # torch's own takes the name of an activation in place of a gain: the formula is short.
        deviation = factor / math.sqrt(weight[0].numel())
        with torch.no_grad():
            if scheme == "kaiming_normal":
                weight.normal_(0, deviation)
            else:
                weight.uniform_(-math.sqrt(3) * deviation, math.sqrt(3) * deviation)
        return
    schemes: dict[str, Callable[..., Tensor]] = {
        "xavier_uniform": nn.init.xavier_uniform_,
        "xavier_normal": nn.init.xavier_normal_,
        "orthogonal": nn.init.orthogonal_,
    }
    schemes[scheme](weight, gain=factor)


_DEFAULT_GAINS = {"kaiming_uniform": math.sqrt(2), "kaiming_normal": math.sqrt(2)}
