"""Convolutions: the same small window of weights at every position."""

from typing import Any, Literal

from lossbench.components.layers._shapes import per_axis, require, slide
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import NonNegativeInt, PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer

Window = PositiveInt | tuple[PositiveInt, ...]
"""A size along every axis, or one for each."""

Padding = NonNegativeInt | tuple[NonNegativeInt, ...] | Literal["same", "valid"]
"""Values put around the input; `same` keeps its size, `valid` puts none."""

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


@layer(dimensions=(2,), kernel="torch.nn.Conv1d", aliases=("lazy_conv1d",))
def conv1d(
    shape: Shape,
    *,
    out_channels: PositiveInt,
    kernel_size: Window = 3,
    stride: Window = 1,
    padding: Padding = 0,
    dilation: Window = 1,
    groups: PositiveInt = 1,
    bias: bool = True,
    padding_mode: PaddingMode = "zeros",
) -> "tuple[nn.Module, Shape]":
    """A window of weights that slides along a sequence.

    Formula:    y[o, t] = b[o] + sum over i, k of w[o, i, k] x[i, stride t + dilation k - padding]
    Shapes:     (channels, L) -> (out_channels,
                floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1)
    Knobs:
        out_channels: the number of windows, hence of channels behind it.
        kernel_size: the length of a window.
        stride: how far the window moves on.
        padding: values put at both ends, or `same` to keep the length.
        dilation: the distance of the values under the window.
        groups: parts into which the channels fall, each with windows of its own.
        bias: whether each channel has a learned offset.
        padding_mode: what is put at the ends.
    Note:       not flipped: what the field calls convolution is a cross-correlation.
    Errors:     a window that does not fit; channels that `groups` does not divide.
    """
    return _convolution("conv1d", shape, out_channels, kernel_size, stride, padding, dilation,
                        groups, bias, padding_mode)  # fmt: skip


@layer(dimensions=(3,), kernel="torch.nn.Conv2d", aliases=("lazy_conv2d",))
def conv2d(
    shape: Shape,
    *,
    out_channels: PositiveInt,
    kernel_size: Window = 3,
    stride: Window = 1,
    padding: Padding = 0,
    dilation: Window = 1,
    groups: PositiveInt = 1,
    bias: bool = True,
    padding_mode: PaddingMode = "zeros",
) -> "tuple[nn.Module, Shape]":
    """A window of weights that slides over an image.

    Formula:    y[o, s, t] = b[o] + sum over i, k, l of
                w[o, i, k, l] x[i, stride s + dilation k - padding, stride t + dilation l - padding]
    Shapes:     (channels, H, W) -> (out_channels, H', W'), with
                H' = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1
    Knobs:
        out_channels: the number of windows, hence of channels behind it.
        kernel_size: the height and width of a window.
        stride: how far the window moves on.
        padding: values put at every border, or `same` to keep the size.
        dilation: the distance of the values under the window.
        groups: parts into which the channels fall, each with windows of its own.
        bias: whether each channel has a learned offset.
        padding_mode: what is put at the borders.
    Note:       not flipped: what the field calls convolution is a cross-correlation.
    Errors:     a window that does not fit; channels that `groups` does not divide.
    Reference:  LeCun et al., Backpropagation Applied to Handwritten Zip Code Recognition, 1989.
    """
    return _convolution("conv2d", shape, out_channels, kernel_size, stride, padding, dilation,
                        groups, bias, padding_mode)  # fmt: skip


@layer(dimensions=(4,), kernel="torch.nn.Conv3d", aliases=("lazy_conv3d",))
def conv3d(
    shape: Shape,
    *,
    out_channels: PositiveInt,
    kernel_size: Window = 3,
    stride: Window = 1,
    padding: Padding = 0,
    dilation: Window = 1,
    groups: PositiveInt = 1,
    bias: bool = True,
    padding_mode: PaddingMode = "zeros",
) -> "tuple[nn.Module, Shape]":
    """A window of weights that slides through a volume.

    Formula:    as conv2d, with a third axis
    Shapes:     (channels, D, H, W) -> (out_channels, D', H', W'), with
                D' = floor((D + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1
    Knobs:
        out_channels: the number of windows, hence of channels behind it.
        kernel_size: the depth, height and width of a window.
        stride: how far the window moves on.
        padding: values put at every border, or `same` to keep the size.
        dilation: the distance of the values under the window.
        groups: parts into which the channels fall, each with windows of its own.
        bias: whether each channel has a learned offset.
        padding_mode: what is put at the borders.
    Errors:     a window that does not fit; channels that `groups` does not divide.
    """
    return _convolution("conv3d", shape, out_channels, kernel_size, stride, padding, dilation,
                        groups, bias, padding_mode)  # fmt: skip


def _convolution(
    name: str,
    shape: Shape,
    out_channels: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    bias: bool,
    padding_mode: str,
) -> "tuple[nn.Module, Shape]":
    """Check the knobs against the shape, and make torch's module for its number of axes."""
    require(name, shape)
    channels, *sizes = shape
    axes = len(sizes)
    kernel = per_axis(name, "kernel_size", kernel_size, axes)
    steps = per_axis(name, "stride", stride, axes)
    spread = per_axis(name, "dilation", dilation, axes)
    _check_groups(name, channels, out_channels, groups)
    if padding == "same":
        if set(steps) != {1}:
            raise UsageError(
                f"{name}: padding 'same' keeps the size, and stride {stride} shrinks it",
                hint="use stride 1, or give the padding as a number",
            )
        behind = tuple(sizes)
        pads = tuple(-(-step * (size - 1) // 2) for step, size in zip(spread, kernel, strict=True))
    else:
        pads = per_axis(name, "padding", 0 if padding == "valid" else padding, axes)
        behind = slide(name, sizes, kernel, steps, pads, spread)
    _check_padding(name, sizes, pads, padding_mode)
    convolution: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    module = convolution(
        channels, out_channels, kernel, steps, padding if isinstance(padding, str) else pads,
        spread, groups, bias, padding_mode,
    )  # fmt: skip
    return module, (out_channels, *behind)


def _check_groups(name: str, channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that do not divide the channels on both sides."""
    for side, count in (("channels that arrive", channels), ("out_channels", out_channels)):
        if count % groups:
            raise UsageError(
                f"{name}: {groups} groups do not divide the {count} {side}",
                hint="groups must divide both the channels that arrive and out_channels",
            )


def _check_padding(name: str, sizes: list[int], pads: tuple[int, ...], mode: str) -> None:
    """Refuse more padding than the values that it is copied from."""
    most = {"reflect": -1, "circular": 0}
    for size, pad in zip(sizes, pads, strict=True):
        if mode in most and pad > size + most[mode]:
            raise UsageError(
                f"{name}: padding_mode '{mode}' cannot put {pad} values beside a size of {size}",
                hint=f"at most {size + most[mode]} here; 'zeros' and 'replicate' know no limit",
            )
