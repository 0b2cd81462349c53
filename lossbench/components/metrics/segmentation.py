"""How far masks overlap: metrics of a class for every pixel, over a whole split.

Pixels of all samples are counted together, so that an image without a class asks nothing of it.
"""

from lossbench.components.metrics._shared import Counts
from lossbench.lazy import Tensor
from lossbench.registry import metric


@metric(target=("class",), prediction="scores", vmaps=True, aliases=("miou", "jaccard_index"))
def mean_iou(prediction: Tensor, target: Tensor, *, background: bool = True) -> Tensor:
    """The mean over the classes of intersection over union: what segmentation is judged by.

    Formula: TP / (TP + FP + FN) per class, counted over all pixels of the split; then the mean
    Shapes:  prediction [N, C, ...], target [N, ...] -> one number
    Range:   [0, 1], 1 is perfect
    Knobs:
        background: whether class 0 has a part in the mean.
    Note:    a class that is neither there nor answered has no part in the mean; where that leaves
             none (empty masks, and rightly so), the result is 1.
    Reference: Everingham et al., The Pascal Visual Object Classes Challenge: A Retrospective, 2015.
    """
    counts = Counts.of(prediction, target)
    return _mean(counts, counts.right, _either(counts) - counts.right, background)


@metric(target=("class",), prediction="scores", vmaps=True)
def dice_score(prediction: Tensor, target: Tensor, *, background: bool = True) -> Tensor:
    """The mean over the classes of the overlap of two masks, counted twice, in their sizes.

    Formula: 2 TP / (2 TP + FP + FN) per class, counted over all pixels of the split; then the mean
    Shapes:  prediction [N, C, ...], target [N, ...] -> one number
    Range:   [0, 1], 1 is perfect
    Knobs:
        background: whether class 0 has a part in the mean.
    Note:    of one class 2 IoU / (1 + IoU); a class that is neither there nor answered has no part
             in the mean; where that leaves none, the result is 1.
    Reference: Dice, Measures of the Amount of Ecologic Association Between Species, 1945.
    """
    counts = Counts.of(prediction, target)
    return _mean(counts, 2 * counts.right, _either(counts), background)


def _either(counts: Counts) -> Tensor:
    """Return TP + FP + TP + FN of each class."""
    return counts.answered + counts.there


def _mean(counts: Counts, above: Tensor, below: Tensor, background: bool) -> Tensor:
    """Return the mean ratio of the classes that are there or were answered."""
    first = 0 if background else 1
    above, below, known = above[first:], below[first:], _either(counts)[first:] > 0
    ratios = above / below.where(known, 1.0)
    return ratios.where(known, 0.0).sum().where(known.any(), 1.0) / known.sum().clamp(min=1)
