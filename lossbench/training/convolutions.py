"""Convolutions and pooling of many small networks: products of matrices, with the samples last.

`vmap` makes one convolution with a group per trial of a convolution, and for so many groups of so
few channels there is no fast kernel. Here the images of a batch lie beside each other in memory,
[trials, channels, height, width, samples]: what a window covers are then long runs, a convolution
is a product of two matrices per trial, and pooling takes the largest of neighbouring runs. To
everybody else they are tensors [trials, samples, channels, height, width] as any other.

`Quick` puts these in the place of torch's functions; what they do not take is left to torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

WIDEST_KERNEL = 5
"""Pixels of a kernel's edge up to which windows are copied out: each pixel is, for all of its."""

_LAST = (0, 2, 3, 4, 1)  # from samples second to samples last
_SECOND = (0, 4, 1, 2, 3)


def convolved(x: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[Tensor, Tensor]:
    """Convolve images with weights [trials, out, channels, high, wide].

    Returns the windows too, which the gradient needs: [trials, weights of one out, places].
    """
    trials, out, _, high, wide = weight.shape
    laid = torch.constant_pad_nd(x.permute(_LAST), (0, 0, *[padding] * 4))
    cut = laid.unfold(2, high, stride).unfold(3, wide, stride).permute(0, 1, 5, 6, 2, 3, 4)
    kernel = weight.reshape(trials, out, -1)
    windows = cut.reshape(trials, kernel.shape[2], -1)
    made = torch.bmm(kernel, windows).view(trials, out, *cut.shape[4:])
    return made.permute(_SECOND), windows


def convolved_weight(grad: Tensor, windows: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a convolution's weights."""
    own = grad.permute(_LAST).flatten(2)
    # This way round: BLAS takes three times as long for the transposed product.
    found = torch.bmm(windows, own.transpose(1, 2))
    return found.transpose(1, 2).reshape(weight.shape)


def convolved_input(
    grad: Tensor, weight: Tensor, size: Sequence[int], stride: int, padding: int
) -> Tensor:
    """Return the gradient of a convolution's images, which are so high and wide."""
    trials, out, channels, high, wide = weight.shape
    own = grad.permute(_LAST)
    rows, columns, samples = own.shape[2:]
    kernel = weight.reshape(trials, out, -1).transpose(1, 2).contiguous()  # then BLAS is faster
    parts = torch.bmm(kernel, own.flatten(2)).view(trials, channels, high, wide, *own.shape[2:])
    edges = [length + 2 * padding for length in size]
    laid = parts.new_zeros(trials, channels, *edges, samples)
    for i in range(high):
        for j in range(wide):
            down = slice(i, i + stride * (rows - 1) + 1, stride)
            along = slice(j, j + stride * (columns - 1) + 1, stride)
            laid[:, :, down, along].add_(parts[:, :, i, j])
    inner = laid.narrow(2, padding, size[0]).narrow(3, padding, size[1])
    return inner.contiguous().permute(_SECOND)


def pooled(x: Tensor) -> Tensor:
    """Return the largest of each 2 x 2 pixels."""
    one, two, three, four = _quarters(x.permute(_LAST).contiguous())
    largest = torch.maximum(torch.maximum(one, two), torch.maximum(three, four))
    return largest.permute(_SECOND)


def pooled_input(grad: Tensor, x: Tensor, largest: Tensor) -> Tensor:
    """Return the gradient of pooling's images: all of it goes to the first that is the largest."""
    images, top = x.permute(_LAST).contiguous(), largest.permute(_LAST).contiguous()
    left = grad.permute(_LAST).contiguous()  # what has found no pixel yet
    even = images.shape[2] % 2 == 0 == images.shape[3] % 2
    result = torch.empty_like(images) if even else torch.zeros_like(images)
    *firsts, last = zip(_quarters(images), _quarters(result), strict=True)
    here = torch.empty_like(top)  # in numbers: five times faster than in bools
    for pixels, share in firsts:
        torch.eq(pixels, top, out=here)
        torch.mul(left, here, out=share)
        left = left - share
    last[1].copy_(left)
    return result.permute(_SECOND)


def _quarters(x: Tensor) -> list[Tensor]:
    """Return the first, second, third and fourth of each 2 x 2 pixels, row by row."""
    height, width = (size // 2 * 2 for size in x.shape[2:4])
    return [x[:, :, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _op(function: Callable[..., Any]) -> Any:
    """Let a recording see a function as one operation, not as those that it makes."""
    return torch.library.custom_op(f"lossbench::{function.__name__}", function, mutates_args=())


_convolved = _op(convolved)
_convolved_weight = _op(convolved_weight)
_convolved_input = _op(convolved_input)
_pooled = _op(pooled)
_pooled_input = _op(pooled_input)

DIRECT: dict[Any, Callable[..., Any]] = {
    getattr(torch.ops.lossbench, function.__name__).default: function
    for function in (convolved, convolved_weight, convolved_input, pooled, pooled_input)
}
"""What a recording calls, and the function behind it."""


class _ConvolutionOfAll(torch.autograd.Function):
    """A convolution of all trials, of which each of them has its own weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        made, windows = _convolved(x, weight, stride, padding)
        ctx.save_for_backward(windows, weight)
        ctx.given = list(x.shape[-2:]), stride, padding
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        windows, weight = ctx.saved_tensors
        wants_x, wants_weight, *_ = ctx.needs_input_grad
        of_x = _convolved_input(grad, weight, *ctx.given) if wants_x else None
        of_weight = _convolved_weight(grad, windows, weight) if wants_weight else None
        return of_x, of_weight, None, None


class _PoolingOfAll(torch.autograd.Function):
    """The largest of each 2 x 2 pixels, of all trials."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        made = _pooled(x)
        ctx.save_for_backward(x, made)
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _pooled_input(grad, *ctx.saved_tensors)


class _ForOne(torch.autograd.Function):
    """What a trial's network calls: under `vmap`, one call for all trials."""

    OF_ALL: Any

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: the function of all trials does."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Sequence[int | None], *args: Any) -> tuple[Tensor, int]:
        tensors = [_trials_first(value, dim, info.batch_size)
                   for value, dim in zip(args, in_dims, strict=True)]  # fmt: skip
        return cls.OF_ALL.apply(*tensors), 0


class _Convolution(_ForOne):
    OF_ALL = _ConvolutionOfAll

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return functional.conv2d(x, weight, None, stride, padding)


class _Pooling(_ForOne):
    OF_ALL = _PoolingOfAll

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 2)


def _trials_first(value: Any, dim: int | None, trials: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.expand(trials, *value.shape) if dim is None else value.movedim(dim, 0)


class Quick(TorchFunctionMode):
    """Within it, small convolutions and poolings under `vmap` are those of this file."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        take = _TAKEN.get(func) if args and _on_cpu(args[0]) else None
        result = None if take is None else take(*args, **given)
        return func(*args, **given) if result is None else result


def _on_cpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"


def _take_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """Return a convolution; none where it is of another sort."""
    step, edge = _same(stride), _same(padding)
    plain = groups == 1 == _same(dilation) and max(weight.shape[2:]) <= WIDEST_KERNEL
    if not plain or step is None or edge is None or x.ndim != 4:
        return None
    made: Tensor = _Convolution.apply(x, weight, step, edge)
    return made if bias is None else made + bias[:, None, None]


def _take_pooling(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Return the largest of each 2 x 2 pixels; none where pooling is of another sort."""
    own = _same(kernel_size) == 2 and _same(stride or kernel_size) == 2
    plain = _same(padding) == 0 and _same(dilation) == 1 and not ceil_mode and not return_indices
    return _Pooling.apply(x) if own and plain and x.ndim == 4 else None


def _same(value: Any) -> int | None:
    """Return the number that holds for height and width, if one does."""
    if isinstance(value, int):
        return value
    first, *rest = value
    return first if isinstance(first, int) and all(other == first for other in rest) else None


_TAKEN: Mapping[Any, Callable[..., Tensor | None]] = {
    functional.conv2d: _take_convolution,
    functional.max_pool2d: _take_pooling,
    torch.max_pool2d: _take_pooling,
}
