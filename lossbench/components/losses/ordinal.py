"""Losses for classes with an order: to be off by two is worse than to be off by one."""

from lossbench.components.losses._classes import class_dimension
from lossbench.components.losses._probabilities import as_distribution, power
from lossbench.components.vocabulary import PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target=("index", "distribution"),
    prediction="logits",
    aliases=("squared_earth_mover", "ranked_probability_score"),
)
def emd2(prediction: Tensor, target: Tensor, *, r: PositiveInt = 2) -> Tensor:
    """Work of moving the predicted distribution onto the true one along the order of the classes.

    Formula:    sum_k |P_k - Q_k|^r, with P and Q the cumulative sums of p = softmax(prediction) and
                of the target, [c = y] or a distribution
    Derivative: by p_c, for r = 2: 2 sum_{k >= c} (P_k - Q_k)
    Shapes:     prediction [N, C, ...], target [N, ...] (indices) or [N, C, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        r: 2 for the squared distance; 1 for the earth mover's distance itself.
    Reference:  Hou, Yu & Samaras, Squared Earth Mover's Distance-Based Loss for Training Deep
                Neural Networks, 2016.
    """
    dim = class_dimension(prediction)
    apart = torch.softmax(prediction, dim) - as_distribution(target, prediction)
    return power(torch.abs(apart.cumsum(dim)), r).sum(dim)
