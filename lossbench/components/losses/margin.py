"""Losses of the margin m = target * prediction, with targets of -1 and 1.

The margin is positive where the sign is right, and large where it is right by far.
"""

from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

loss.refuse(
    "zero_one",
    "its derivative is 0 almost everywhere, so nothing can be learned from it",
    hint="train on cross_entropy, hinge or logistic, and report zero_one as a metric",
)


@loss(target="plus_minus", prediction="scores")
def hinge(prediction: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Demand a margin, and be content beyond it: only errors and close calls pull.

    Formula:    max(0, margin - m), with m = target * prediction
    Derivative: -target where m < margin, else 0
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: how far on the right side a prediction must be.
    Reference:  Cortes & Vapnik, Support-Vector Networks, 1995.
    """
    return torch.relu(margin - target * prediction)


@loss(target="plus_minus", prediction="scores", largest=80.0)
def exponential(prediction: Tensor, target: Tensor) -> Tensor:
    """Grow exponentially with every error, as AdaBoost does: one outlier outweighs all others.

    Formula:    e^-m, with m = target * prediction
    Derivative: -target e^-m
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Note:       in float32 it is infinite from m = -88.7 on, as no such number exists.
    Reference:  Freund & Schapire, A Decision-Theoretic Generalization of On-Line Learning and an
                Application to Boosting, 1997.
    """
    return torch.exp(-target * prediction)


@loss(
    target="plus_minus",
    prediction="logits",
    kernel="torch.nn.functional.soft_margin_loss",
    aliases=("soft_margin",),
    prefer_formula="torch's kernel overflows to infinity, and its gradient to NaN, below m = -88; "
    "nor has it a batching rule",
)
def logistic(prediction: Tensor, target: Tensor) -> Tensor:
    """Surprise at a sign, in nats: the smooth hinge that every further margin still lowers.

    Formula:    ln(1 + e^-m), with m = target * prediction
    Derivative: -target / (1 + e^m)
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Note:       natural logarithm; some texts divide by ln 2.
    Reference:  Cox, The Regression Analysis of Binary Sequences, 1958.
    """
    margin = target * prediction
    return torch.logaddexp(torch.zeros_like(margin), -margin)


@loss(
    target="plus_minus",
    prediction="positive",
    kernel="torch.nn.functional.hinge_embedding_loss",
)
def hinge_embedding(prediction: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """For a distance: shrink it where things are alike, stretch it to a margin where not.

    Formula:    x where y = 1, max(0, margin - x) where y = -1, with x = prediction
    Derivative: 1 where y = 1; where y = -1: -1 for x <= margin, else 0
    Shapes:     prediction [N, ...] (a distance), target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: the distance beyond which unlike things are far enough apart.
    Reference:  none: handed down from the Lua version of Torch.
    """
    # clamp() rather than relu(): at x = margin torch's derivative is -1.
    apart = torch.clamp(margin - prediction, min=0.0)
    return torch.where(target == 1, prediction, apart)
