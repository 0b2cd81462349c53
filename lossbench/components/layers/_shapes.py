"""What arrives at a layer, said in words, and the sizes behind windows that slide over it.

Shapes are those of one sample: (features,), (channels, length), (channels, height, width) or
(channels, depth, height, width).
"""

from collections.abc import Sequence

from lossbench.components.modules import Shape
from lossbench.errors import UsageError
from lossbench.registry import layer

_KINDS = {
    0: "a single number ()",
    1: "a vector (features,)",
    2: "a sequence (channels, length)",
    3: "an image (channels, height, width)",
    4: "a volume (channels, depth, height, width)",
}


def require(name: str, shape: Shape) -> None:
    """Refuse a shape that the layer of this name does not take, as its entry declares.

    Raises UsageError naming the layer, what it takes and what arrived.
    """
    accepted = layer[name].facts.dimensions
    if len(shape) in accepted and all(size > 0 for size in shape):
        return
    takes = [_KINDS[count] for count in accepted]
    words = " or ".join([", ".join(takes[:-1]), takes[-1]] if len(takes) > 1 else takes)
    raise UsageError(
        f"{name} takes {words}, and the shape that arrives is {tuple(shape)}",
        hint=_way_out(accepted, shape),
    )


def _way_out(accepted: tuple[int, ...], shape: Shape) -> str | None:
    """Say what would make the shape fit, where something simple does."""
    if accepted == (1,) and len(shape) > 1:
        return "put 'flatten' in front of it to make one vector of each sample"
    if len(shape) == 1 and 1 not in accepted:
        return "vectors have no positions to slide over: use a data set of images, or leave it out"
    return None


def per_axis(name: str, knob: str, value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Return one number for each axis: the same for all, or those given.

    Raises UsageError where the numbers given are not as many as the axes.
    """
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        raise UsageError(
            f"{name}: {knob} has {len(value)} numbers {tuple(value)}, and {axes} "
            f"{'is' if axes == 1 else 'are'} needed for the shape that arrives",
            hint=f"give one number for all axes, or {axes}",
        )
    return tuple(value)


def axis_names(axes: int) -> tuple[str, ...]:
    """Return what the axes behind the channels are called."""
    return {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}[axes]


def positions(
    size: int, kernel: int, stride: int, padding: int, dilation: int, *, round_up: bool = False
) -> int:
    """Count the places at which a window fits into `size` values; 0 or less where none does.

    Formula: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. Rounding up lets
    the last window reach over the end, but not start behind it.
    """
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not round_up:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def slide(
    name: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    round_up: bool = False,
) -> Shape:
    """Return the sizes behind a window that slides along each axis.

    Raises UsageError with the numbers where the window is larger than what arrives.
    """
    axes = axis_names(len(sizes))
    behind: list[int] = []
    for axis, size, *window in zip(axes, sizes, kernel, stride, padding, dilation, strict=True):
        count = positions(size, *window, round_up=round_up)
        reach = window[3] * (window[0] - 1) + 1
        if count < 1 or reach > size + 2 * window[2]:
            padded = f" ({size + 2 * window[2]} with padding)" if window[2] else ""
            raise UsageError(
                f"{name}: a window of {reach} does not fit into a {axis} of {size}{padded}",
                hint=f"the sizes that arrive are {tuple(sizes)}: use a smaller kernel_size, "
                "more padding, or fewer layers that shrink",
            )
        behind.append(count)
    return tuple(behind)
