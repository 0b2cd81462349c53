"""How pictures look: colours, dashes, markers, sizes, in one place.

Colours are those of Okabe and Ito (readable with any colour vision); line patterns and markers
differ as well, so a picture printed in grey says the same. Sizes are in inches of paper: text is 8
points high at the width at which the picture stands in a two-column paper or across a page.
"""

from collections.abc import Mapping
from typing import Any

from lossbench.views.shapes import Line, Symbol

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
MOST_MARKERS = 12

GREY, DARK = "#555555", "#222222"

SYMBOLS: Mapping[Symbol, dict[str, Any]] = {
    "seed": {"marker": "o", "markersize": 3.2, "alpha": 0.55, "markeredgewidth": 0, "zorder": 2.5},
    "tried": {"marker": "o", "markersize": 2.8, "alpha": 0.35, "markeredgewidth": 0, "zorder": 2.4},
    "choice": {
        "marker": "o", "markersize": 8, "markerfacecolor": "none", "markeredgecolor": DARK,
        "markeredgewidth": 1.0, "zorder": 5, "clip_on": False,
    },
    "default": {
        "marker": "D", "markersize": 5.5, "markerfacecolor": "white", "markeredgecolor": DARK,
        "markeredgewidth": 0.9, "zorder": 4.5, "clip_on": False,
    },
    "lost": {"marker": "x", "markersize": 4.5, "markeredgewidth": 1.1, "zorder": 4,
             "clip_on": False},
    "start": {"marker": "o", "markersize": 4.5, "markerfacecolor": "white",
              "markeredgecolor": DARK, "markeredgewidth": 0.8, "zorder": 5},
    "end": {"markersize": 4.0, "markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4.5},
    "minimum": {"marker": "*", "markersize": 9, "markerfacecolor": "#F0E442",
                "markeredgecolor": DARK, "markeredgewidth": 0.7, "zorder": 6},
}  # fmt: skip

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
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.8,
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


def colour(hue: int) -> str:
    """Return the colour of what bears this number."""
    return PALETTE[hue % len(PALETTE)]


def look(line: Line) -> dict[str, Any]:
    """Return how a line is drawn, by its role and the number of what it belongs to."""
    if line.role == "raw":
        return {"color": colour(line.hue), "alpha": 0.28, "linewidth": 0.6, "zorder": 1.8}
    dashes = DASHES[line.hue % len(DASHES)]
    found: dict[str, Any] = {"color": colour(line.hue), "linestyle": dashes, "zorder": 3}
    if line.role == "evaluations":
        few = len(line.x) <= 2 * MOST_MARKERS
        found |= {
            "marker": MARKERS[line.hue % len(MARKERS)],
            "markevery": 1 if few else -(-len(line.x) // MOST_MARKERS),
            "markeredgewidth": 0,
        }
    if line.role == "path":
        found |= {"linewidth": 1.0, "alpha": 0.9}
    if line.role == "steps":
        found |= {"drawstyle": "steps-post"}
    return found


def symbol_look(symbol: Symbol, hue: int) -> dict[str, Any]:
    """Return how points are drawn, by what they stand for."""
    marker = MARKERS[hue % len(MARKERS)]
    return {"linestyle": "none", "color": colour(hue), "marker": marker} | SYMBOLS[symbol]
