"""Functions of two numbers whose minima are known, so that an optimizer's path can be judged.

Each is a formula of x and y in plain tensor operations, beside the facts that make it a problem:
where its minima lie, how low they are, and the box in which one customarily starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lossbench.lazy import Tensor, torch

Interval = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Surface:
    """A function of (x, y) with all its global minima, their value, and the box to start in."""

    formula: Callable[[Tensor, Tensor], Tensor]
    minima: tuple[Point, ...]
    lowest: float
    box: tuple[Interval, Interval]


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    """A flat curved valley between steep walls (Rosenbrock, 1960)."""
    return torch.square(1 - x) + 100 * torch.square(y - x * x)


def beale(x: Tensor, y: Tensor) -> Tensor:
    """A plateau with steep rims (Beale, 1958)."""
    y2 = y * y
    return (
        torch.square(1.5 - x + x * y)
        + torch.square(2.25 - x + x * y2)
        + torch.square(2.625 - x + x * y2 * y)
    )


def himmelblau(x: Tensor, y: Tensor) -> Tensor:
    """Four equal minima around a hill (Himmelblau, 1972)."""
    return torch.square(x * x + y - 11) + torch.square(x + y * y - 7)


def branin(x: Tensor, y: Tensor) -> Tensor:
    """Three equal minima in a long bent trough (Branin, 1972)."""
    bend = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return torch.square(bend) + 10 * (1 - 1 / (8 * math.pi)) * torch.cos(x) + 10


def rastrigin(x: Tensor, y: Tensor) -> Tensor:
    """A bowl with a regular grid of local minima (Rastrigin, 1974)."""
    waves = torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)
    return 20 + x * x + y * y - 10 * waves


def ackley(x: Tensor, y: Tensor) -> Tensor:
    """A nearly flat, rippled plain with a deep funnel, which ends in a tip (Ackley, 1987)."""
    # At the tip the root has no derivative: 0 is the one of its subgradients that is wanted.
    square = (x * x + y * y) / 2
    radius = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
    waves = (torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)) / 2
    return 20 + math.e - 20 * torch.exp(-0.2 * radius) - torch.exp(waves)


def booth(x: Tensor, y: Tensor) -> Tensor:
    """A bowl, slightly stretched along a diagonal: a quadratic of condition number 9."""
    return torch.square(x + 2 * y - 7) + torch.square(2 * x + y - 5)


def saddle(x: Tensor, y: Tensor) -> Tensor:
    """A saddle at (0, 0) between two minima: who starts at y = 0 never leaves it (Nesterov)."""
    y2 = y * y
    return (x * x - y2) / 2 + y2 * y2 / 4


def ravine(x: Tensor, y: Tensor) -> Tensor:
    """A straight valley, a hundred times as steep across as along: momentum's own ground."""
    return (x * x + 100 * y * y) / 2


SURFACES: Mapping[str, Surface] = {
    "rosenbrock": Surface(rosenbrock, ((1.0, 1.0),), 0.0, ((-2.0, 2.0), (-1.0, 3.0))),
    "beale": Surface(beale, ((3.0, 0.5),), 0.0, ((-4.5, 4.5), (-4.5, 4.5))),
    "himmelblau": Surface(
        himmelblau,
        (
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
        0.0,
        ((-6.0, 6.0), (-6.0, 6.0)),
    ),
    "branin": Surface(
        branin,
        tuple((math.pi * (2 * k - 1), y) for k, y in enumerate((12.275, 2.275, 2.475))),
        10 / (8 * math.pi),
        ((-5.0, 10.0), (0.0, 15.0)),
    ),
    "rastrigin": Surface(rastrigin, ((0.0, 0.0),), 0.0, ((-5.12, 5.12), (-5.12, 5.12))),
    "ackley": Surface(ackley, ((0.0, 0.0),), 0.0, ((-5.0, 5.0), (-5.0, 5.0))),
    "booth": Surface(booth, ((1.0, 3.0),), 0.0, ((-10.0, 10.0), (-10.0, 10.0))),
    "saddle": Surface(saddle, ((0.0, 1.0), (0.0, -1.0)), -0.25, ((-2.0, 2.0), (-2.0, 2.0))),
    "ravine": Surface(ravine, ((0.0, 0.0),), 0.0, ((-10.0, 10.0), (-10.0, 10.0))),
}
