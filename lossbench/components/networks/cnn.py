"""Networks of convolutions."""

from typing import Annotated, Literal

from annotated_types import MinLen

from lossbench.components.modules import MakeActivation, Shape
from lossbench.components.networks._parts import Initialization, Row, initialize
from lossbench.components.vocabulary import Decay, Positive, PositiveInt, is_off
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer, network


def check_kernel(*, kernel_size: int, **_: object) -> None:
    """Refuse a window without a middle."""
    if kernel_size % 2 == 0:
        raise UsageError(
            f"cnn2d: kernel_size {kernel_size} is even, so that a window has no middle",
            hint=f"use {kernel_size - 1} or {kernel_size + 1}; the network 'layers' takes any",
        )


@network(inputs="image", check=check_kernel)
def cnn2d(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,
    *,
    channels: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (16, 32),
    kernel_size: PositiveInt = 3,
    pool: Literal["max", "avg", "none"] = "max",
    norm: Literal["none", "batch", "group"] = "none",
    hidden: tuple[PositiveInt, ...] = (),
    dropout: Decay = 0.0,
    init: Initialization = "default",
    gain: Positive | None = None,
) -> "nn.Module":
    """Blocks of convolution, activation and pooling, then linear layers: a small image classifier.

    Formula:    x -> pool(activation(norm(conv(x)))), once per number of channels; flattened; then
                as mlp
    Shapes:     (channels, height, width) -> (outputs,)
    Knobs:
        channels: the channels behind the convolution of each block.
        kernel_size: the height and width of the windows, odd; the image keeps its size.
        pool: what halves the image at the end of each block: the largest of 2 x 2 values, their
            mean, or nothing.
        norm: what stands in front of each activation of a block: nothing, batch_norm, or group_norm
            with one group (a sample by itself).
        hidden: the widths of the linear layers between the blocks and the output.
        dropout: the share of the values set to 0 in front of each linear layer.
        init: how the weights are drawn; other than by default, biases start at 0.
        gain: the factor of the weights' deviation; by default sqrt(2) for kaiming, 1 for the rest.
    Errors:     inputs that are no images; an image too small for so many blocks that halve it.
    Reference:  LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document
                Recognition, 1998.
    """
    check_kernel(kernel_size=kernel_size)
    check_image(inputs, len(channels), halving=pool != "none")
    row = Row(inputs)
    for number, width in enumerate(channels, start=1):
        made = layer["conv2d"].function(
            row.shape, out_channels=width, kernel_size=kernel_size, padding=kernel_size // 2
        )
        row.add(f"conv{number}", made)
        if norm == "batch":
            row.add(f"norm{number}", layer["batch_norm"].function(row.shape))
        elif norm == "group":
            row.add(f"norm{number}", layer["group_norm"].function(row.shape, num_groups=1))
        row.add(f"activation{number}", activation(row.shape))
        if pool != "none":
            row.add(f"pool{number}", layer[f"{pool}_pool"].function(row.shape))
    row.flatten()
    for number, width in enumerate(hidden, start=len(channels) + 1):
        if not is_off(dropout):
            row.add(f"dropout{number}", layer["dropout"].function(row.shape, p=dropout))
        row.add(f"linear{number}", layer["linear"].function(row.shape, out_features=width))
        row.add(f"activation{number}", activation(row.shape))
    if not is_off(dropout):
        row.add("dropout", layer["dropout"].function(row.shape, p=dropout))
    return initialize(row.finish(outputs), init, gain)


def check_image(inputs: Shape, blocks: int, *, halving: bool) -> None:
    """Refuse what is no image, and an image that so many blocks would halve to nothing."""
    if len(inputs) != 3:
        raise UsageError(
            f"cnn2d takes images (channels, height, width), and a sample has shape {tuple(inputs)}",
            hint="a convolution needs positions that lie beside each other: use a data set of "
            "images, or the network 'mlp'",
        )
    _, height, width = inputs
    most = min(height, width).bit_length() - 1
    if halving and blocks > most:
        raise UsageError(
            f"cnn2d: {blocks} blocks halve an image of {height} x {width} to nothing",
            hint=f"give at most {most} channels, or pool: none",
        )
