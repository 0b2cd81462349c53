"""Paths of optimizers over the contours of a problem, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.paths import Path, contour_levels
from lossbench.views.shapes import Contours, Dots, Figure, Line, Panel


@dataclass(frozen=True, eq=False)
class Walk:
    """What is drawn of one problem: its landscape on a grid, its minima, and the paths."""

    problem: str
    x: Any
    y: Any
    heights: Any
    minima: Any
    paths: Sequence[Path]


def paths_figure(
    name: str, walks: Sequence[Walk], hues: Mapping[str, int], seeds: tuple[int, int]
) -> Figure:
    """Draw the walks, a panel each; `seeds` are how many are shown, and of how many."""
    panels = tuple(_panel(walk, hues, titled=len(walks) > 1) for walk in walks)
    shown, count = seeds
    if shown >= count:
        which = "one seed" if count == 1 else f"{count} seeds"
    else:
        which = f"the first {f'{shown} ' if shown > 1 else ''}of {count} seeds"
    note = f"{which}; a filled marker ends a path; lines of equal height, darker is higher"
    return Figure(panels, title=name, note=note)


def _panel(walk: Walk, hues: Mapping[str, int], *, titled: bool) -> Panel:
    lines = [
        Line(_floats(path.x), _floats(path.y), path.contender, hues[path.contender], "path")
        for path in walk.paths
    ]
    begun = dict.fromkeys((float(p.x[0]), float(p.y[0])) for p in walk.paths if len(p.x))
    dots = [
        Dots((float(path.x[-1]),), (float(path.y[-1]),), "end", "", hues[path.contender])
        for path in walk.paths
        if len(path.x)
    ]
    dots.append(Dots(tuple(x for x, _ in begun), tuple(y for _, y in begun), "start", "start"))
    inside = [(float(x), float(y)) for x, y in walk.minima if _within(walk, x, y)]
    if inside:
        dots.append(
            Dots(tuple(x for x, _ in inside), tuple(y for _, y in inside), "minimum", "minimum")
        )
    heights = tuple(_floats(row) for row in walk.heights)
    return Panel(
        "first coordinate",
        "second coordinate",
        tuple(lines),
        title=walk.problem if titled else "",
        dots=tuple(dots),
        contours=Contours(_floats(walk.x), _floats(walk.y), heights, contour_levels(walk.heights)),
        whole_x=False,
    )


def _within(walk: Walk, x: float, y: float) -> bool:
    return bool(walk.x[0] <= x <= walk.x[-1] and walk.y[0] <= y <= walk.y[-1])


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
