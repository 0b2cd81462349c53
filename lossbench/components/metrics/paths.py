"""Where a point stands: for problems whose minimum is known.

The prediction is the point, the same for every sample: [N, d]. The target holds the points of the
minimum: [N, m, d].
"""

from lossbench.components.metrics._shared import double
from lossbench.lazy import Tensor, torch
from lossbench.registry import metric


@metric(target=("objective",), prediction="point", lower_is_better=True, vmaps=True)
def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """How far the point is from the minimum, the nearest where there are several.

    Formula: min over the minima m of ||x - m||
    Shapes:  prediction [N, d], target [N, m, d] -> one number
    Range:   [0, inf), 0 is the minimum
    """
    away = double(prediction)[:, None] - double(target)
    return torch.linalg.vector_norm(away, dim=2).amin(dim=1).mean()


@metric(target=("objective",), prediction="point", lower_is_better=None, vmaps=True)
def first_coordinate(prediction: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
    """The point's first coordinate: half of what a path is drawn from.

    Formula: x_1
    Shapes:  prediction [N, d], target [N, m, d] -> one number
    Range:   (-inf, inf)
    Note:    no value is better than another.
    """
    return double(prediction)[:, 0].mean()


@metric(target=("objective",), prediction="point", lower_is_better=None, least_size=2, vmaps=True)
def second_coordinate(prediction: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
    """The point's second coordinate: the other half of what a path is drawn from.

    Formula: x_2
    Shapes:  prediction [N, d], target [N, m, d] -> one number
    Range:   (-inf, inf)
    Note:    no value is better than another.
    """
    return double(prediction)[:, 1].mean()
