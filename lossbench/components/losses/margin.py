"""Losses of the margin m = target * prediction, with targets of -1 and 1.

The margin is positive where the sign is right, and large where it is right by far.
"""

from lossbench.components.declarations import Identity
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss

loss.refuse(
    "zero_one",
    "its derivative is 0 almost everywhere, so nothing can be learned from it",
    hint="train on cross_entropy, hinge or logistic, and report zero_one as a metric",
)


@loss(
    target="plus_minus",
    prediction="scores",
    derivative=lambda prediction, target, *, margin: torch.where(
        target * prediction < margin, -target, 0.0
    ),
    identities=(Identity("perceptron", when={"margin": 0.0}),),
)
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


@loss(
    target="plus_minus",
    prediction="scores",
    aliases=("l2_svm",),
    derivative=lambda prediction, target, *, margin: (
        -2 * target * torch.relu(margin - target * prediction)
    ),
)
def squared_hinge(prediction: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Hinge, squared: smooth where the margin is reached, and harder on large errors.

    Formula:    max(0, margin - m)^2, with m = target * prediction
    Derivative: -2 target max(0, margin - m)
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Knobs:
        margin: how far on the right side a prediction must be.
    Reference:  Lee & Mangasarian, SSVM: A Smooth Support Vector Machine for Classification, 2001.
    """
    return torch.square(torch.relu(margin - target * prediction))


@loss(
    target="plus_minus",
    prediction="scores",
    derivative=lambda prediction, target: torch.where(
        target * prediction >= -1, -2 * target * torch.relu(1 - target * prediction), -4 * target
    ),
)
def modified_huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared hinge that turns into a straight line where a prediction is wrong by far.

    Formula:    max(0, 1 - m)^2 where m >= -1, else -4 m, with m = target * prediction
    Derivative: -2 target max(0, 1 - m) where m >= -1, else -4 target
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Reference:  Zhang, Solving Large Scale Linear Prediction Problems Using Stochastic Gradient
                Descent Algorithms, 2004.
    """
    margin = target * prediction
    return torch.where(margin >= -1, torch.square(torch.relu(1 - margin)), -4 * margin)


@loss(
    target="plus_minus",
    prediction="scores",
    derivative=lambda prediction, target: torch.where(target * prediction < 0, -target, 0.0),
    identities=(Identity("hinge", knobs={"margin": 0.0}),),
)
def perceptron(prediction: Tensor, target: Tensor) -> Tensor:
    """Only errors cost, by how far they are on the wrong side: to be right by a hair is enough.

    Formula:    max(0, -m), with m = target * prediction
    Derivative: -target where m < 0, else 0
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Note:       hinge with a margin of 0. A network that always says 0 pays nothing either.
    Reference:  Rosenblatt, The Perceptron: A Probabilistic Model for Information Storage and
                Organization in the Brain, 1958.
    """
    return torch.relu(-target * prediction)


@loss(
    target="plus_minus",
    prediction="scores",
    aliases=("binary_sparsemax",),
    derivative=lambda prediction, target: (
        -target * torch.clamp(1 - target * prediction, min=0, max=2) / 2
    ),
)
def sparsemax(prediction: Tensor, target: Tensor) -> Tensor:
    """Hinge with a rounded corner: a parabola between the margins -1 and 1.

    Formula:    0 where m >= 1, (1 - m)^2 / 4 where -1 < m < 1, -m where m <= -1,
                with m = target * prediction
    Derivative: -target clip((1 - m) / 2, 0, 1)
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, inf)
    Note:       what the logistic loss is to softmax, this one is to sparsemax: of two classes.
    Reference:  Martins & Astudillo, From Softmax to Sparsemax, 2016.
    """
    margin = target * prediction
    inner = torch.clamp(margin, -1, 1)  # at its ends the slopes of both sides are the same
    return torch.square(1 - inner) / 4 + torch.relu(-1 - margin)


@loss(
    target="plus_minus",
    prediction="logits",
    derivative=lambda prediction, target: (
        -2
        * target
        * torch.square(torch.sigmoid(-target * prediction))
        * torch.sigmoid(target * prediction)
    ),
)
def savage(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared chance of the wrong sign: bounded, so a hopeless sample is given up.

    Formula:    1 / (1 + e^m)^2, with m = target * prediction
    Derivative: -2 target s^2 (1 - s), with s = 1 / (1 + e^m)
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, 1]
    Note:       the paper has 2 m for m.
    Reference:  Masnadi-Shirazi & Vasconcelos, On the Design of Loss Functions for Classification:
                Theory, Robustness to Outliers, and SavageBoost, 2008.
    """
    return torch.square(torch.sigmoid(-target * prediction))


@loss(
    target="plus_minus",
    prediction="scores",
    derivative=lambda prediction, target: (
        4 * target * (2 * torch.atan(target * prediction) - 1) / (1 + torch.square(prediction))
    ),
)
def tangent(prediction: Tensor, target: Tensor) -> Tensor:
    """Bounded on both sides: outliers are given up, and being right by too far costs as well.

    Formula:    (2 atan(m) - 1)^2, with m = target * prediction
    Derivative: 4 target (2 atan(m) - 1) / (1 + m^2)
    Shapes:     prediction [N, ...], target [N, ...] in {-1, 1} -> [N, ...]
    Range:      [0, 17.1529)
    Note:       the upper end is (1 + pi)^2; the best margin is tan(1 / 2) = 0.5463.
    Reference:  Masnadi-Shirazi, Mahadevan & Vasconcelos, On the Design of Robust Classifiers for
                Computer Vision, 2010.
    """
    return torch.square(2 * torch.atan(target * prediction) - 1)


@loss(
    target="plus_minus",
    prediction="scores",
    largest=80.0,
    derivative=lambda prediction, target: -target * torch.exp(-target * prediction),
)
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
    derivative=lambda prediction, target: -target * torch.sigmoid(-target * prediction),
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
    derivative=lambda prediction, target, *, margin: torch.where(
        target == 1, 1.0, -1.0 * (prediction <= margin)
    ),
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
