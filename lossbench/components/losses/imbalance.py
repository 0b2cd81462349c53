"""Yes-or-no losses for rare answers: weights by class, by sign, or by how common a gradient is."""

from typing import Any, Literal

from lossbench.components.declarations import Identity
from lossbench.components.losses._harmony import harmony
from lossbench.components.losses._probabilities import missing, power, surprises
from lossbench.components.vocabulary import (
    Decay,
    NonNegative,
    Positive,
    PositiveInt,
    Probability,
    Terms,
)
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="zero_one",
    prediction="logits",
    independent=False,
    aliases=("class_balanced_cross_entropy",),
    identities=(
        Identity("bce_with_logits", when={"alpha": 0.5}, times=0.5),
        Identity("focal", when={"alpha": 0.25}, knobs={"gamma": 0.0}),
        Identity("focal", when={"alpha": 0.75}, knobs={"alpha": 0.75, "gamma": 0.0}),
    ),
)
def balanced_cross_entropy(
    prediction: Tensor, target: Tensor, *, alpha: Probability | Literal["batch"] = 0.25
) -> Tensor:
    """Cross entropy in which a yes and a no have weights of their own.

    Formula:    -(alpha y ln p + (1 - alpha) (1 - y) ln(1 - p)), with p = sigmoid(prediction)
    Derivative: (1 - alpha) (1 - y) p - alpha y (1 - p)
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: the weight of a yes, against 1 - alpha for a no. `batch` takes the share of the noes
            in the batch, so that both sides weigh the same, as in edge detection.
    Note:       focal with gamma = 0.
    Reference:  Xie & Tu, Holistically-Nested Edge Detection, 2015.
    """
    yes, no = surprises(prediction)
    share = 1 - target.mean() if alpha == "batch" else alpha
    return share * target * yes + (1 - share) * (1 - target) * no


@loss(
    target="zero_one",
    prediction="logits",
    independent=False,
    state={"running_counts": lambda _outputs, *, bins, **_: torch.zeros(bins)},
    aliases=("ghmc", "gradient_harmonized"),
    identities=(Identity("bce_with_logits", when={"bins": 1}),),
)
def ghm_c(
    prediction: Tensor,
    target: Tensor,
    *,
    running_counts: Tensor,
    bins: PositiveInt = 10,
    momentum: Decay = 0.0,
) -> Terms:
    """Cross entropy in which every size of gradient has the same say, however common it is.

    Formula:    w BCE(p, y) with p = sigmoid(prediction); g = |p - y| lies in one of `bins` equal
                bins of [0, 1]; w = total / (count of g's bin * number of bins that are not empty)
    Derivative: w (p - y), for the weights carry no gradient
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1], or below 0 to be ignored ->
                [N, ...]
    Range:      [0, inf)
    Knobs:
        bins: into how many sizes gradients are sorted; detectors take 30.
        momentum: how much of the earlier batches' counts stays in the counts; 0 counts this batch
            alone, detectors take 0.75. Empty bins keep their counts.
    Note:       the mean divides by the number of values that are not ignored. The running counts
                begin at 0, so that with momentum the first weights are 1 / (1 - momentum) too
                large, as in the authors' code.
    Reference:  Li, Liu & Wang, Gradient Harmonized Single-Stage Detector, 2019.
    """
    used = target >= 0
    answer = torch.where(used, target, 0.0)
    size = torch.abs(torch.sigmoid(prediction.detach()) - answer)
    weight, counts = harmony(size, used, running_counts, bins, momentum)
    yes, no = surprises(prediction)
    surprise = answer * yes + (1 - answer) * no
    return Terms(weight * surprise, used.to(prediction.dtype), {"running_counts": counts})


@loss(
    target="zero_one",
    prediction="logits",
    aliases=("asymmetric_multilabel", "asl"),
)
def asymmetric(
    prediction: Tensor,
    target: Tensor,
    *,
    gamma_pos: NonNegative = 1.0,
    gamma_neg: NonNegative = 4.0,
    clip: Probability = 0.05,
    eps: Positive = 1e-8,
) -> Tensor:
    """Focal loss that forgives easy noes faster than easy yeses, and very easy ones at once.

    Formula:    -y (1 - p)^gamma_pos ln p - (1 - y) q^gamma_neg ln(1 - q), with
                p = sigmoid(prediction), q = max(p - clip, 0); logarithms bounded below by ln eps
    Derivative: by p, for y = 1: (1 - p)^(gamma_pos - 1) (gamma_pos ln p - (1 - p) / p)
    Shapes:     prediction [N, ...], target [N, ...] in [0, 1] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        gamma_pos: how fast yeses that are already right fall silent.
        gamma_neg: how fast noes that are already right fall silent.
        clip: noes with a probability below this cost nothing.
        eps: bounds the logarithms; beyond it there is no gradient.
    Note:       the authors sum over the batch instead of taking the mean.
    Reference:  Ridnik et al., Asymmetric Loss for Multi-Label Classification, 2021.
    """
    yes, no = surprises(prediction)
    # ln(1 - q), without the underflow of 1 - p: q is 0 where the no is likely enough.
    log_kept = torch.logaddexp(-no, torch.log(_scalar(clip, prediction))).clamp(max=0.0)
    lowest = torch.log(_scalar(eps, prediction).clamp(min=torch.finfo(prediction.dtype).tiny))
    found = target * power(torch.sigmoid(-prediction), gamma_pos) * torch.maximum(-yes, lowest)
    forgiven = power(missing(log_kept), gamma_neg)
    return -found - (1 - target) * forgiven * torch.maximum(log_kept, lowest)


def _scalar(value: Any, like: Tensor) -> Tensor:
    """Return a number, or a knob that is already a tensor, with the dtype of another tensor."""
    return torch.zeros((), dtype=like.dtype, device=like.device) + value
