"""How often the answer is right: metrics of the class that was chosen.

The class with the highest score is chosen, the first of equals; of labels, each whose score is
above 0. Predictions are scores [N, C] of classes [N], with further dimensions for one answer per
place ([N, C, H, W] of [N, H, W]), or scores [N, L] of labels [N, L].
"""

from lossbench.components.metrics._shared import (
    Average,
    Counts,
    double,
    hits,
    one_per_row,
)
from lossbench.components.vocabulary import PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import metric


@metric(target=("class", "multilabel"), prediction="scores", vmaps=True)
def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """The share of right answers.

    Formula: mean of [chosen = y]; of several labels, all must be right (subset accuracy)
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1], 1 is perfect
    """
    return double(hits(prediction, target)).mean()


@metric(
    target=("class", "multilabel"),
    prediction="scores",
    lower_is_better=True,
    vmaps=True,
    aliases=("error_rate",),
)
def zero_one(prediction: Tensor, target: Tensor) -> Tensor:
    """The share of wrong answers: the loss that everybody means and nobody can train on.

    Formula: mean of [chosen != y] = 1 - accuracy
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1], 0 is perfect
    Note:    its derivative is 0 almost everywhere, so it is reported and never trained on.
    """
    return double(~hits(prediction, target)).mean()


@metric(target=("class",), prediction="scores", vmaps=True, aliases=("top_k",))
def top_k_accuracy(prediction: Tensor, target: Tensor, *, k: PositiveInt = 5) -> Tensor:
    """The share of samples whose class is among the k with the highest scores.

    Formula: mean of [number of classes ranked before y < k]; of equal scores, the class with the
             lower number ranks first
    Shapes:  prediction [N, C, ...], target [N, ...] -> one number
    Range:   [0, 1], 1 is perfect; k = 1 is accuracy
    Knobs:
        k: how many answers count.
    Errors:  k must be below the number of classes: with all of them, every answer is right.
    """
    scores, classes = one_per_row(prediction, target)
    size = scores.shape[1]
    if k >= size:
        raise UsageError(
            f"top_k_accuracy with k={k} is 1 for any answer: the data have {size} classes",
            hint=f"k is 1 to {size - 1} here" if size > 2 else "take accuracy",
        )
    own = scores.gather(1, classes[:, None])
    # Written with "not below or equal", so that a score that is not a number ranks first and an
    # own score that is none ranks last.
    before = ~(scores <= own)
    number = torch.arange(size, device=scores.device)
    equal = (scores == own) & (number < classes[:, None])
    return double((before | equal).sum(dim=1) < k).mean()


@metric(target=("class", "multilabel"), prediction="scores", vmaps=True)
def precision(prediction: Tensor, target: Tensor, *, average: Average = "macro") -> Tensor:
    """How many of the answers "it is this class" are right.

    Formula: TP / (TP + FP) per class, then the average
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1], 1 is perfect
    Knobs:
        average: macro (mean over the classes), weighted (by their sizes), micro (one count over
            all of them; for classes, accuracy), or binary (class 1 of two).
    Note:    0 for a class that is never answered; a class that is neither there nor answered has
             no part in the mean.
    Reference: van Rijsbergen, Information Retrieval, 1979.
    """
    counts = Counts.of(prediction, target)
    return counts.average(counts.right, counts.answered, average)


@metric(target=("class", "multilabel"), prediction="scores", vmaps=True)
def recall(prediction: Tensor, target: Tensor, *, average: Average = "macro") -> Tensor:
    """How many of the samples of a class are found.

    Formula: TP / (TP + FN) per class, then the average
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1], 1 is perfect
    Knobs:
        average: macro (mean over the classes), weighted (by their sizes; for classes, accuracy),
            micro (one count over all of them; for classes, accuracy), or binary (class 1 of two).
    Note:    0 for a class that is answered and never there; a class that is neither has no part
             in the mean.
    Reference: van Rijsbergen, Information Retrieval, 1979.
    """
    counts = Counts.of(prediction, target)
    return counts.average(counts.right, counts.there, average)


@metric(target=("class", "multilabel"), prediction="scores", vmaps=True, aliases=("f1_score",))
def f1(prediction: Tensor, target: Tensor, *, average: Average = "macro") -> Tensor:
    """The harmonic mean of precision and recall.

    Formula: 2 TP / (2 TP + FP + FN) per class, then the average
    Shapes:  prediction [N, C, ...], target [N, ...]; or both [N, L] -> one number
    Range:   [0, 1], 1 is perfect
    Knobs:
        average: macro (mean over the classes), weighted (by their sizes), micro (one count over
            all of them; for classes, accuracy), or binary (class 1 of two).
    Note:    a class that is neither there nor answered has no part in the mean; a label that is
             neither counts as 0.
    Reference: van Rijsbergen, Information Retrieval, 1979.
    """
    counts = Counts.of(prediction, target)
    return counts.average(2 * counts.right, counts.answered + counts.there, average)
