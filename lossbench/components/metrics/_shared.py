"""What the metrics share: double precision, samples along one axis, and counts per class.

Every metric is shown a whole split at once. Two rules hold for all of them. Sums are taken in
double precision, so that the order of the samples does not show in the first twelve digits. A
score that is not a number is never right: it counts as a wrong answer, and makes a mean not a
number.
"""

from dataclasses import dataclass
from typing import Literal

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch

Average = Literal["macro", "micro", "weighted", "binary"]
"""How the values of the classes become one: their mean, one count over all of them, their mean
weighted by the classes' sizes, or class 1 of two alone."""


def double(values: Tensor) -> Tensor:
    """Return the values in double precision, on the host where the device has none."""
    return (values.cpu() if values.device.type == "mps" else values).detach().double()


def is_labels(target: Tensor) -> bool:
    """Tell a multilabel target (zeros and ones as floats) from class indices."""
    return target.is_floating_point()


def one_per_row(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores [N, C] and classes [N] for scores [N, C, ...] of classes [N, ...]."""
    scores = double(prediction).movedim(1, -1).reshape(-1, prediction.shape[1])
    return scores, target.reshape(-1).to(scores.device)


def chosen_class(scores: Tensor) -> Tensor:
    """Return the class of the highest score, the first of equals; -1 where one is not a number."""
    return torch.where(scores.isnan().any(dim=1), -1, scores.argmax(dim=1))


def chosen_labels(scores: Tensor) -> Tensor:
    """Return which labels [N, L] are present: those whose score is above 0."""
    return scores > 0


def hits(prediction: Tensor, target: Tensor) -> Tensor:
    """Return per sample whether the answer is right; of several labels, all must be."""
    if is_labels(target):
        truth = target.to(torch.bool)
        wrong = (chosen_labels(prediction) != truth) | prediction.isnan()
        return ~wrong.flatten(1).any(dim=1)
    scores, classes = one_per_row(prediction, target)
    return chosen_class(scores) == classes


@dataclass(frozen=True)
class Counts:
    """What was answered, per class or label [C]: right, at all, and how often it is there."""

    right: Tensor
    answered: Tensor
    there: Tensor
    labels: bool

    @classmethod
    def of(cls, prediction: Tensor, target: Tensor) -> "Counts":
        """Count the answers of a whole split."""
        if is_labels(target):
            truth, chosen = double(target), double(chosen_labels(prediction))
            return cls((truth * chosen).sum(0), chosen.sum(0), truth.sum(0), labels=True)
        scores, classes = one_per_row(prediction, target)
        chosen = chosen_class(scores)

        number = torch.arange(scores.shape[1], device=scores.device)

        def count(which: Tensor) -> Tensor:
            # Those whose class is -1 count nowhere. Written so that `vmap` takes it.
            return double((which[:, None] == number).sum(dim=0))

        right = count(torch.where(chosen == classes, chosen, -1))
        return cls(right, count(chosen), count(classes), labels=False)

    def average(self, above: Tensor, below: Tensor, how: Average) -> Tensor:
        """Combine the ratios above / below to one; where `below` is 0, the ratio is 0.

        A class that is neither there nor answered has no part in the macro mean; a label has.
        """
        if how == "micro":
            return _ratio(above.sum(), below.sum())
        values = _ratio(above, below)
        if how == "binary":
            if self.labels or len(values) != 2:
                raise UsageError(
                    f"average 'binary' is for two classes, and there are {len(values)} "
                    f"{'labels' if self.labels else 'classes'}",
                    hint="average: macro, micro or weighted",
                )
            return values[1]
        if how == "weighted":
            return _ratio((values * self.there).sum(), self.there.sum())
        if self.labels:
            return values.mean()
        known = self.there + self.answered > 0
        return torch.where(known, values, 0.0).sum() / known.sum()


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)
