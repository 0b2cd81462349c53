"""Layers that bring their input to a standard size, so that deeper layers see steady numbers."""

import math
from typing import Any

from lossbench.components.layers._shapes import require
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import NonNegative, Positive, PositiveInt, Probability
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer


@layer(
    dimensions=(1, 2, 3, 4),
    kernel="torch.nn.BatchNorm1d",
    aliases=(
        *(f"batch_norm{axes}d" for axes in (1, 2, 3)),
        *(f"lazy_batch_norm{axes}d" for axes in (1, 2, 3)),
        "sync_batch_norm",  # in one process it is the same
    ),
    batch_statistics=True,
)
def batch_norm(
    shape: Shape,
    *,
    eps: Positive = 1e-5,
    momentum: Probability = 0.1,
    affine: bool = True,
    track_running_stats: bool = True,
) -> "tuple[nn.Module, Shape]":
    """Standardises each feature over the batch; evaluation uses the averages of training.

    Formula:    (x - mean) / sqrt(variance + eps) * g + b, with the mean and the (biased) variance
                of a feature, or of a channel, over all samples and positions of the batch
    Shapes:     (features,), (channels, L), (channels, H, W) or (channels, D, H, W), unchanged
    Knobs:
        eps: keeps the root away from 0.
        momentum: the weight of the newest batch in the running averages.
        affine: whether g and b are learned.
        track_running_stats: keep running averages for evaluation; without, evaluation uses the
            batch at hand.
    Note:       torch's SyncBatchNorm is the same in one process, and a run is one. The running
                variance is the unbiased one. A batch of one vector has no variance and
                is refused by torch in training.
    Reference:  Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by
                Reducing Internal Covariate Shift, 2015.
    """
    require("batch_norm", shape)
    classes = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
    module: Any = classes[len(shape)]
    return module(shape[0], eps, momentum, affine, track_running_stats), shape


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.LayerNorm")
def layer_norm(
    shape: Shape, *, eps: Positive = 1e-5, elementwise_affine: bool = True, bias: bool = True
) -> "tuple[nn.Module, Shape]":
    """Standardises each sample over all its features, whatever the rest of the batch is.

    Formula:    (x - mean) / sqrt(variance + eps) * g + b, with the mean and the (biased) variance
                of one sample
    Shapes:     any, unchanged; g and b have the shape of a sample
    Knobs:
        eps: keeps the root away from 0.
        elementwise_affine: whether g and b are learned.
        bias: whether b is.
    Reference:  Ba, Kiros and Hinton, Layer Normalization, 2016.
    """
    require("layer_norm", shape)
    return nn.LayerNorm(shape, eps, elementwise_affine, bias), shape


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.RMSNorm")
def rms_norm(
    shape: Shape, *, eps: Positive | None = None, elementwise_affine: bool = True
) -> "tuple[nn.Module, Shape]":
    """Scales each sample to a root mean square of 1, and leaves its mean where it is.

    Formula:    x / sqrt(mean(x^2) + eps) * g, with the mean over one sample
    Shapes:     any, unchanged; g has the shape of a sample
    Knobs:
        eps: keeps the root away from 0; the smallest relative step of the number type if not given.
        elementwise_affine: whether g is learned.
    Reference:  Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    require("rms_norm", shape)
    return nn.RMSNorm(shape, eps, elementwise_affine), shape


@layer(dimensions=(1, 2, 3, 4), kernel="torch.nn.GroupNorm")
def group_norm(
    shape: Shape, *, num_groups: PositiveInt, eps: Positive = 1e-5, affine: bool = True
) -> "tuple[nn.Module, Shape]":
    """Standardises groups of channels, each sample by itself.

    Formula:    (x - mean) / sqrt(variance + eps) * g + b, with the mean and the (biased) variance
                of one group of one sample
    Shapes:     (channels, ...), unchanged
    Knobs:
        num_groups: the number of groups, a divisor of the channels.
        eps: keeps the root away from 0.
        affine: whether g and b, one of each per channel, are learned.
    Errors:     groups that do not divide the channels; groups of a single value.
    Reference:  Wu and He, Group Normalization, 2018.
    """
    require("group_norm", shape)
    channels = shape[0]
    if channels % num_groups:
        divisors = [str(count) for count in range(1, channels + 1) if channels % count == 0]
        raise UsageError(
            f"group_norm: {num_groups} groups do not divide the {channels} channels that arrive",
            hint=f"{channels} is divided by {', '.join(divisors)}",
        )
    if math.prod(shape) == num_groups:
        raise UsageError(
            f"group_norm: {num_groups} groups leave one value each of the shape {tuple(shape)}",
            hint="a single value minus its mean is 0: use fewer groups",
        )
    return nn.GroupNorm(num_groups, channels, eps, affine), shape


@layer(
    dimensions=(2, 3, 4),
    kernel="torch.nn.InstanceNorm2d",
    aliases=(
        *(f"instance_norm{axes}d" for axes in (1, 2, 3)),
        *(f"lazy_instance_norm{axes}d" for axes in (1, 2, 3)),
    ),
)
def instance_norm(
    shape: Shape, *, eps: Positive = 1e-5, affine: bool = False
) -> "tuple[nn.Module, Shape]":
    """Standardises each channel of each sample over its positions.

    Formula:    (x - mean) / sqrt(variance + eps) * g + b, with the mean and the (biased) variance
                of one channel of one sample
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W), unchanged
    Knobs:
        eps: keeps the root away from 0.
        affine: whether g and b are learned.
    Errors:     channels of a single value.
    Reference:  Ulyanov, Vedaldi and Lempitsky, Instance Normalization: The Missing Ingredient for
                Fast Stylization, 2016.
    """
    require("instance_norm", shape)
    if math.prod(shape[1:]) == 1:
        raise UsageError(
            f"instance_norm: each channel of the shape {tuple(shape)} holds a single value",
            hint="a single value minus its mean is 0: put it in front of the pooling",
        )
    classes = {2: nn.InstanceNorm1d, 3: nn.InstanceNorm2d, 4: nn.InstanceNorm3d}
    module: Any = classes[len(shape)]
    return module(shape[0], eps=eps, affine=affine), shape


@layer(dimensions=(2, 3, 4), kernel="torch.nn.LocalResponseNorm")
def local_response_norm(
    shape: Shape,
    *,
    size: PositiveInt,
    alpha: NonNegative = 1e-4,
    beta: NonNegative = 0.75,
    k: Positive = 1.0,
) -> "tuple[nn.Module, Shape]":
    """Divides each value by the size of its neighbours in the channels beside it.

    Formula:    x[c] / (k + alpha / size * sum of x[c']^2 over the `size` channels around c)^beta
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W), unchanged
    Knobs:
        size: the number of neighbouring channels.
        alpha: how strongly they inhibit.
        beta: the exponent.
        k: keeps the divisor away from 0.
    Reference:  Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional
                Neural Networks, 2012.
    """
    require("local_response_norm", shape)
    return nn.LocalResponseNorm(size, alpha, beta, k), shape
