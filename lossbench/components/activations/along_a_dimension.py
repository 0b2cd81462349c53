"""Activations whose values depend on their neighbours along a dimension.

`dim` counts as in torch, the batch being dimension 0; negative ones count from the end.
"""

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

INFINITY = float("inf")


def _relative(x: Tensor, dim: int) -> Tensor:
    """Subtract the maximum: the exponentials then cannot overflow, and their ratios are the same.

    It is detached because the result does not depend on what is subtracted.
    """
    return x - x.amax(dim, keepdim=True).detach()


@activation(kernel="torch.nn.functional.softmax", range=(0.0, 1.0), elementwise=False)
def softmax(x: Tensor, *, dim: int = -1) -> Tensor:
    """Turn scores into probabilities: positive, adding up to 1, the largest score first.

    Formula:    p_i = e^(x_i) / sum_k e^(x_k)
    Derivative: d p_i / d x_j = p_i ([i = j] - p_j)
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    exponentials = torch.exp(_relative(x, dim))
    return exponentials / exponentials.sum(dim, keepdim=True)


@activation(kernel="torch.nn.functional.softmin", range=(0.0, 1.0), elementwise=False)
def softmin(x: Tensor, *, dim: int = -1) -> Tensor:
    """Softmax of the negative: the smallest score gets the largest probability.

    Formula:    p_i = e^(-x_i) / sum_k e^(-x_k)
    Derivative: d p_i / d x_j = -p_i ([i = j] - p_j)
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        dim: the dimension along which the result adds up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    exponentials = torch.exp(_relative(-x, dim))
    return exponentials / exponentials.sum(dim, keepdim=True)


@activation(kernel="torch.nn.functional.log_softmax", range=(-INFINITY, 0.0), elementwise=False)
def log_softmax(x: Tensor, *, dim: int = -1) -> Tensor:
    """The logarithm of softmax: log-probabilities that never underflow.

    Formula:    x_i - ln sum_k e^(x_k)
    Derivative: d f_i / d x_j = [i = j] - p_j, with p = softmax(x)
    Shapes:     [...] -> [...]
    Range:      (-inf, 0]
    Knobs:
        dim: the dimension along which the exponentials of the result add up to 1.
    Reference:  Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs,
                with Relationships to Statistical Pattern Recognition, 1990.
    """
    relative = _relative(x, dim)
    return relative - torch.exp(relative).sum(dim, keepdim=True).log()


def _halved(shape: tuple[int, ...], *, dim: int) -> tuple[int, ...]:
    """Return the shape behind glu: dimension `dim`, the batch being 0, is halved."""
    whole = (0, *shape)
    if not -len(whole) <= dim < len(whole) or dim % len(whole) == 0:
        raise UsageError(
            f"glu: dim = {dim} is not a dimension of a sample of shape {list(shape)}",
            hint=f"valid: -1 to {1 - len(whole)}, or 1 to {len(whole) - 1} (0 is the batch)",
        )
    position = dim % len(whole)
    _require_even(whole[position], dim)
    return (*whole[1:position], whole[position] // 2, *whole[position + 1 :])


def _require_even(size: int, dim: int) -> None:
    """Refuse a dimension that cannot be halved."""
    if size % 2:
        raise UsageError(
            f"glu: dimension {dim} has {size} entries, which cannot be halved",
            hint="make the width of the layer before it even",
        )


@activation(kernel="torch.nn.functional.glu", elementwise=False, output_shape=_halved)
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
    _require_even(x.shape[dim], dim)
    passed, gate = x.chunk(2, dim)
    return passed * torch.sigmoid(gate)
