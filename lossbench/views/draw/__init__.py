"""Figure data into PNG, SVG or PDF: the only package that imports matplotlib.

The same Figure gives the same bytes: no date, no random identifiers.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from lossbench.errors import UsageError, suggest
from lossbench.views.draw.legend import head, legend_below, shorten
from lossbench.views.draw.panels import draw_panel
from lossbench.views.draw.style import DASHES, PALETTE, STYLE
from lossbench.views.shapes import Figure, Panel

__all__ = ["DASHES", "FORMATS", "PALETTE", "encode", "format_of", "render", "shorten"]

FORMATS = ("png", "svg", "pdf")

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.5
LONE_WIDTH, LONE_HEIGHT = 4.6, 3.0
SMALL_WIDTH, SMALL_HEIGHT = 2.2, 1.7
LANDSCAPE_HEIGHT = 3.2
ROW_HEIGHT, ROWS_MARGIN = 0.3, 0.75

METADATA: Mapping[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "lossbench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "lossbench", "Producer": None},
}


def format_of(path: Path) -> str:
    """Return the format that a file's ending names.

    Raises UsageError naming the formats there are.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        given = f"'.{ending}'" if ending else "a name without ending"
        raise UsageError(f"{path}: {given} names no picture format", hint=suggest(ending, FORMATS))
    return ending


def encode(figure: Figure, ending: str) -> bytes:
    """Return the content of a picture file in one of FORMATS."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        render(figure).savefig(buffer, format=ending, metadata=METADATA[ending])
    return buffer.getvalue()


def render(figure: Figure) -> Canvas:
    """Return matplotlib's figure, drawn and not yet saved."""
    with matplotlib.rc_context(STYLE):
        columns, rows = _grid(figure)
        lone = len(figure.panels) == 1
        width = LONE_WIDTH if lone else columns * PANEL_WIDTH
        height = rows * max(_height(panel, lone=lone) for panel in figure.panels)
        if figure.columns is not None:
            width, height = columns * SMALL_WIDTH, rows * SMALL_HEIGHT
        canvas = Canvas(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(canvas)
        grid = canvas.add_gridspec(rows, columns)
        place = 0
        for number, panel in enumerate(figure.panels):
            wide = number == 0 and _wide_first(figure)
            row, column = divmod(place, columns)
            axes = canvas.add_subplot(grid[row, :] if wide else grid[row, column])
            place += columns if wide else 1
            draw_panel(axes, panel)
        more = head(canvas, figure) + legend_below(canvas, width)
        canvas.set_size_inches(width, height + more)
        return canvas


def _height(panel: Panel, *, lone: bool) -> float:
    """Return the height that suits a panel: rows with names take as much as they need."""
    if panel.rows:
        return max(1.2, ROWS_MARGIN + ROW_HEIGHT * len(panel.rows))
    if panel.contours is not None:
        return LONE_HEIGHT * 1.25 if lone else LANDSCAPE_HEIGHT
    return LONE_HEIGHT if lone else PANEL_HEIGHT


def _grid(figure: Figure) -> tuple[int, int]:
    """Return columns and rows: two panels side by side at most, as on a printed page."""
    count = len(figure.panels)
    if figure.columns is not None:
        return figure.columns, -(-count // figure.columns)
    columns = min(count, 2)
    return columns, -(-(count + _wide_first(figure)) // columns)


def _wide_first(figure: Figure) -> bool:
    """Tell whether the first panel has a row of its own, so that no place stays empty."""
    return figure.columns is None and len(figure.panels) > 1 and len(figure.panels) % 2 == 1
