"""Networks that answer for every pixel."""

from typing import Annotated, Literal

from annotated_types import MinLen

from lossbench.components.modules import MakeActivation, Shape
from lossbench.components.networks._parts import Row
from lossbench.components.vocabulary import Decay, PositiveInt, is_off
from lossbench.errors import UsageError
from lossbench.lazy import LazyModule, nn
from lossbench.registry import layer, network

_unet = LazyModule("lossbench.components.networks._unet")

Norm = Literal["none", "batch", "group"]


@network(inputs="image", dense=True)
def unet(
    inputs: Shape,
    outputs: int | Shape,
    activation: MakeActivation,
    *,
    channels: Annotated[tuple[PositiveInt, ...], MinLen(2)] = (8, 16, 32),
    norm: Norm = "batch",
    dropout: Decay = 0.0,
) -> "nn.Module":
    """Down to a coarse image that sees far, and up again beside what was seen sharply on the way.

    Formula:    d_1 = block(x), d_k = block(max_pool(d_(k-1))); u_K = d_K,
                u_k = block([transposed_conv(u_(k+1)), d_k]); then a 1 x 1 convolution of u_1, with
                block(x) = activation(norm(conv(x))), twice
    Shapes:     (channels, height, width) -> (outputs, height, width), of any height and width
    Knobs:
        channels: the channels at each size of the image, from the full one to the coarsest.
        norm: what stands in front of each activation: nothing, batch_norm, or group_norm with one
            group (a sample by itself).
        dropout: the share of whole channels set to 0 behind the coarsest block.
    Note:       windows are 3 x 3 and padded, so that the image keeps its size; those of the paper
                are not.
    Errors:     inputs that are no images; an image too small for so many sizes.
    Reference:  Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
                Segmentation, 2015.
    """
    _check(inputs, outputs, len(channels))
    downs, shape = [], tuple(inputs)
    sharp: list[Shape] = []
    for number, width in enumerate(channels, start=1):
        row = Row(shape)
        if number > 1:
            row.add("pool", layer["max_pool"].function(row.shape))
        _block(row, width, activation, norm)
        if number == len(channels) and not is_off(dropout):
            row.add("dropout", layer["dropout2d"].function(row.shape, p=dropout))
        downs.append(row.sequential())
        shape = row.shape
        sharp.append(shape)
    enlarge, ups = [], []
    for width, beside in zip(channels[-2::-1], sharp[-2::-1], strict=True):
        # Pooling rounds down: an odd height gets the row back that was lost.
        odd = (beside[1] % 2, beside[2] % 2)
        enlarge.append(nn.ConvTranspose2d(shape[0], width, 2, stride=2, output_padding=odd))
        row = Row((width + beside[0], *beside[1:]))
        _block(row, width, activation, norm)
        ups.append(row.sequential())
        shape = row.shape
    count = outputs if isinstance(outputs, int) else outputs[0]
    made: nn.Module = _unet.UNet(downs, enlarge, ups, nn.Conv2d(shape[0], count, 1))
    return made


def _block(row: Row, width: int, activation: MakeActivation, norm: Norm) -> None:
    """Add two convolutions, each with its norm and activation."""
    size = row.shape[1:]
    for number in (1, 2):
        made = layer["conv2d"].function(row.shape, out_channels=width, kernel_size=3, padding=1)
        row.add(f"conv{number}", made)
        if norm == "batch":
            row.add(f"norm{number}", layer["batch_norm"].function(row.shape))
        elif norm == "group":
            row.add(f"norm{number}", layer["group_norm"].function(row.shape, num_groups=1))
        row.add(f"activation{number}", activation(row.shape))
        if row.shape[1:] != size:
            raise UsageError(
                "unet: the activation changes the height or width of an image, and every pixel "
                "needs an answer",
                hint="one that shrinks a dimension may shrink the channels: dim: 1",
            )


def _check(inputs: Shape, outputs: int | Shape, sizes: int) -> None:
    """Refuse what is no image, one that cannot be halved so often, and outputs of another shape."""
    if len(inputs) != 3:
        raise UsageError(
            f"unet takes images (channels, height, width), and a sample has shape {tuple(inputs)}",
            hint="use a data set of images with a class for each pixel: dataset: shapes",
        )
    if not isinstance(outputs, int) and len(outputs) != 1:
        raise UsageError(f"unet gives some numbers for each pixel, and {outputs} were asked for")
    most = min(inputs[1:]).bit_length()
    if sizes > most:
        raise UsageError(
            f"unet: {sizes - 1} halvings leave nothing of an image of {inputs[1]} x {inputs[2]}",
            hint=f"give at most {most} channels",
        )
