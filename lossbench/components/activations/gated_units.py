"""Activations that change the number of units: halves that gate each other, pieces that compete.

`dim` counts as in torch, the batch being dimension 0; negative ones count from the end.
"""

from collections.abc import Callable

from lossbench.components.activations._slopes import normal_share
from lossbench.components.vocabulary import PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

Shape = tuple[int, ...]


def _position(name: str, shape: Shape, dim: int) -> int:
    """Return which dimension of a batch `dim` is, for samples of a shape; the batch is refused."""
    count = len(shape) + 1
    if not -count <= dim < count or dim % count == 0:
        raise UsageError(
            f"{name}: dim = {dim} is not a dimension of a sample of shape {list(shape)}",
            hint=f"valid: -1 to {1 - count}, or 1 to {count - 1} (0 is the batch)",
        )
    return dim % count


def _halved(name: str) -> Callable[..., Shape]:
    """Return the function that gives the shape behind: dimension `dim` is halved."""

    def behind(shape: Shape, *, dim: int) -> Shape:
        place = _position(name, shape, dim) - 1
        _require_even(name, shape[place], dim)
        return (*shape[:place], shape[place] // 2, *shape[place + 1 :])

    return behind


def _require_even(name: str, size: int, dim: int) -> None:
    """Refuse a dimension that cannot be halved."""
    if size % 2:
        raise UsageError(
            f"{name}: dimension {dim} has {size} entries, which cannot be halved",
            hint="make the width of the layer before it even",
        )


def _halves(name: str, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the two halves of x along a dimension."""
    _require_even(name, x.shape[dim], dim)
    first, second = x.chunk(2, dim)
    return first, second


@activation(kernel="torch.nn.functional.glu", elementwise=False, output_shape=_halved("glu"))
def glu(x: Tensor, *, dim: int = -1) -> Tensor:
    """Let one half of the units decide how much of the other half passes.

    Formula:    a sigmoid(b), with a the first half of x along `dim` and b the second
    Derivative: d/da = sigmoid(b), d/db = a sigmoid(b) (1 - sigmoid(b))
    Shapes:     [..., 2 k, ...] -> [..., k, ...]
    Range:      (-inf, inf)
    Knobs:
        dim: the dimension that is halved; its size must be even.
    Errors:     an odd size.
    Reference:  Dauphin, Fan, Auli & Grangier, Language Modeling with Gated Convolutional Networks,
                2017.
    """
    passed, gate = _halves("glu", x, dim)
    return passed * torch.sigmoid(gate)


@activation(aliases=("bilinear",), elementwise=False, output_shape=_halved("bilinear_glu"))
def bilinear_glu(x: Tensor, *, dim: int = -1) -> Tensor:
    """The product of the two halves: a gate without a bend, which multiplies features.

    Formula:    a b, with a the first half of x along `dim` and b the second
    Derivative: d/da = b, d/db = a
    Shapes:     [..., 2 k, ...] -> [..., k, ...]
    Range:      (-inf, inf)
    Knobs:
        dim: the dimension that is halved; its size must be even.
    Errors:     an odd size.
    Reference:  Shazeer, GLU Variants Improve Transformer, 2020.
    """
    gate, passed = _halves("bilinear_glu", x, dim)
    return gate * passed


@activation(elementwise=False, output_shape=_halved("reglu"))
def reglu(x: Tensor, *, dim: int = -1) -> Tensor:
    """GLU whose gate is a ReLU of the first half.

    Formula:    max(0, a) b, with a the first half of x along `dim` and b the second
    Derivative: d/da = b where a > 0, else 0; d/db = max(0, a)
    Shapes:     [..., 2 k, ...] -> [..., k, ...]
    Range:      (-inf, inf)
    Knobs:
        dim: the dimension that is halved; its size must be even.
    Note:       the first half is the gate; `glu` gates with the second, as torch does.
    Errors:     an odd size.
    Reference:  Shazeer, GLU Variants Improve Transformer, 2020.
    """
    gate, passed = _halves("reglu", x, dim)
    return torch.where(gate <= 0, 0.0, gate) * passed


@activation(elementwise=False, output_shape=_halved("geglu"))
def geglu(x: Tensor, *, dim: int = -1) -> Tensor:
    """GLU whose gate is a GELU of the first half.

    Formula:    a Phi(a) b, with a the first half of x along `dim` and b the second
    Derivative: d/da = (Phi(a) + a phi(a)) b, d/db = a Phi(a)
    Shapes:     [..., 2 k, ...] -> [..., k, ...]
    Range:      (-inf, inf)
    Knobs:
        dim: the dimension that is halved; its size must be even.
    Note:       the first half is the gate; `glu` gates with the second, as torch does.
    Errors:     an odd size.
    Reference:  Shazeer, GLU Variants Improve Transformer, 2020.
    """
    gate, passed = _halves("geglu", x, dim)
    return gate * normal_share(gate) * passed


@activation(elementwise=False, output_shape=_halved("swiglu"))
def swiglu(x: Tensor, *, dim: int = -1) -> Tensor:
    """GLU whose gate is a SiLU of the first half: what large language models use.

    Formula:    a sigmoid(a) b, with a the first half of x along `dim` and b the second
    Derivative: d/da = sigmoid(a) (1 + a (1 - sigmoid(a))) b, d/db = a sigmoid(a)
    Shapes:     [..., 2 k, ...] -> [..., k, ...]
    Range:      (-inf, inf)
    Knobs:
        dim: the dimension that is halved; its size must be even.
    Note:       the first half is the gate; `glu` gates with the second, as torch does.
    Errors:     an odd size.
    Reference:  Shazeer, GLU Variants Improve Transformer, 2020.
    """
    gate, passed = _halves("swiglu", x, dim)
    return gate * torch.sigmoid(gate) * passed


def _competing(shape: Shape, *, k: int) -> Shape:
    """Return the shape behind maxout: one channel in the place of k."""
    _require_multiple(shape[0], k)
    return (shape[0] // k, *shape[1:])


def _require_multiple(size: int, k: int) -> None:
    """Refuse channels that do not fall into groups of k."""
    if size % k:
        raise UsageError(
            f"maxout: {size} channels do not fall into groups of {k}",
            hint=f"make the width of the layer before it a multiple of {k}",
        )


@activation(elementwise=False, output_shape=_competing)
def maxout(x: Tensor, *, k: PositiveInt = 2) -> Tensor:
    """The largest of k linear pieces: the layer before it learns the activation.

    Formula:    max(x_(k c), ..., x_(k c + k - 1)) for channel c
    Derivative: 1 for the winner, 0 for the others; winners that are equal share it
    Shapes:     [N, k C, ...] -> [N, C, ...]
    Range:      (-inf, inf)
    Knobs:
        k: how many neighbouring channels compete.
    Errors:     channels that k does not divide.
    Reference:  Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout Networks, 2013.
    """
    _require_multiple(x.shape[1], k)
    return x.unflatten(1, (x.shape[1] // k, k)).amax(2)


def _doubled(shape: Shape, *, dim: int) -> Shape:
    """Return the shape behind crelu: dimension `dim` is doubled."""
    place = _position("crelu", shape, dim) - 1
    return (*shape[:place], 2 * shape[place], *shape[place + 1 :])


@activation(range=(0.0, float("inf")), elementwise=False, output_shape=_doubled)
def crelu(x: Tensor, *, dim: int = 1) -> Tensor:
    """ReLU of the input and of its negative, side by side: nothing is lost, no unit dies.

    Formula:    max(0, x) and max(0, -x), one behind the other along `dim`
    Derivative: 1 where x > 0, else 0; -1 where x < 0, else 0
    Shapes:     [..., k, ...] -> [..., 2 k, ...]
    Range:      [0, inf)
    Knobs:
        dim: the dimension that is doubled.
    Reference:  Shang, Sohn, Almeida & Lee, Understanding and Improving Convolutional Neural
                Networks via Concatenated Rectified Linear Units, 2016.
    """
    return torch.cat([torch.where(x <= 0, 0.0, x), torch.where(x >= 0, 0.0, -x)], dim)
