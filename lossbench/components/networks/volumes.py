"""Networks of convolutions through volumes."""

from typing import Annotated, Literal

from annotated_types import MinLen

from lossbench.components.modules import MakeActivation, Shape
from lossbench.components.networks._parts import Initialization, Row, initialize
from lossbench.components.vocabulary import Decay, Positive, PositiveInt, is_off
from lossbench.errors import UsageError
from lossbench.lazy import nn
from lossbench.registry import layer, network


@network(inputs="volume")
def cnn3d(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,
    *,
    channels: Annotated[tuple[PositiveInt, ...], MinLen(1)] = (8, 16),
    norm: Literal["none", "batch", "group"] = "batch",
    dropout: Decay = 0.0,
    init: Initialization = "default",
    gain: Positive | None = None,
) -> "nn.Module":
    """Blocks of 3 x 3 x 3 convolution, activation and pooling, then one linear layer.

    Formula:    x -> dropout3d(pool(activation(norm(conv(x))))), once per number of channels;
                flattened; then A x + b
    Shapes:     (channels, depth, height, width) -> (outputs,)
    Knobs:
        channels: the channels behind the convolution of each block, which halves the volume.
        norm: what stands in front of each activation: nothing, batch_norm, or group_norm with one
            group (a sample by itself).
        dropout: the share of whole channels set to 0 behind each block.
        init: how the weights are drawn; other than by default, biases start at 0.
        gain: the factor of the weights' deviation; by default sqrt(2) for kaiming, 1 for the rest.
    Errors:     inputs that are no volumes; a volume too small for so many blocks that halve it.
    Reference:  Ji, Xu, Yang and Yu, 3D Convolutional Neural Networks for Human Action Recognition,
                2013.
    """
    _check_volume(inputs, len(channels))
    row = Row(inputs)
    for number, width in enumerate(channels, start=1):
        row.add(f"conv{number}", layer["conv3d"].function(
            row.shape, out_channels=width, kernel_size=3, padding=1
        ))  # fmt: skip
        if norm == "batch":
            row.add(f"norm{number}", layer["batch_norm"].function(row.shape))
        elif norm == "group":
            row.add(f"norm{number}", layer["group_norm"].function(row.shape, num_groups=1))
        row.add(f"activation{number}", activation(row.shape))
        row.add(f"pool{number}", layer["max_pool"].function(row.shape))
        if not is_off(dropout):
            row.add(f"dropout{number}", layer["dropout3d"].function(row.shape, p=dropout))
    return initialize(row.finish(outputs), init, gain)


def _check_volume(inputs: Shape, blocks: int) -> None:
    """Refuse what is no volume, and a volume that so many blocks would halve to nothing."""
    if len(inputs) != 4:
        raise UsageError(
            f"cnn3d takes volumes (channels, depth, height, width), and a sample has shape "
            f"{tuple(inputs)}",
            hint="use the data set 'volumes', or the network 'cnn2d' for images",
        )
    most = min(inputs[1:]).bit_length() - 1
    if blocks > most:
        size = " x ".join(map(str, inputs[1:]))
        raise UsageError(
            f"cnn3d: {blocks} blocks halve a volume of {size} to nothing",
            hint=f"give at most {most} channels",
        )
