"""Distances and similarities of two points, whose coordinates lie along the last dimension."""

from lossbench.components.distances._norms import norm, p_norm
from lossbench.components.samples import CLASSES, ROWS, Draw
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import distance


@distance(kernel="torch.nn.functional.pairwise_distance")
def pairwise_distance(
    x1: Tensor, x2: Tensor, *, p: Positive = 2.0, eps: Positive = 1e-6, keepdim: bool = False
) -> Tensor:
    """The length of the difference, by any norm: 2 as the crow flies, 1 around the blocks.

    Formula:    (sum_i |x1_i - x2_i + eps|^p)^(1 / p)
    Shapes:     x1 [..., D], x2 [..., D] -> [...], or [..., 1] with keepdim
    Range:      [0, inf)
    Knobs:
        p: the order of the norm.
        eps: added to every difference, so that equal points have a gradient too: they are
            eps D^(1 / p) apart.
        keepdim: keep the last dimension, with size 1.
    Reference:  Minkowski, Geometrie der Zahlen, 1896.
    """
    return p_norm(x1 - x2 + eps, p, keepdim=keepdim)


@distance(kernel="torch.nn.functional.cosine_similarity", range=(-1.0, 1.0), zero_at_equal=False)
def cosine_similarity(x1: Tensor, x2: Tensor, *, dim: int = -1, eps: Positive = 1e-8) -> Tensor:
    """The cosine of the angle between two vectors, whatever their lengths.

    Formula:    x1 . x2 / (max(|x1|, eps) max(|x2|, eps))
    Shapes:     x1 [..., D], x2 [..., D] -> [...]
    Range:      [-1, 1]
    Knobs:
        dim: the dimension of the coordinates; a full matrix takes the last.
        eps: the least length of a vector: one of length 0 is at right angles to all.
    Reference:  Salton, Wong & Yang, A Vector Space Model for Automatic Indexing, 1975.
    """
    # Each vector is shortened first: the product of two large ones need not fit.
    x1, x2 = (x / norm(x, dim).clamp(min=eps) for x in (x1, x2))
    return (x1 * x2).sum(dim)


@distance(range=(0.0, 2.0))
def cosine_distance(x1: Tensor, x2: Tensor, *, dim: int = -1, eps: Positive = 1e-8) -> Tensor:
    """How far two directions are apart: 0 for the same, 1 for right angles, 2 for opposites.

    Formula:    1 - x1 . x2 / (max(|x1|, eps) max(|x2|, eps))
    Shapes:     x1 [..., D], x2 [..., D] -> [...]
    Range:      [0, 2]
    Knobs:
        dim: the dimension of the coordinates; a full matrix takes the last.
        eps: the least length of a vector.
    Note:       no metric: the triangle's inequality does not hold.
    Reference:  Salton, Wong & Yang, A Vector Space Model for Automatic Indexing, 1975.
    """
    return 1 - cosine_similarity(x1, x2, dim=dim, eps=eps)


def _words(draw: Draw) -> dict[str, Tensor]:
    return {"x1": draw.labels(ROWS, CLASSES), "x2": draw.labels(ROWS, CLASSES)}


@distance(range=(0.0, 1.0), sample=_words)
def hamming(x1: Tensor, x2: Tensor) -> Tensor:
    """The share of the coordinates that differ at all.

    Formula:    (1 / D) sum_i [x1_i != x2_i]
    Shapes:     x1 [..., D], x2 [..., D] -> [...], of any dtype; floats where they are
    Range:      [0, 1]
    Note:       the count is D times as much. It has no gradient.
    Reference:  Hamming, Error Detecting and Error Correcting Codes, 1950.
    """
    common = torch.promote_types(x1.dtype, x2.dtype)
    kind = common if common.is_floating_point else torch.get_default_dtype()
    return (x1 != x2).to(kind).mean(-1)


def _ellipsoid(draw: Draw) -> dict[str, Tensor]:
    other = Draw(draw.sort, draw.dtype, seed=1)
    matrix = draw.normal(CLASSES, CLASSES)
    precision = matrix @ matrix.transpose(0, 1) + torch.eye(CLASSES, dtype=matrix.dtype)
    return {
        "x1": draw.real(ROWS, CLASSES),
        "x2": other.real(ROWS, CLASSES),
        "inverse_covariance": precision,
    }


@distance(sample=_ellipsoid)
def mahalanobis(x1: Tensor, x2: Tensor, inverse_covariance: Tensor) -> Tensor:
    """The distance in units of how widely the data spread in that direction.

    Formula:    sqrt((x1 - x2)^T S^-1 (x1 - x2))
    Shapes:     x1 [..., D], x2 [..., D], inverse_covariance [D, D] -> [...]
    Range:      [0, inf)
    Note:       S^-1 is symmetric and positive definite; the identity gives the Euclidean distance.
    Reference:  Mahalanobis, On the Generalised Distance in Statistics, 1936.
    """
    r = x1 - x2
    # Rounding must not turn a length of nearly 0 into the root of a negative number.
    squared = ((r @ inverse_covariance) * r).sum(-1)
    nothing = squared <= 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, squared).sqrt())


@distance()
def wasserstein_1d(x1: Tensor, x2: Tensor) -> Tensor:
    """The least work of turning one heap of numbers into another: mass times way.

    Formula:    integral |F1(t) - F2(t)| dt, with F the share of the numbers that are <= t
    Shapes:     x1 [..., N], x2 [..., M]: numbers in any order, each of weight 1 / N or 1 / M
                -> [...]
    Range:      [0, inf)
    Note:       with N = M it is the mean of |sort(x1) - sort(x2)|.
    Reference:  Vallender, Calculation of the Wasserstein Distance between Probability Distributions
                on the Line, 1974.
    """
    lead = torch.broadcast_shapes(x1.shape[:-1], x2.shape[:-1])
    both = [x.expand(*lead, x.shape[-1]) for x in (x1, x2)]
    ends = torch.cat(both, -1).sort(-1).values
    # Up to each end but the last: which share of either heap lies there or before.
    upto = ends[..., :-1].unsqueeze(-1)
    share1, share2 = ((x.unsqueeze(-2) <= upto).to(ends.dtype).mean(-1) for x in both)
    return ((share1 - share2).abs() * ends.diff(dim=-1)).sum(-1)
