"""The loss of a problem that has no targets."""

from lossbench.lazy import Tensor
from lossbench.registry import loss


@loss(target="objective", prediction="value")
def value(prediction: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001 - the contract passes it
    """The value of the function itself: for problems that have a minimum and no targets.

    Formula:    f(x)
    Derivative: 1
    Shapes:     prediction [N], target [N, m, d] -> [N]
    Range:      (-inf, inf)
    Note:       where the minimum lies is known, but only the metrics are told.
    Reference:  Cauchy, Methode generale pour la resolution des systemes d'equations simultanees,
                1847.
    """
    return prediction
