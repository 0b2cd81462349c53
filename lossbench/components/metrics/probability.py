"""How good scores and probabilities are, beyond the class that they choose."""

from typing import Literal

from lossbench.components.metrics._shared import double, is_labels, one_per_row
from lossbench.components.vocabulary import PositiveInt
from lossbench.lazy import F, Tensor, torch
from lossbench.registry import metric


@metric(target=("class", "multilabel"), prediction="scores", aliases=("auc", "auroc"))
def roc_auc(prediction: Tensor, target: Tensor) -> Tensor:
    """The chance that a sample of the class scores higher than one of another class.

    Formula: P(s+ > s-) + P(s+ = s-) / 2 over all pairs; s is the log odds of the class,
             s_c - ln sum of e^s_k over k != c. Two classes: of class 1; more: the mean over the
             classes, each against the rest; labels: the mean over them, s being the score
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1]; 1/2 is guessing
    Note:    a class that all samples are of, or none, has no part in the mean; with no class left
             (or a score that is not a number) the result is not a number.
    Reference: Hanley and McNeil, The Meaning and Use of the Area under a Receiver Operating
             Characteristic (ROC) Curve, 1982.
    """
    if is_labels(target):
        truth = double(target) > 0.5
        scores = double(prediction)
    else:
        scores, classes = one_per_row(prediction, target)
        truth = F.one_hot(classes, scores.shape[1]) > 0
        if scores.shape[1] == 2:
            scores, truth = scores[:, 1:] - scores[:, :1], truth[:, 1:]
        else:
            scores = _log_odds(scores)
    areas = [_area(scores[:, c], truth[:, c]) for c in range(scores.shape[1])]
    known = [area for area in areas if area is not None]
    return torch.stack(known).mean() if known else scores.new_tensor(torch.nan)


@metric(target=("class",), prediction="probabilities", lower_is_better=True, vmaps=True)
def brier(prediction: Tensor, target: Tensor, *, scale_by_half: bool = False) -> Tensor:
    """The squared distance of the probabilities from the truth: right, and rightly sure.

    Formula: mean over the samples of sum_c (p_c - [c = y])^2
    Shapes:  prediction [N, C, ...], target [N, ...] -> one number
    Range:   [0, 2], 0 is perfect
    Knobs:
        scale_by_half: half of it, in [0, 1]: for two classes the mean of (p_1 - y)^2.
    Note:    two classes that each have probability 1/2 give 1/2, and ten give 0.9.
    Reference: Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    probabilities, classes = one_per_row(prediction, target)
    distance = probabilities - F.one_hot(classes, probabilities.shape[1])
    return torch.square(distance).sum(dim=1).mean() * (0.5 if scale_by_half else 1.0)


@metric(
    target=("class",),
    prediction="probabilities",
    lower_is_better=True,
    vmaps=True,
    aliases=("ece",),
)
def calibration_error(
    prediction: Tensor, target: Tensor, *, bins: PositiveInt = 15, norm: Literal["l1", "max"] = "l1"
) -> Tensor:
    """How far the confidence is from the share of right answers, bin by bin of confidence.

    Formula: sum over the bins b of n_b / N |accuracy_b - confidence_b|, the confidence being the
             highest probability and bin i of n the interval (i/n, (i+1)/n]
    Shapes:  prediction [N, C, ...], target [N, ...] -> one number
    Range:   [0, 1], 0 is calibrated
    Knobs:
        bins: the number of bins, all of one width.
        norm: l1 for that mean (the expected calibration error), max for the worst bin.
    Note:    it is estimated from bins and depends on their number; a model that answers the
             commonest class with its frequency has 0.
    Reference: Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using
             Bayesian Binning, 2015; Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    probabilities, classes = one_per_row(prediction, target)
    confidence, chosen = probabilities.max(dim=1)
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    place = (confidence[:, None] > edges[1:-1]).sum(dim=1)
    inside = place[:, None] == torch.arange(bins, device=place.device)
    gap = double(chosen == classes) - confidence
    sums = torch.where(inside, gap[:, None], 0.0).sum(dim=0)
    if norm == "max":
        return (sums.abs() / inside.sum(dim=0).clamp(min=1)).max()
    return sums.abs().sum() / len(gap)


def _log_odds(scores: Tensor) -> Tensor:
    """Return the log odds of each class [N, C]: ranked as the softmax is, and never saturated."""
    highest, top = scores.max(dim=1, keepdim=True)
    shifted = scores - highest
    exponentials = shifted.exp()
    # Leaving a class out of the sum by subtraction is safe for all but the highest, which may be
    # nearly all of the sum: its others are summed by themselves.
    others = (exponentials.sum(dim=1, keepdim=True) - exponentials).log()
    beside_top = shifted.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    return shifted - others.scatter(1, top, beside_top)


def _area(scores: Tensor, positive: Tensor) -> Tensor | None:
    """Return the area under the ROC curve from the ranks, equal scores sharing theirs."""
    count = int(positive.sum())
    others = len(positive) - count
    if count == 0 or others == 0:
        return None
    if bool(scores.isnan().any()):
        return scores.new_tensor(torch.nan)
    _, place, size = scores.unique(return_inverse=True, return_counts=True)
    last_rank = double(size.cumsum(0))
    middle_rank = last_rank - (double(size) - 1) / 2
    rank_sum = middle_rank[place][positive].sum()
    return (rank_sum - count * (count + 1) / 2) / (count * others)
