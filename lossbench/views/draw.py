"""Figure data into PNG, SVG or PDF: the only file that imports matplotlib.

The same Figure gives the same bytes: no date, no random identifiers. Colours are those of Okabe
and Ito (readable with any colour vision); line patterns and markers differ as well, so a picture
printed in grey says the same. Sizes are in inches of paper: text is 8 points high at the width at
which the picture stands in a two-column paper or across a page.
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lossbench.errors import UsageError, suggest
from lossbench.views.figures import Figure, Line, Panel

FORMATS = ("png", "svg", "pdf")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours without their yellow, which is too light for a line on white."""

DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.6)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (1.3, 1.3)),
    (0, (9, 2)),
    (0, (5, 1.4, 1.2, 1.4, 1.2, 1.4)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.5
LONE_WIDTH, LONE_HEIGHT = 4.6, 3.0
MOST_MARKERS = 12
CHARACTERS_PER_INCH = 15.0
LEGEND_SAMPLE_INCHES = 0.55
LINE_HEIGHT = 0.16

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "ytick.minor.size": 1.8,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "savefig.dpi": 200,
    "svg.hashsalt": "lossbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a dollar sign in a user's name is a dollar sign
}

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
        if len(figure.panels) == 1:
            size = (LONE_WIDTH, LONE_HEIGHT)
        else:
            size = (columns * PANEL_WIDTH, rows * PANEL_HEIGHT)
        canvas = Canvas(figsize=size, layout="constrained")
        FigureCanvasAgg(canvas)
        grid = canvas.add_gridspec(rows, columns)
        place = 0
        for number, panel in enumerate(figure.panels):
            wide = number == 0 and _wide_first(figure)
            row, column = divmod(place, columns)
            axes = canvas.add_subplot(grid[row, :] if wide else grid[row, column])
            place += columns if wide else 1
            _draw_panel(axes, panel)
        more = _head(canvas, figure) + _legend_below(canvas, size[0])
        canvas.set_size_inches(size[0], size[1] + more)
        return canvas


def _grid(figure: Figure) -> tuple[int, int]:
    """Return columns and rows: two panels side by side at most, as on a printed page."""
    count = len(figure.panels)
    columns = min(count, 2)
    return columns, -(-(count + _wide_first(figure)) // columns)


def _wide_first(figure: Figure) -> bool:
    """Tell whether the first panel has a row of its own, so that no place stays empty."""
    return len(figure.panels) > 1 and len(figure.panels) % 2 == 1


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for band in panel.bands:
        axes.fill_between(
            band.x, band.low, band.high, color=_colour(band.hue), alpha=0.2, linewidth=0,
            label=band.label or "_",
        )  # fmt: skip
    for line in panel.lines:
        axes.plot(line.x, line.y, label=line.label or "_", **_look(line))
    for mark in panel.marks:
        if mark.upright:
            axes.axvline(mark.x, color="#555555", linewidth=0.7, linestyle=(0, (1, 2)), zorder=1.5)
        axes.plot(
            [mark.x], [mark.y], linestyle="none", marker="o", markersize=7, zorder=4,
            markerfacecolor="none", markeredgecolor="#222222", markeredgewidth=0.9,
            label=mark.label or "_", clip_on=False,
        )  # fmt: skip
    if panel.log_y:
        _logarithmic(axes)
    if panel.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.title:
        axes.set_title(panel.title, loc="left")
    axes.margins(x=0.025)


def _logarithmic(axes: Axes) -> None:
    """Scale the y axis logarithmically, with plain numbers and never fewer than two of them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    labelled = (1.0,) if decades >= 2.5 else (1.0, 3.0) if decades >= 1.3 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=labelled, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _look(line: Line) -> dict[str, Any]:
    """Return how a line is drawn, by its role and the number of what it belongs to."""
    colour = _colour(line.hue)
    if line.role == "raw":
        return {"color": colour, "alpha": 0.28, "linewidth": 0.6, "zorder": 1.8}
    dashes = DASHES[line.hue % len(DASHES)]
    look: dict[str, Any] = {"color": colour, "linestyle": dashes, "zorder": 3}
    if line.role == "evaluations":
        look |= {
            "marker": MARKERS[line.hue % len(MARKERS)],
            "markevery": max(1, -(-len(line.x) // MOST_MARKERS)),
            "markeredgewidth": 0,
        }
    return look


def _colour(hue: int) -> str:
    return PALETTE[hue % len(PALETTE)]


def _head(canvas: Canvas, figure: Figure) -> float:
    """Write the title, and below it the note, above the panels; return the height it takes."""
    lines = [text for text in (figure.title, figure.note) if text]
    if not lines:
        return 0.0
    width = int(canvas.get_figwidth() * CHARACTERS_PER_INCH)
    canvas.suptitle(
        "\n".join(shorten(text, width) for text in lines), x=0.012, ha="left", linespacing=1.4
    )
    return LINE_HEIGHT * len(lines)


def _legend_below(canvas: Canvas, width: float) -> float:
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
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
