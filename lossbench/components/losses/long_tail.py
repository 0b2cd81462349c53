"""Losses for classes of unequal size: weights, margins and priors made from their counts."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt, Le

from lossbench.components.declarations import Identity
from lossbench.components.losses._classes import along_classes, class_dimension, pick
from lossbench.components.losses._probabilities import one_hot, surprises
from lossbench.components.losses.focal import focal
from lossbench.components.losses.multiclass import cross_entropy
from lossbench.components.vocabulary import (
    Decay,
    NonNegative,
    Positive,
    PositiveInt,
    Terms,
)
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

if TYPE_CHECKING:
    Counts = Tensor
else:
    Counts = tuple[Positive, ...]


def _require_counts(class_counts: Tensor, prediction: Tensor) -> None:
    """Refuse counts that are more or fewer than the classes."""
    classes = prediction.shape[class_dimension(prediction)]
    if class_counts.shape != (classes,):
        raise UsageError(
            f"class_counts has {class_counts.numel()} values, but there are {classes} classes",
            hint="give the number of training samples of each class, in the order of the classes",
        )


@loss(
    target="index",
    prediction="logits",
    aliases=("effective_number",),
    identities=(Identity("cross_entropy", when={"beta": 0.0}),),
)
def class_balanced(
    prediction: Tensor,
    target: Tensor,
    *,
    class_counts: Counts,
    beta: Decay = 0.9999,
    base: Literal["cross_entropy", "bce", "focal"] = "cross_entropy",
    gamma: NonNegative = 2.0,
) -> Tensor:
    """Weigh each class by how many of its samples are really different, the effective number.

    Formula:    w_y base(x, y) with w_c = (1 - beta) / (1 - beta^n_c), scaled so that they add up to
                C; x = prediction, n = class_counts
    Derivative: w_y times the base's
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        class_counts: the number of training samples of each class.
        beta: how soon more samples of a class tell nothing new; 0 weighs all alike, towards 1 the
            weights go with 1 / n.
        base: cross_entropy, or bce and focal of one output per class, summed over the classes.
        gamma: how fast easy samples fall silent, for focal.
    Note:       the mean divides by the number of samples, not by the weights.
    Errors:     counts that are not one per class.
    Reference:  Cui et al., Class-Balanced Loss Based on Effective Number of Samples, 2019.
    """
    _require_counts(class_counts, prediction)
    # 1 - beta is exact where beta is not: 1 - 0.9999 in float32 has three digits.
    rest = torch.zeros_like(class_counts[0]) + (1 - beta)
    weight = -1 / torch.expm1(class_counts * torch.log1p(-rest))
    weight = weight / weight.sum() * len(class_counts)
    if base == "cross_entropy":
        return weight[target] * cross_entropy(prediction, target).values
    dim = class_dimension(prediction)
    true = one_hot(target, prediction)
    if base == "focal":
        return weight[target] * focal(prediction, true, alpha=None, gamma=gamma).sum(dim)
    yes, no = surprises(prediction)
    return weight[target] * (true * yes + (1 - true) * no).sum(dim)


@loss(
    target="index",
    prediction="logits",
    aliases=("label_distribution_aware_margin",),
    identities=(Identity("cross_entropy", when={"max_m": 0.0, "s": 1.0}),),
)
def ldam(
    prediction: Tensor,
    target: Tensor,
    *,
    class_counts: Counts,
    max_m: NonNegative = 0.5,
    s: Positive = 30.0,
) -> Tensor:
    """Cross entropy with a margin for the true class, the larger the rarer it is.

    Formula:    cross_entropy(s (x - D_y [c = y]), y) with D_c = max_m (n_c / min n)^(-1/4),
                x = prediction, n = class_counts
    Derivative: s (p - [c = y]), with p the softmax of the changed scores
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        class_counts: the number of training samples of each class.
        max_m: the margin of the rarest class.
        s: the scale of the scores, which the authors take from cosines.
    Errors:     counts that are not one per class.
    Reference:  Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
                2019.
    """
    _require_counts(class_counts, prediction)
    margins = max_m * (class_counts / class_counts.amin()) ** -0.25
    lowered = prediction - along_classes(margins, prediction) * one_hot(target, prediction)
    return cross_entropy(s * lowered, target).values


@loss(
    target="index",
    prediction="logits",
    aliases=("balanced_softmax", "logit_adjustment"),
    identities=(Identity("cross_entropy", when={"tau": 0.0}),),
)
def logit_adjusted(
    prediction: Tensor, target: Tensor, *, class_counts: Counts, tau: NonNegative = 1.0
) -> Tensor:
    """Cross entropy of scores to which the classes' prior is added, so that they need not learn it.

    Formula:    cross_entropy(x + tau ln prior, y) with prior = n / sum n, x = prediction,
                n = class_counts
    Derivative: p - [c = y], with p the softmax of the changed scores
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        class_counts: the number of training samples of each class.
        tau: how much of the prior is added; 1 is the balanced softmax, right for equal classes in
            the test.
    Errors:     counts that are not one per class.
    Reference:  Menon et al., Long-Tail Learning via Logit Adjustment, 2021; Ren et al., Balanced
                Meta-Softmax for Long-Tailed Visual Recognition, 2020.
    """
    _require_counts(class_counts, prediction)
    prior = torch.log(class_counts / class_counts.sum())
    return cross_entropy(prediction + tau * along_classes(prior, prediction), target).values


@loss(
    target="index",
    prediction="logits",
    independent=False,
    state={"seen": lambda outputs, **_: torch.zeros(outputs)},
    detached="the factors of the rival classes carry no gradient",
    identities=(Identity("cross_entropy", when={"p": 0.0, "q": 0.0}),),
)
def seesaw(
    prediction: Tensor,
    target: Tensor,
    *,
    seen: Tensor,
    p: NonNegative = 0.8,
    q: NonNegative = 2.0,
    eps: Positive = 1e-2,
) -> Terms:
    """Cross entropy in which a rare class is pushed down less by a common one, unless it errs.

    Formula:    -ln(e^x_y / sum_j S_j e^x_j), S_y = 1, else S_j = min(1, n_j / n_y)^p
                max(1, s_j / max(s_y, eps))^q, with x = prediction, s = softmax(x), n the labels
                seen so far (this batch included), at least 1
    Derivative: S_c e^x_c / sum_j S_j e^x_j - [c = y], for S carries no gradient
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        p: how much a rare class is spared by samples of common ones.
        q: how much a class is pushed down that is believed more than the true one.
        eps: the smallest probability of the true class that the comparison takes.
    Reference:  Wang et al., Seesaw Loss for Long-Tailed Instance Segmentation, 2021.
    """
    dim = class_dimension(prediction)
    true = one_hot(target, prediction)
    every_place = [place for place in range(prediction.dim()) if place != dim]
    counted = seen + true.sum(every_place).to(seen.dtype)
    log_counts = torch.log(counted.clamp(min=1.0)).to(prediction.dtype)
    log_s = torch.log_softmax(prediction.detach(), dim)
    smallest = torch.log(torch.zeros_like(log_s) + eps)
    own = torch.maximum(pick(log_s, target).unsqueeze(dim), smallest)
    rarer = along_classes(log_counts, prediction) - log_counts[target].unsqueeze(dim)
    factor = p * rarer.clamp(max=0.0) + q * (log_s - own).clamp(min=0.0)
    changed = prediction + factor * (1 - true)
    return Terms(cross_entropy(changed, target).values, None, {"seen": counted.detach()})


@loss(
    target="index",
    prediction="logits",
    independent=False,
    aliases=("ohem", "ohem_cross_entropy", "hard_example_mining"),
    identities=(Identity("cross_entropy", when={"ratio": 1.0}),),
)
def topk_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    *,
    ratio: Annotated[float, Gt(0), Le(1)] = 0.7,
    k: PositiveInt | None = None,
) -> Terms:
    """Cross entropy of the hardest samples alone.

    Formula:    mean of the K largest -ln p_y, with p = softmax(prediction), K = k, or the whole
                part of ratio times the number of samples, at least 1
    Derivative: (p - [c = y]) / K for the hardest, 0 for the others
    Shapes:     prediction [N, C, ...], target [N, ...] -> [N, ...], 0 for those left out
    Range:      [0, inf)
    Knobs:
        ratio: the share of the samples (or pixels) that is kept.
        k: how many are kept instead; none goes by the ratio.
    Note:       among equals the first are kept.
    Reference:  Shrivastava, Gupta & Girshick, Training Region-Based Object Detectors with Online
                Hard Example Mining, 2016; Wu, Shen & van den Hengel, 2016.
    """
    values = cross_entropy(prediction, target).values
    order = values.detach().flatten().argsort(descending=True, stable=True)
    rank = order.argsort().reshape(values.shape)
    kept = rank < (_share(ratio, values) if k is None else k)
    return Terms(torch.where(kept, values, 0.0), kept.to(values.dtype))


def _share(ratio: Any, values: Tensor) -> Any:
    """Return how many of some values a ratio is, at least 1; 0.7 of 10 is 7 in any precision."""
    wanted = torch.zeros((), device=values.device) + ratio * values.numel()
    return torch.floor(wanted + 1e-4).clamp(min=1.0)
