"""Drawn shapes: images with a class for every pixel, and volumes with a class for each."""

from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from lossbench.components.vocabulary import (
    Data,
    NonNegative,
    PositiveInt,
    Probability,
    Samples,
    Target,
)
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]

PIXELS = ("background", "circle", "square", "triangle")
SOLIDS = Target("class", 4, ("ball", "cube", "cylinder", "cross"))

Side = Annotated[int, Ge(8), Le(128)]


@dataset(target="class")
def shapes(
    seed: int,
    *,
    samples: PositiveInt = 300,
    size: Side = 32,
    classes: Annotated[int, Ge(2), Le(4)] = 4,
    most: PositiveInt = 3,
    empty: Probability = 0.05,
    color: bool = False,
    noise: NonNegative = 0.3,
) -> Data:
    """Circles, squares and triangles that hide parts of each other: which pixel belongs to what?

    Formula: x = brightness of what lies on top + noise * e, with e standard normal, 0 where nothing
             lies; the class of a pixel is the kind of shape that lies on top there
    Shapes:  inputs [N, 1, size, size] (color: [N, 3, size, size]), targets [N, size, size]
    Knobs:
        samples: the number of images.
        size: the height and width of an image.
        classes: how many kinds of pixel there are: background, circle, square, triangle.
        most: the largest number of shapes in an image; there are 1 to `most`, evenly likely.
        empty: the share of images with nothing in them, whose masks are empty.
        color: give each shape three brightnesses instead of one.
        noise: the deviation of each value's error.
    Note:    brightness, drawn from [0.5, 1.5], tells nothing about the kind: the outline does.
    """
    random = np.random.default_rng(seed)
    channels = 3 if color else 1
    images = np.zeros((samples, channels, size, size))
    masks = np.zeros((samples, size, size), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        if random.random() < empty:
            continue
        for _ in range(random.integers(1, most + 1)):
            kind = int(random.integers(1, classes))
            inside = _outline(PIXELS[kind], size, random)
            mask[inside] = kind
            image[:, inside] = random.uniform(0.5, 1.5, size=(channels, 1))
    images += noise * random.standard_normal(images.shape)
    return Data(
        target=Target("class", classes, PIXELS[:classes]),
        samples=Samples(images, masks),
        standardize=False,  # the values lie near [0, 1] already, and 0 is nothing
    )


def _outline(kind: str, size: int, random: "np.random.Generator") -> "Array":
    """Return which pixels a shape of that kind covers: somewhere, and of some radius."""
    radius = random.uniform(0.15, 0.3) * size
    row, column = random.uniform(0.5 * radius, size - 0.5 * radius, size=2)
    down, right = np.ogrid[0.5 - row : size - row, 0.5 - column : size - column]
    if kind == "circle":
        return np.asarray(down**2 + right**2 <= radius**2)
    if kind == "square":
        return np.asarray(np.maximum(abs(down), abs(right)) <= 0.85 * radius)
    # It stands on its base, and is as wide as high: half the width grows from the tip downwards.
    return np.asarray((abs(down) <= radius) & (abs(right) <= (down + radius) / 2))


@dataset(target=SOLIDS)
def volumes(
    seed: int,
    *,
    samples: Annotated[int, Ge(4)] = 400,
    size: Annotated[int, Ge(8), Le(64)] = 12,
    noise: NonNegative = 0.5,
) -> Data:
    """Solids in a noisy block, as a scanner sees them: ball, cube, cylinder or cross of three bars.

    Formula: x = [inside the solid] + noise * e, with e standard normal
    Shapes:  inputs [N, 1, size, size, size], targets [N]
    Knobs:
        samples: the number of volumes, the classes taking turns.
        size: the depth, height and width of a volume.
        noise: the deviation of each value's error.
    Note:    the solids have one volume at one radius, so that their mass does not tell them apart;
             a cylinder stands along any of the three axes.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % SOLIDS.size
    blocks = noise * random.standard_normal((samples, 1, size, size, size))
    for block, label in zip(blocks, labels, strict=True):
        radius = random.uniform(0.25, 0.36) * size
        centre = random.uniform(1.1 * radius, size - 1.1 * radius, size=3)
        axes = np.ogrid[tuple(slice(0.5 - middle, size - middle) for middle in centre)]
        turned = [axes[axis] for axis in random.permutation(3)]
        block[0][_INSIDE[SOLIDS.names[label]](*turned, radius)] += 1
    return Data(
        target=SOLIDS,
        samples=Samples(blocks, labels),
        standardize=False,
    )


def _ball(x: "Array", y: "Array", z: "Array", radius: float) -> "Array":
    return np.asarray(x**2 + y**2 + z**2 <= radius**2)


def _cube(x: "Array", y: "Array", z: "Array", radius: float) -> "Array":
    # (2 h)^3 is the ball's 4 pi / 3 r^3
    half = (np.pi / 6) ** (1 / 3) * radius
    return np.asarray(np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= half)


def _cylinder(x: "Array", y: "Array", z: "Array", radius: float) -> "Array":
    # as high as wide: 2 pi h^3 is the ball's
    half = (2 / 3) ** (1 / 3) * radius
    return np.asarray((x**2 + y**2 <= half**2) & (abs(z) <= half))


def _cross(x: "Array", y: "Array", z: "Array", radius: float) -> "Array":
    # Bars 2 h wide and 2 k long: 8 h^2 (3 k - 2 h) is the ball's with h = r / 2 and k = 1.031 r
    half, length = radius / 2, (2 * np.pi / 9 + 1 / 3) * radius
    far = [abs(axis) > half for axis in (x, y, z)]
    inside = np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= length
    return np.asarray(inside & (far[0].astype(int) + far[1] + far[2] <= 1))


_INSIDE: "dict[str, Callable[..., Array]]" = {
    "ball": _ball,
    "cube": _cube,
    "cylinder": _cylinder,
    "cross": _cross,
}
