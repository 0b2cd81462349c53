"""Layers that shrink: one number in place of a window, or of a whole channel."""

from typing import Any

from lossbench.components.layers._shapes import per_axis, require, slide
from lossbench.components.modules import Shape
from lossbench.components.vocabulary import NonNegativeInt, PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer

Window = PositiveInt | tuple[PositiveInt, ...]
"""A size along every axis, or one for each."""

Padding = NonNegativeInt | tuple[NonNegativeInt, ...]


@layer(
    dimensions=(2, 3, 4),
    kernel="torch.nn.MaxPool2d",
    aliases=("max_pool1d", "max_pool2d", "max_pool3d"),
)
def max_pool(
    shape: Shape,
    *,
    kernel_size: Window = 2,
    stride: Window | None = None,
    padding: Padding = 0,
    dilation: Window = 1,
    ceil_mode: bool = False,
) -> "tuple[nn.Module, Shape]":
    """The largest value of each window.

    Formula:    y[t] = max over k of x[stride t + dilation k - padding]
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W); each L becomes
                floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1
    Knobs:
        kernel_size: the size of a window.
        stride: how far it moves on; its own size if not given.
        padding: places put at every border, which never win.
        dilation: the distance of the values under the window.
        ceil_mode: let the last window reach over the end, rounding up.
    Errors:     a window larger than what arrives; padding above half of the window.
    """
    require("max_pool", shape)
    kernel, steps, pads, spread, behind = _windows(
        "max_pool", shape, kernel_size, stride, padding, dilation, ceil_mode
    )
    module: Any = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[len(kernel)]
    return module(kernel, steps, pads, spread, ceil_mode=ceil_mode), (shape[0], *behind)


@layer(
    dimensions=(2, 3, 4),
    kernel="torch.nn.AvgPool2d",
    aliases=("avg_pool1d", "avg_pool2d", "avg_pool3d"),
)
def avg_pool(
    shape: Shape,
    *,
    kernel_size: Window = 2,
    stride: Window | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> "tuple[nn.Module, Shape]":
    """The mean of each window.

    Formula:    y[t] = mean over k of x[stride t + k - padding]
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W); each L becomes
                floor((L + 2 padding - kernel_size) / stride) + 1
    Knobs:
        kernel_size: the size of a window.
        stride: how far it moves on; its own size if not given.
        padding: zeros put at every border.
        ceil_mode: let the last window reach over the end, rounding up.
        count_include_pad: whether those zeros count in the mean.
    Errors:     a window larger than what arrives; padding above half of the window.
    """
    require("avg_pool", shape)
    kernel, steps, pads, _, behind = _windows(
        "avg_pool", shape, kernel_size, stride, padding, 1, ceil_mode
    )
    module: Any = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}[len(kernel)]
    return module(kernel, steps, pads, ceil_mode, count_include_pad), (shape[0], *behind)


@layer(
    dimensions=(2, 3, 4),
    kernel="torch.nn.AdaptiveAvgPool2d",
    aliases=("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
)
def adaptive_avg_pool(shape: Shape, *, output_size: Window) -> "tuple[nn.Module, Shape]":
    """Means over windows that are chosen so that the wanted size comes out.

    Formula:    y[t] = mean of x[floor(t L / M)], ..., x[ceil((t + 1) L / M) - 1],
                with L values in and M out
    Shapes:     (channels, L), (channels, H, W) or (channels, D, H, W) -> (channels, output_size...)
    Knobs:
        output_size: the size behind it, one for all axes or one for each.
    """
    require("adaptive_avg_pool", shape)
    sizes = per_axis("adaptive_avg_pool", "output_size", output_size, len(shape) - 1)
    return _adaptive(sizes), (shape[0], *sizes)


@layer(dimensions=(2, 3, 4))
def global_avg_pool(shape: Shape) -> "tuple[nn.Module, Shape]":
    """The mean of each channel: a vector with one number per channel, whatever the size was.

    Formula:    y[c] = mean over all positions of x[c]
    Shapes:     (channels, ...) -> (channels,)
    Reference:  Lin, Chen and Yan, Network In Network, 2013.
    """
    require("global_avg_pool", shape)
    pool = _adaptive((1,) * (len(shape) - 1))
    return nn.Sequential(pool, nn.Flatten()), (shape[0],)


def _adaptive(sizes: tuple[int, ...]) -> "nn.Module":
    """Make torch's module for this number of axes."""
    classes = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
    module: Any = classes[len(sizes)]
    return module(sizes)


def _windows(
    name: str,
    shape: Shape,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """Return kernel, stride, padding, dilation, and the sizes behind them, for each axis."""
    axes = len(shape) - 1
    kernel = per_axis(name, "kernel_size", kernel_size, axes)
    steps = kernel if stride is None else per_axis(name, "stride", stride, axes)
    pads = per_axis(name, "padding", padding, axes)
    spread = per_axis(name, "dilation", dilation, axes)
    for pad, size in zip(pads, kernel, strict=True):
        if pad > size // 2:
            raise UsageError(
                f"{name}: a padding of {pad} is more than half of the kernel_size {size}",
                hint=f"at most {size // 2}: a window must touch something that is not padding",
            )
    behind = slide(name, shape[1:], kernel, steps, pads, spread, round_up=ceil_mode)
    return kernel, steps, pads, spread, behind
