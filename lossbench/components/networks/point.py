"""No network: the point that a problem brings."""

from lossbench.components.modules import MakeActivation, Shape
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import network


@network(brought=True)
def point(
    inputs: Shape,  # noqa: ARG001 - the contract passes them
    outputs: int | Shape,  # noqa: ARG001
    activation: MakeActivation,  # noqa: ARG001
) -> "nn.Module":
    """The point itself: what is trained where a function is minimised and nothing is learned.

    Formula:    theta -> (f(theta), theta)
    Shapes:     whatever the samples are -> (1 + d,)
    Note:       the data set brings it (surface, quadratic, ...) and is trained with no other; it
                has no place for an activation.
    Errors:     with any other data set.
    """
    raise UsageError(
        "network 'point' stands for the point of a problem, and this data set brings none",
        hint="it goes with problems such as surface and quadratic; others have mlp",
    )
