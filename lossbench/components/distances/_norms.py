"""Lengths of vectors whose gradient is finite everywhere: 0 for a vector of length 0."""

from lossbench.lazy import Tensor, torch


def p_norm(x: Tensor, p: Tensor | float, *, keepdim: bool = False) -> Tensor:
    """Return (sum |x_i|^p)^(1/p) along the last dimension; at x_i = 0 the pull along i is 0."""
    size = x.abs()
    largest = size.amax(-1, keepdim=True).detach()
    scale = torch.where(largest == 0, 1.0, largest)  # so that no power leaves the floats
    nothing = size == 0
    powers = torch.where(nothing, 0.0, torch.where(nothing, 1.0, size / scale) ** p)
    total = powers.sum(-1, keepdim=True)
    none = total == 0
    length = torch.where(none, 0.0, torch.where(none, 1.0, total) ** (1 / p)) * scale
    return length if keepdim else length.squeeze(-1)


def norm(x: Tensor, dim: int) -> Tensor:
    """Return the Euclidean length along a dimension, which is kept."""
    return p_norm(x.movedim(dim, -1), 2, keepdim=True).movedim(-1, dim)
