"""What the losses of two players share: who plays, and how the terms of both sides are added."""

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch

PLAYERS = ("discriminator", "generator")
DISCRIMINATOR = PLAYERS[0]


def need(given: Tensor | None, name: str) -> Tensor:
    """Return an input that only some players can do without.

    Raises UsageError where it is missing.
    """
    if given is None:
        raise UsageError(f"this player's loss needs {name}", hint=f"give {name} as well")
    return given


def both(real: Tensor, fake: Tensor) -> Tensor:
    """Return the sum of two terms: value by value, or of their means where they are not as many.

    The mean of the sum is the sum of the means either way.
    """
    return real + fake if real.shape == fake.shape else real.mean() + fake.mean()


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return values [N] shaped so that each one stands beside its sample of another tensor."""
    return values.reshape(values.shape + (1,) * (like.dim() - 1))


def certain(scores: Tensor) -> Tensor:
    """Return -ln sigmoid(score): what it costs to take for real what has this score."""
    return torch.nn.functional.softplus(-scores)
