"""What the program asks of a network that has been built, whatever it is made of.

Which of its parameters are weights, which may not leave an interval, which of its layers draw
noise, which look at a whole batch: answered from the modules alone, so that a user's own network is
treated as a built-in one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from lossbench.components.vocabulary import NOISE_KEY
from lossbench.lazy import nn

Shape = tuple[int, ...]
"""The shape of one sample: a shape without the batch dimension."""


class MakeActivation(Protocol):
    """Makes activations for the places of a network; the builder hands one to every network."""

    def __call__(
        self,
        shape: Shape,
        name: str | None = None,
        knobs: Mapping[str, Any] = MappingProxyType({}),
    ) -> "tuple[nn.Module, Shape]":
        """Return a fresh activation, with parameters of its own, and the shape behind it.

        Without a name it is the activation that the config chose for the network; with one, the
        activation of that registered name with these knobs.
        """
        ...


WEIGHT_DECAY = "weight_decay"
"""A module whose attribute of this name is False keeps weight decay off all its parameters."""


def decayed(module: "nn.Module") -> set[str]:
    """Return the names of the parameters that weight decay acts on: those that are weights.

    A weight has two dimensions or more: the matrix of a linear layer, the kernel of a convolution.
    Biases, the scales of norms and learned slopes are none, nor is anything below a module that
    says `weight_decay = False`.
    """
    # These scale every element of a sample, so their scale is no vector where the sample is none.
    norms = (nn.LayerNorm, nn.RMSNorm)
    names: set[str] = set()

    def visit(owner: "nn.Module", prefix: str) -> None:
        if isinstance(owner, norms) or getattr(owner, WEIGHT_DECAY, True) is False:
            return
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.ndim >= 2:
                names.add(prefix + name)
        for name, child in owner.named_children():
            visit(child, f"{prefix}{name}.")

    visit(module, "")
    return names


KEEP_WITHIN = "keep_within"
"""A module whose attribute of this name is (low, high) has its own parameters clipped to that
interval after every step."""


def intervals(module: "nn.Module") -> dict[str, tuple[float, float]]:
    """Return the names of the parameters that have to stay within an interval, with it."""
    return {
        f"{path}.{name}".lstrip("."): getattr(part, KEEP_WITHIN)
        for path, part in module.named_modules()
        if hasattr(part, KEEP_WITHIN)
        for name, _ in part.named_parameters(recurse=False)
    }


def number_places(module: "nn.Module") -> int:
    """Give each layer with noise of its own its number in the network, and return how many.

    The number (`place`) enters the noise, so that two layers never draw the same.
    """
    places = [
        part for part in module.modules() if NOISE_KEY in dict(part.named_buffers(recurse=False))
    ]
    for place, part in enumerate(places):
        part.place = place  # type: ignore[assignment]  # a plain number, not a submodule
    return len(places)


def noise_buffers(module: "nn.Module") -> list[str]:
    """Return the full names of the buffers that the training step fills with (seed, step)."""
    return [name for name, _ in module.named_buffers() if name.rpartition(".")[2] == NOISE_KEY]


def batch_statistics(module: "nn.Module") -> list[str]:
    """Return the names of the layers whose result for a sample depends on the rest of the batch.

    Accumulating the gradients of small batches is then not the same as one large batch.
    """
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
