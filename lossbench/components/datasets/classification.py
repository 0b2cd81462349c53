"""Points of the plane (and beyond) in two or more classes that no straight line separates."""

import math
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from lossbench.components.vocabulary import (
    Data,
    NonNegative,
    Positive,
    PositiveInt,
    Samples,
    Target,
)
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

MOONS = Target("class", 2, ("upper", "lower"))
CIRCLES = Target("class", 2, ("outer", "inner"))
PARITY = Target("class", 2, ("even", "odd"))

AtLeastTwo = Annotated[int, Ge(2)]


@dataset(target=MOONS, inputs=(2,))
def moons(seed: int, *, samples: AtLeastTwo = 500, noise: NonNegative = 0.2) -> Data:
    """Two half circles that reach into each other.

    Formula: upper (cos t, sin t), lower (1 - cos t, 1/2 - sin t), t evenly spaced in [0, pi];
             plus noise * e, with e standard normal
    Shapes:  inputs [N, 2], targets [N]
    Knobs:
        samples: the number of points, half of them in each class.
        noise: the deviation of each coordinate's error.
    Reference: Pedregosa et al., Scikit-learn: Machine Learning in Python, 2011.
    """
    upper, lower = (np.linspace(0.0, np.pi, count) for count in _shares(samples, 2))
    x = np.concatenate(
        [
            np.stack([np.cos(upper), np.sin(upper)], axis=1),
            np.stack([1 - np.cos(lower), 0.5 - np.sin(lower)], axis=1),
        ]
    )
    return _plane(seed, MOONS, x, noise)


@dataset(target=CIRCLES, inputs=(2,))
def circles(
    seed: int,
    *,
    samples: AtLeastTwo = 500,
    noise: NonNegative = 0.1,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.5,
) -> Data:
    """A circle inside a circle: no line separates them, the distance from the centre does.

    Formula: outer (cos t, sin t), inner factor (cos t, sin t), t evenly spaced in [0, 2 pi);
             plus noise * e, with e standard normal
    Shapes:  inputs [N, 2], targets [N]
    Knobs:
        samples: the number of points, half of them in each class.
        noise: the deviation of each coordinate's error.
        factor: the radius of the inner circle.
    Reference: Pedregosa et al., Scikit-learn: Machine Learning in Python, 2011.
    """
    x = np.concatenate(
        [
            radius * _on_circle(np.linspace(0.0, 2 * np.pi, count, endpoint=False))
            for radius, count in zip((1.0, factor), _shares(samples, 2), strict=True)
        ]
    )
    return _plane(seed, CIRCLES, x, noise)


@dataset(target="class", inputs=(2,))
def spirals(
    seed: int,
    *,
    samples: AtLeastTwo = 600,
    classes: AtLeastTwo = 2,
    turns: Positive = 1.5,
    noise: NonNegative = 0.02,
) -> Data:
    """Arms wound around each other: a boundary that needs depth or many units.

    Formula: arm k of K: r (cos a, sin a), with a = 2 pi (turns r + k / K), r evenly spaced in
             (0, 1]; plus noise * e, with e standard normal
    Shapes:  inputs [N, 2], targets [N]
    Knobs:
        samples: the number of points, shared evenly by the arms.
        classes: the number of arms.
        turns: how often an arm winds around the origin.
        noise: the deviation of each coordinate's error.
    Reference: Lang and Witbrock, Learning to Tell Two Spirals Apart, 1988.
    """
    arms = []
    for arm, count in enumerate(_shares(samples, classes)):
        radius = np.arange(1, count + 1) / count
        arms.append(radius[:, None] * _on_circle(2 * np.pi * (turns * radius + arm / classes)))
    target = Target("class", classes, tuple(f"arm {arm + 1}" for arm in range(classes)))
    return _plane(seed, target, np.concatenate(arms), noise)


@dataset(target="class")
def blobs(
    seed: int,
    *,
    samples: AtLeastTwo = 500,
    classes: AtLeastTwo = 3,
    features: PositiveInt = 2,
    spread: NonNegative = 1.0,
    box: Positive = 10.0,
) -> Data:
    """Round clouds at random places: the simplest classification there is.

    Formula: centre of class k uniform in [-box, box]^features; x = centre + spread * e, with e
             standard normal
    Shapes:  inputs [N, features], targets [N]
    Knobs:
        samples: the number of points, shared evenly by the classes.
        classes: the number of clouds.
        features: the number of coordinates.
        spread: the deviation of a cloud in each direction.
        box: how far from the origin the centres lie, in each coordinate.
    Note:    where the clouds lie, and whether they overlap, is a matter of the seed.
    """
    random = np.random.default_rng(seed)
    centres = random.uniform(-box, box, size=(classes, features))
    labels = _labels(samples, classes)
    x = centres[labels] + spread * random.standard_normal((samples, features))
    return Data(
        target=Target("class", classes, tuple(f"blob {k + 1}" for k in range(classes))),
        samples=Samples(x, labels),
        input_names=_coordinates(features),
    )


@dataset(target=PARITY)
def xor(
    seed: int,
    *,
    samples: AtLeastTwo = 500,
    features: Annotated[int, Ge(2), Le(16)] = 2,
    noise: NonNegative = 0.3,
) -> Data:
    """Exclusive or: the class says whether an odd number of coordinates is positive.

    Formula: x = corner + noise * e, with e standard normal, corner in {-1, 1}^features;
             y = (number of ones in the corner) mod 2
    Shapes:  inputs [N, features], targets [N]
    Knobs:
        samples: the number of points, shared evenly by the corners.
        features: the number of coordinates; more than two make the parity problem.
        noise: the deviation of each coordinate's error; 0 leaves the corners themselves.
    Note:    the best classifier takes the signs; it errs where an odd number of coordinates has
             crossed zero, which is the floor of zero_one.
    Reference: Minsky and Papert, Perceptrons, 1969.
    """
    random = np.random.default_rng(seed)
    corner = np.arange(samples) % 2**features
    bits = (corner[:, None] >> np.arange(features)) & 1
    x = 2.0 * bits - 1.0 + noise * random.standard_normal((samples, features))
    crossing = 0.5 * math.erfc(1 / (noise * math.sqrt(2))) if noise > 0 else 0.0
    error = (1 - (1 - 2 * crossing) ** features) / 2
    return Data(
        target=PARITY,
        samples=Samples(x, (bits.sum(axis=1) % 2).astype(np.int64)),
        input_names=_coordinates(features),
        standardize=False,
        floor={"zero_one": error},
    )


def _plane(seed: int, target: Target, x: "Array", noise: float) -> Data:
    """Disturb points of the plane that stand class by class."""
    x = x + noise * np.random.default_rng(seed).standard_normal(x.shape)
    return Data(
        target=target,
        samples=Samples(x, _labels(len(x), target.size)),
        input_names=_coordinates(2),
        standardize=False,  # the coordinates lie near [-1, 1] already, and pictures show them
    )


def _shares(samples: int, classes: int) -> list[int]:
    """Share the samples out evenly, the first classes getting one more where it does not divide."""
    return [(samples + classes - 1 - k) // classes for k in range(classes)]


def _labels(samples: int, classes: int) -> "Array":
    """Label samples that stand class by class."""
    return np.repeat(np.arange(classes, dtype=np.int64), _shares(samples, classes))


def _on_circle(angle: "Array") -> "Array":
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _coordinates(features: int) -> tuple[str, ...]:
    return tuple(f"x{i + 1}" for i in range(features))
