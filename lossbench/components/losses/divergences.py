"""Entropy, and divergences between distributions: how far a belief is from the truth."""

from lossbench.components.losses._classes import class_dimension
from lossbench.components.losses._probabilities import as_distribution
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(inputs={"prediction": "probabilities"}, aliases=("shannon_entropy",))
def entropy(prediction: Tensor, *, eps: Positive = 1e-12) -> Tensor:
    """Nats of doubt in a distribution: 0 where it is certain, ln C where it knows nothing.

    Formula:    -sum_c p_c ln max(p_c, eps), with p = prediction
    Derivative: -(ln p_c + 1), and -ln eps where p_c < eps
    Shapes:     prediction [N, C, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        eps: keeps the derivative finite at a probability of 0.
    Note:       needs no target. Low entropy is asked for where labels are missing.
    Reference:  Shannon, A Mathematical Theory of Communication, 1948.
    """
    bounded = torch.clamp(prediction, min=eps)
    return -torch.xlogy(prediction, bounded).sum(class_dimension(prediction))


@loss(
    target="distribution",
    prediction="log",
    log_target="log_target",
    largest=80.0,
    aliases=("generalized_kl", "convex_kl_divergence"),
)
def generalized_kl_div(prediction: Tensor, target: Tensor, *, log_target: bool = False) -> Tensor:
    """Kullback and Leibler's divergence for positive numbers that need not add up to 1.

    Formula:    y ln(y / p) - y + p, p where y = 0, with p = e^prediction; with log_target
                e^y (y - x) - e^y + e^x, x = prediction
    Derivative: p - y
    Shapes:     prediction [N, ...] (logarithms), target [N, ...], not negative -> [N, ...]
    Range:      [0, inf)
    Knobs:
        log_target: the target is given as logarithms, too.
    Note:       where both add up to the same the sum is that of kl_div.
    Reference:  Csiszar, Why Least Squares and Maximum Entropy?, 1991.
    """
    p = torch.exp(prediction)
    if log_target:
        y = torch.exp(target)
        return y * (target - prediction) - y + p
    return torch.xlogy(target, target) - target * prediction - target + p


@loss(target="distribution", prediction="probabilities", aliases=("jensen_shannon",))
def js_div(prediction: Tensor, target: Tensor) -> Tensor:
    """Half the way from both sides: how much a draw tells about which of two it came from.

    Formula:    (KL(p || m) + KL(q || m)) / 2, with p = prediction, q = target, m = (p + q) / 2 and
                KL(p || m) = sum_c p_c ln(p_c / m_c)
    Derivative: ln(p_c / m_c) / 2
    Shapes:     prediction [N, C, ...], target [N, C, ...], both probabilities -> [N, ...]
    Range:      [0, inf)
    Note:       between distributions it lies between 0 and ln 2.
    Reference:  Lin, Divergence Measures Based on the Shannon Entropy, 1991.
    """
    tiny = torch.finfo(prediction.dtype).tiny
    middle = torch.log(((prediction + target) / 2).clamp(min=tiny))
    p, q = (torch.log(side.clamp(min=tiny)) for side in (prediction, target))
    values = prediction * (p - middle) + target * (q - middle)
    return values.sum(class_dimension(prediction)) / 2


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("brier_score", "quadratic_score"),
)
def brier(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the predicted distribution from what happened.

    Formula:    sum_c (p_c - q_c)^2, with p = softmax(prediction), q = [c = y] or the distribution
    Derivative: by p: 2 (p - q)
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, 2]
    Note:       proper, like cross_entropy, but bounded: one certain error costs at most 2.
    Reference:  Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    dim = class_dimension(prediction)
    apart = torch.softmax(prediction, dim) - as_distribution(target, prediction)
    return torch.square(apart).sum(dim)
