"""Activations that look at more than their own input: layers, since they hold weights and norms."""

from typing import Annotated

from annotated_types import Ge

from lossbench.components.layers._shapes import require
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import NonNegative, PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import LazyModule, nn
from lossbench.registry import layer

_adaptive = LazyModule("lossbench.components.layers._adaptive")


@layer(dimensions=(3,), batch_statistics=True, aliases=("funnel_relu",))
def frelu(shape: Shape, *, kernel_size: PositiveInt = 3) -> "tuple[nn.Module, Shape]":
    """ReLU whose threshold is not 0 but what a small window around the place says.

    Formula:    max(x, norm(conv(x))), the convolution within each channel, without bias
    Shapes:     (channels, H, W), unchanged
    Knobs:
        kernel_size: the height and width of the window, odd.
    Errors:     an even window.
    Reference:  Ma, Zhang & Sun, Funnel Activation for Visual Recognition, 2020.
    """
    require("frelu", shape)
    if kernel_size % 2 == 0:
        raise UsageError(
            f"frelu: a window of {kernel_size} has no middle",
            hint=f"use {kernel_size - 1} or {kernel_size + 1}",
        )
    return _adaptive.FunnelReLU(shape[0], kernel_size), shape


@layer(dimensions=(3,), aliases=("dy_relu",))
def dynamic_relu(
    shape: Shape,
    *,
    k: Annotated[int, Ge(2)] = 2,
    reduction: PositiveInt = 4,
    lambda_a: NonNegative = 1.0,
    lambda_b: NonNegative = 0.5,
) -> "tuple[nn.Module, Shape]":
    """The largest of k lines, whose slopes and offsets depend on the whole image.

    Formula:    max over i of a_i x + b_i for each channel, with a_i = [i = 1] + lambda_a r_i and
                b_i = lambda_b r_(k + i); r = 2 sigmoid(W2 relu(W1 m + c1) + c2) - 1 for the means m
                of the channels
    Shapes:     (channels, H, W), unchanged
    Knobs:
        k: the number of lines.
        reduction: by how much the hidden layer is narrower than the channels.
        lambda_a: how far the slopes may move from 1, 0, ..., 0.
        lambda_b: how far the offsets may move from 0.
    Note:       the variant B of the paper: every channel has lines of its own, everywhere the same.
    Reference:  Chen, Dai, Liu, Chen, Yuan & Liu, Dynamic ReLU, 2020.
    """
    require("dynamic_relu", shape)
    return _adaptive.DynamicReLU(shape[0], k, reduction, lambda_a, lambda_b), shape


@layer(dimensions=(3,))
def meta_acon(shape: Shape, *, reduction: PositiveInt = 16) -> "tuple[nn.Module, Shape]":
    """ACON that decides from the whole image, for each channel, whether to activate.

    Formula:    d x sigmoid(beta d x) + p2 x, with d = p1 - p2 and
                beta = sigmoid(W2 (W1 m + c1) + c2) for the means m of the channels
    Shapes:     (channels, H, W), unchanged
    Knobs:
        reduction: by how much the hidden layer is narrower; it is never narrower than this number.
    Note:       p1 and p2 start at standard normal numbers. The authors' later code adds batch norms
                behind W1 and W2; this is the formula of the paper.
    Reference:  Ma, Zhang, Liu & Sun, Activate or Not: Learning Customized Activation, 2021.
    """
    require("meta_acon", shape)
    return _adaptive.MetaAcon(shape[0], reduction), shape
