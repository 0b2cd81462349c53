"""What a picture is made of: numbers and words, without how they are drawn.

A Figure is plain data; `draw` turns it into a PNG, SVG or PDF. What a test wants to know of a
picture it reads here.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["raw", "trend", "evaluations", "path", "steps"]
"""How a line is meant: single batches (light, behind), their course, measured points, a walk over a
landscape, or a staircase that keeps its height until the next point."""

Symbol = Literal["seed", "tried", "choice", "default", "lost", "start", "end", "minimum"]
"""What a point stands for: one seed, a seed of the search (light), a tuned choice, a
default, a value that is infinitely bad (drawn at the edge), the beginning or end of a path, a known
minimum."""


@dataclass(frozen=True)
class Line:
    """A curve. `hue` numbers what it belongs to: the same number has the same colour and dashes."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    label: str = ""
    hue: int = 0
    role: Role = "trend"


@dataclass(frozen=True)
class Band:
    """The area between two curves, such as an interval; infinite is the edge of the panel."""

    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    label: str = ""
    hue: int = 0


@dataclass(frozen=True)
class Mark:
    """One point that matters, ringed; with `upright`, a thin line through it says where on x."""

    x: float
    y: float
    label: str = ""
    hue: int = 0
    upright: bool = False


@dataclass(frozen=True)
class Dots:
    """Points that no line joins. Those that are `lost` have an x only: they lie at the edge."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    symbol: Symbol = "seed"
    label: str = ""
    hue: int = 0


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval along x, at a height y."""

    y: float
    estimate: float
    low: float
    high: float
    hue: int = 0


@dataclass(frozen=True)
class Level:
    """A value that matters all along a panel, such as the floor of a problem."""

    value: float
    label: str = ""
    upright: bool = False


@dataclass(frozen=True)
class Contours:
    """A landscape: values[row][column] at (x[column], y[row]), and the heights of its lines."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Cells:
    """A matrix as cells, each with its number: values[row][column], the first row on top."""

    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    rows:  names along y in place of numbers: the first is at 0, on top.
    limits: ends of the y axis, where what lies beyond them must not squeeze the rest.
    """

    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    title: str = ""
    log_y: bool = False
    whole_x: bool = True
    log_x: bool = False
    dots: tuple[Dots, ...] = ()
    intervals: tuple[Interval, ...] = ()
    levels: tuple[Level, ...] = ()
    contours: Contours | None = None
    cells: Cells | None = None
    rows: tuple[str, ...] = ()
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Figure:
    """A picture: its panels in reading order; one legend serves all of them.

    `columns` small panels stand beside one another in a gallery; else two at most.
    """

    panels: tuple[Panel, ...]
    title: str = ""
    note: str = ""
    columns: int | None = None
