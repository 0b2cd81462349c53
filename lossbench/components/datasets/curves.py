"""Curves over [-1, 1]: one number in, one number out, so that a fit can be watched.

All of them train on every one of their points, which stand evenly spaced, and validate on the
midpoints between neighbours, which are never trained on. Noise and outliers disturb the training
points only: validation measures the distance to the curve itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from lossbench.components.vocabulary import (
    Data,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    Samples,
    Target,
)
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

AtLeastTwo = Annotated[int, Ge(2)]
"""A number of points that has something between them."""

CURVE = Target("real", 1, ("y",))


@dataset(target=CURVE, inputs=(1,), validation=True)
def cubic(
    seed: int,
    *,
    samples: AtLeastTwo = 500,
    noise: NonNegative = 0.0,
    outliers: Probability = 0.0,
    outlier_size: Positive = 2.0,
) -> Data:
    """The curve x^3: small enough to watch every step of an optimizer.

    Formula: y = x^3 + noise * e, with e standard normal, at evenly spaced points of [-1, 1]
    Shapes:  inputs [N, 1], targets [N, 1]
    Knobs:
        samples: the number of training points; validation has one less, between them.
        noise: the deviation of the error of the training targets.
        outliers: the share of the training targets whose error is an outlier instead.
        outlier_size: the deviation of an outlier's error.
    Note:    with outliers the errors follow the gross-error model, under which the squared error
             is no longer the best loss.
    Reference: Huber, Robust Estimation of a Location Parameter, 1964 (for the outliers).
    """
    return _curve(seed, lambda x: x**3, samples, noise, outliers, outlier_size)


@dataset(target=CURVE, inputs=(1,), validation=True)
def chebyshev(
    seed: int,
    *,
    degree: NonNegativeInt = 5,
    samples: AtLeastTwo = 500,
    noise: NonNegative = 0.0,
    outliers: Probability = 0.0,
    outlier_size: Positive = 2.0,
) -> Data:
    """A Chebyshev polynomial: the same height everywhere, and as many bends as one asks for.

    Formula: T_n(x) = cos(n arccos x), with n = degree; y = T_n(x) + noise * e, with e standard
             normal
    Shapes:  inputs [N, 1], targets [N, 1]
    Range:   [-1, 1] without noise
    Knobs:
        degree: the polynomial's degree; the curve has degree - 1 turning points.
        samples: the number of training points; validation has one less, between them.
        noise: the deviation of the error of the training targets.
        outliers: the share of the training targets whose error is an outlier instead.
        outlier_size: the deviation of an outlier's error.
    """

    def polynomial(x: "Array") -> "Array":
        return np.cos(degree * np.arccos(x))

    return _curve(seed, polynomial, samples, noise, outliers, outlier_size)


@dataset(target=CURVE, inputs=(1,), validation=True)
def sine(
    seed: int,
    *,
    frequency: Positive = 1.0,
    phase: float = 0.0,
    samples: AtLeastTwo = 500,
    noise: NonNegative = 0.0,
    outliers: Probability = 0.0,
    outlier_size: Positive = 2.0,
) -> Data:
    """A sine wave: the higher its frequency, the longer a network needs to learn it.

    Formula: y = sin(2 pi frequency x + phase) + noise * e, with e standard normal
    Shapes:  inputs [N, 1], targets [N, 1]
    Range:   [-1, 1] without noise
    Knobs:
        frequency: periods per unit of x; the interval [-1, 1] holds twice as many.
        phase: the angle at x = 0, in radians.
        samples: the number of training points; validation has one less, between them.
        noise: the deviation of the error of the training targets.
        outliers: the share of the training targets whose error is an outlier instead.
        outlier_size: the deviation of an outlier's error.
    Reference: Rahaman et al., On the Spectral Bias of Neural Networks, 2019.
    """

    def wave(x: "Array") -> "Array":
        return np.sin(2 * np.pi * frequency * x + phase)

    return _curve(seed, wave, samples, noise, outliers, outlier_size)


def _curve(
    seed: int,
    function: "Callable[[Array], Array]",
    samples: int,
    noise: float,
    outliers: float,
    outlier_size: float,
) -> Data:
    """Sample a curve at evenly spaced points, and again between them for validation."""
    random = np.random.default_rng(seed)
    x = np.linspace(-1.0, 1.0, samples)
    # Everything is drawn whatever the knobs are: a larger noise is the same noise, scaled.
    error = noise * random.standard_normal(samples)
    gross = outlier_size * random.standard_normal(samples)
    hit = random.permutation(samples)[: round(outliers * samples)]
    error[hit] = gross[hit]
    between = (x[:-1] + x[1:]) / 2
    return Data(
        target=CURVE,
        train=Samples(x[:, None], (function(x) + error)[:, None]),
        validation=Samples(between[:, None], function(between)[:, None]),
        input_names=("x",),
        standardize=False,
    )
