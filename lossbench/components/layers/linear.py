"""Layers that mix all features of a vector, and the one that makes a vector of anything."""

import math

from lossbench.components.layers._shapes import require
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer


@layer(
    dimensions=(1,), kernel="torch.nn.Linear", aliases=("dense", "fully_connected", "lazy_linear")
)
def linear(
    shape: Shape, *, out_features: PositiveInt, bias: bool = True
) -> "tuple[nn.Module, Shape]":
    """Weighted sums of all features of a vector: one for each feature behind it.

    Formula:    x A^T + b
    Derivative: A
    Shapes:     (in,) -> (out_features,)
    Knobs:
        out_features: the number of features behind it.
        bias: whether b is learned; there is none otherwise.
    Errors:     an image or a sequence is refused: put `flatten` in front.
    """
    require("linear", shape)
    return nn.Linear(shape[0], out_features, bias=bias), (out_features,)


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.Flatten")
def flatten(
    shape: Shape, *, start_dim: PositiveInt = 1, end_dim: int = -1
) -> "tuple[nn.Module, Shape]":
    """One dimension in place of several: a vector of each sample, unless told otherwise.

    Formula:    y[.., i * width + j] = x[.., i, j]
    Shapes:     (d1, d2, ..., dk) -> (d1 * d2 * ... * dk,)
    Knobs:
        start_dim: the first dimension that is merged; the batch, which is 0, stays as it is.
        end_dim: the last one, counted from the end where negative.
    """
    require("flatten", shape)
    first = start_dim - 1
    last = end_dim - 1 if end_dim > 0 else end_dim + len(shape)
    if not first <= last < len(shape):
        raise UsageError(
            f"flatten: dimensions {start_dim} to {end_dim} are none of the shape {tuple(shape)}",
            hint=f"0 is the batch, 1 to {len(shape)} are the sample's; -1 is the last one",
        )
    merged = math.prod(shape[first : last + 1])
    return nn.Flatten(start_dim, end_dim), (*shape[:first], merged, *shape[last + 1 :])
