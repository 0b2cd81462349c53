"""Losses for classes with an order: to be off by two is worse than to be off by one."""

from lossbench.components.losses._classes import along_classes, class_dimension
from lossbench.components.losses._probabilities import as_distribution, power, surprises
from lossbench.components.samples import CLASSES, ROWS, Draw
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


def _ranks(raw: Tensor, **_knobs: object) -> dict[str, Tensor]:
    """Return what the answers to "is it above k?" say of each class.

    The class is the number of yeses. Its probability is the drop between two neighbours, where a
    chance of being above a higher class never exceeds that of being above a lower one.
    """
    above = torch.sigmoid(raw).cummin(1).values
    always, never = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    falling = torch.cat([always, above, never], 1)
    chosen = (raw > 0).sum(1, keepdim=True)
    classes = along_classes(torch.arange(raw.shape[1] + 1, device=raw.device), raw)
    return {
        "scores": -torch.abs(classes - chosen).to(raw.dtype),
        "probabilities": falling[:, :-1] - falling[:, 1:],
    }


@loss(
    target="index",
    prediction="logits",
    outputs=lambda classes, **_: classes - 1,
    show=_ranks,
)
def coral(prediction: Tensor, target: Tensor) -> Tensor:
    """Ask of every rank but the last whether the truth lies above it, and score each answer.

    Formula:    sum_k -[y > k] ln s_k - [y <= k] ln(1 - s_k), with s = sigmoid(prediction)
    Derivative: s_k - [y > k]
    Shapes:     prediction [N, C - 1, ...], target [N, ...] (ranks 0 to C - 1) -> [N, ...]
    Range:      [0, inf)
    Note:       the class is the number of k with s_k > 1/2. The paper lets all k share their
                weights, so that the s_k fall; here each has its own, and metrics see them sorted.
    Reference:  Cao, Mirjalili & Raschka, Rank Consistent Ordinal Regression for Neural Networks,
                2020.
    """
    dim = class_dimension(prediction)
    ranks = along_classes(torch.arange(prediction.shape[dim], device=target.device), prediction)
    above = (target.unsqueeze(dim) > ranks).to(prediction.dtype)
    yes, no = surprises(prediction)
    return (above * yes + (1 - above) * no).sum(dim)


def _positions(draw: Draw) -> dict[str, Tensor]:
    """Draw scores of the bins, and targets between the first and the last of them."""
    target = draw.uniform(ROWS, 1, high=CLASSES - 1.0)
    return {
        "prediction": draw.real(ROWS, CLASSES),
        "target": target.round() if draw.sort == "boundary" else target,
    }


def _expected(raw: Tensor, *, reg_max: int, **_knobs: object) -> dict[str, Tensor]:
    """Return the mean of each value's distribution over the bins 0, 1, ..., reg_max."""
    shares = raw.unflatten(1, (-1, reg_max + 1)).softmax(2)
    return {"values": shares @ torch.arange(reg_max + 1, dtype=raw.dtype, device=raw.device)}


@loss(
    target="real",
    prediction="logits",
    outputs=lambda values, *, reg_max, **_: values * (reg_max + 1),
    show=_expected,
    sample=_positions,
    aliases=("dfl",),
)
def distribution_focal(
    prediction: Tensor,
    target: Tensor,
    *,
    reg_max: PositiveInt = 16,  # noqa: ARG001 - it says how many outputs there are
) -> Tensor:
    """Learn a number as a distribution over bins: all weight belongs on the two around it.

    Formula:    -(r - y) ln p_l - (y - l) ln p_r, with l = floor(y), r = l + 1 the bins around y,
                p = softmax(prediction)
    Derivative: p - q, with q = r - y at l and y - l at r
    Shapes:     prediction [N, B] with target [N], or [N, d B] with target [N, d]; B = reg_max + 1
                bins at 0, 1, ..., reg_max -> as the target
    Range:      [0, inf)
    Knobs:
        reg_max: the largest value; there is one output for each of 0, 1, ..., reg_max.
    Note:       targets beyond the bins count as the nearest bin. Standardised targets would lie
                around 0: leave dataset.standardize_target off.
    Reference:  Li et al., Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes
                for Dense Object Detection, 2020.
    """
    wanted = target if target.dim() > 1 else target.unsqueeze(1)
    log_p = prediction.unflatten(1, (wanted.shape[1], -1)).log_softmax(2)
    last = log_p.shape[2] - 1
    wanted = wanted.clamp(0, last)
    left = wanted.floor().clamp(max=last - 1)
    beyond = (wanted - left).unsqueeze(2)
    sides = torch.stack([left, left + 1], 2).long()
    shares = torch.cat([1 - beyond, beyond], 2)
    return -(shares * log_p.gather(2, sides)).sum(2).reshape(target.shape)
