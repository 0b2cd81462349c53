"""Random rotations, uniform over all there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossbench.lazy import np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


def random_rotation(size: int, random: np.random.RandomState) -> Array:
    """Return a rotation [size, size], uniform (by Haar measure), by the subgroup method.

    A uniform rotation of the plane is drawn first. Each further dimension draws a uniform
    direction v, and the reflection that takes the first axis to v carries the smaller rotation,
    which leaves that axis alone, to a uniform one: size (size + 1) / 2 - 2 draws in all.
    Reference: Diaconis & Shahshahani, The Subgroup Algorithm for Generating Uniform Random
               Variables, 1987.
    """
    if size == 1:
        return np.ones((1, 1))
    angle = 2 * np.pi * random.uniform()
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, s], [-s, c]])
    for dimension in range(3, size + 1):
        direction = random.normal(size=dimension)
        direction /= np.linalg.norm(direction)
        mirror = -direction
        mirror[0] += 1.0
        mirror /= np.linalg.norm(mirror)
        larger = np.eye(dimension)
        larger[1:, 1:] = rotation
        rotation = larger - 2 * np.outer(mirror, mirror @ larger)
    # Each reflection changes the sign of the determinant, and so does the sign of an odd size.
    return -rotation
