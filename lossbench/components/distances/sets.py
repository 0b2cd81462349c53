"""Distances within a set of points, between all points of two sets, and between sets as wholes."""

from lossbench.components.distances._norms import p_norm
from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import distance


def _all_pairs(x1: Tensor, x2: Tensor) -> Tensor:
    return x1.unsqueeze(-2) - x2.unsqueeze(-3)


@distance(kernel="torch.cdist", matrix=True)
def cdist(x1: Tensor, x2: Tensor, *, p: Positive = 2.0) -> Tensor:
    """The distances of every point of one set from every point of the other.

    Formula:    d_ij = (sum_k |x1_ik - x2_jk|^p)^(1 / p)
    Shapes:     x1 [..., P, D], x2 [..., R, D] -> [..., P, R]
    Range:      [0, inf)
    Knobs:
        p: the order of the norm.
    Reference:  Minkowski, Geometrie der Zahlen, 1896.
    """
    return p_norm(_all_pairs(x1, x2), p)


def _one_set(draw: Draw) -> dict[str, Tensor]:
    return {"x": draw.real(ROWS, CLASSES)}


@distance(
    kernel="torch.nn.functional.pdist",
    matrix=True,
    sample=_one_set,
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
)
def pdist(x: Tensor, *, p: Positive = 2.0) -> Tensor:
    """The distances of all pairs within one set, each pair once.

    Formula:    (sum_k |x_ik - x_jk|^p)^(1 / p) for i < j, row by row
    Shapes:     x [N, D] -> [N (N - 1) / 2]
    Range:      [0, inf)
    Knobs:
        p: the order of the norm.
    Reference:  Minkowski, Geometrie der Zahlen, 1896.
    """
    count = x.shape[-2]
    first, second = torch.triu_indices(count, count, 1, device=x.device)
    return p_norm(x[..., first, :] - x[..., second, :], p)


@distance(sets=True, range=(0.0, 2.0))
def mmd_rbf(x1: Tensor, x2: Tensor, *, bandwidth: Positive = 1.0) -> Tensor:
    """How unlike two samples are, as far as a Gaussian kernel of this width can see (squared).

    Formula:    mean k(x1, x1') + mean k(x2, x2') - 2 mean k(x1, x2),
                k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2)), each mean over all pairs
    Shapes:     x1 [..., N, D], x2 [..., M, D] -> [...]
    Range:      [0, 2]
    Knobs:
        bandwidth: the distance at which points stop being alike.
    Note:       a point is paired with itself too, so the value is at least 0 and a little too
                large: by about 2 / N for two samples of one distribution.
    Reference:  Gretton et al., A Kernel Two-Sample Test, 2012.
    """

    def likeness(a: Tensor, b: Tensor) -> Tensor:
        squared = torch.square(_all_pairs(a, b)).sum(-1)
        return torch.exp(-squared / (2 * bandwidth * bandwidth)).mean((-2, -1))

    return likeness(x1, x1) + likeness(x2, x2) - 2 * likeness(x1, x2)
