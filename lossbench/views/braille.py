"""A small plot made of braille dots: two by four of them in a character."""

import math
from collections.abc import Sequence

from rich.console import Console

from lossbench.views.console import say

COLUMNS, ROWS = 56, 12

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_EMPTY = 0x2800


def show_plot(
    console: Console, x: Sequence[float], y: Sequence[float], x_label: str, y_label: str
) -> None:
    """Print a curve with the ends of its axes; what is not finite leaves a gap."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return
    left, right = min(a for a, _ in points), max(a for a, _ in points)
    low, high = min(b for _, b in points), max(b for _, b in points)
    cells = [[_EMPTY] * COLUMNS for _ in range(ROWS)]
    for a, b in points:
        column = round(_share(a, left, right) * (2 * COLUMNS - 1))
        row = round((1 - _share(b, low, high)) * (4 * ROWS - 1))
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    ends = {0: _end(high, high - low), ROWS - 1: _end(low, high - low)}
    width = max(len(end) for end in ends.values())
    say(console, y_label, "dim")
    for number, line in enumerate(cells):
        drawn = "".join(chr(cell) for cell in line)
        say(console, f"{ends.get(number, ''):>{width}} {drawn}")
    begin, end = f"{left:.4g}", f"{right:.4g}"
    middle = x_label.center(COLUMNS - len(begin) - len(end))
    say(console, f"{'':{width}} {begin}{middle}{end}", "dim")


def _end(value: float, reach: float) -> str:
    """Return the number at an end of an axis; what is nothing beside its length is 0."""
    return "0" if abs(value) < 1e-9 * reach else f"{value:.4g}"


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5
