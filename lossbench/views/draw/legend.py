"""What stands around the panels: the title and the note above, one legend below."""

import textwrap
from typing import Any

from matplotlib.figure import Figure as Canvas

from lossbench.views.shapes import Figure

CHARACTERS_PER_INCH = 15.0
LEGEND_SAMPLE_INCHES = 0.55
LINE_HEIGHT = 0.16


def head(canvas: Canvas, figure: Figure) -> float:
    """Write the title, and below it the note, above the panels; return the height it takes."""
    width = int(canvas.get_figwidth() * CHARACTERS_PER_INCH)
    lines = [shorten(figure.title, width)] if figure.title else []
    lines += textwrap.wrap(figure.note, width)
    if not lines:
        return 0.0
    canvas.suptitle("\n".join(lines), x=0.012, ha="left", linespacing=1.4)
    return LINE_HEIGHT * len(lines)


def legend_below(canvas: Canvas, width: float) -> float:
    """Put one legend below all panels, where it covers no curve; return the height it takes."""
    found: dict[str, Any] = {}
    order: dict[str, None] = {}
    for axes in canvas.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            order[label] = None
            # A line with markers says more than the same line without: the later panel's wins.
            found[label] = handle
    if len(order) < 2:
        return 0.0
    widest = int((width - 2 * LEGEND_SAMPLE_INCHES) * CHARACTERS_PER_INCH)
    shown = [shorten(label, widest) for label in order]
    entry = max(len(label) for label in shown) / CHARACTERS_PER_INCH + LEGEND_SAMPLE_INCHES
    columns = max(1, min(len(shown), int(width / entry)))
    rows = -(-len(shown) // columns)
    canvas.legend(
        [found[label] for label in order],
        shown,
        loc="outside lower center",
        ncols=-(-len(shown) // rows),  # as few as these rows need: full columns, no lone last entry
    )
    return LINE_HEIGHT * rows


def shorten(text: str, width: int) -> str:
    """Cut a text in its middle where it is too long: names tend to differ at the ends."""
    if len(text) <= width:
        return text
    begin = (width - 1) * 2 // 3
    return f"{text[:begin]}…{text[len(text) - (width - 1 - begin) :]}"
