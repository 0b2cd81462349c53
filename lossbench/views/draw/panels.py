"""One panel on matplotlib's axes: lines, bands, dots, intervals, contours, levels."""

import math
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lossbench.views.draw.style import DARK, DASHES, GREY, colour, look, symbol_look
from lossbench.views.shapes import Cells, Contours, Dots, Panel

UPRIGHT: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "linestyle": (0, (1, 2)), "zorder": 1.5}
FLOOR: dict[str, Any] = {"color": DARK, "linewidth": 0.8, "linestyle": (0, (6, 3)), "zorder": 2.2}
BAND: dict[str, Any] = {"alpha": 0.16, "linewidth": 0}
EDGE: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.5, "zorder": 2}

PLAIN_FROM, PLAIN_TO = 1e-4, 1e5

PALE = colors.LinearSegmentedColormap.from_list("pale", ["#ffffff", "#c9ccd1"])
"""Light greys: on them all of the palette stays readable, and so does print."""


SIGNED = colors.LinearSegmentedColormap.from_list("signed", ["#f0b48a", "#ffffff", "#8ab8dc"])
"""From Okabe and Ito's orange to their blue, pale: a number in a cell stays readable."""


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw all of a panel."""
    if panel.cells is not None:
        _cells(axes, panel, panel.cells)
        return
    if panel.contours is not None:
        _contours(axes, panel.contours)
    _bands(axes, panel)
    for line in panel.lines:
        axes.plot(line.x, line.y, label=line.label or "_", **look(line))
    _marks(axes, panel)
    for dots in panel.dots:
        _dots(axes, dots)
    for found in panel.intervals:
        shade = colour(found.hue)
        axes.plot([found.low, found.high], [found.y] * 2, color=shade, linewidth=1.8, zorder=3.5)
        for end in (found.low, found.high):
            axes.plot([end], [found.y], "|", color=shade, markersize=6, markeredgewidth=1.2)
        axes.plot([found.estimate], [found.y], "o", markersize=5, zorder=4, color=shade,
                  markeredgecolor="white", markeredgewidth=0.7)  # fmt: skip
    _scales(axes, panel)
    _levels(axes, panel)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.title:
        axes.set_title(panel.title, loc="left")


def _marks(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        if mark.upright:
            axes.axvline(mark.x, **UPRIGHT)
        axes.plot(
            [mark.x], [mark.y], linestyle="none", marker="o", markersize=7, zorder=4,
            markerfacecolor="none", markeredgecolor="#222222", markeredgewidth=0.9,
            label=mark.label or "_", clip_on=False,
        )  # fmt: skip


def _dots(axes: Axes, dots: Dots) -> None:
    more: dict[str, Any] = {}
    heights: Any = dots.y
    if dots.symbol == "lost":
        # At the upper edge, whatever the scale: there is no value to draw.
        more["transform"], heights = axes.get_xaxis_transform(), [0.985] * len(dots.x)
    axes.plot(
        dots.x, heights, label=dots.label or "_", **symbol_look(dots.symbol, dots.hue), **more
    )


def _bands(axes: Axes, panel: Panel) -> None:
    for band in panel.bands:
        low, high = np.asarray(band.low), np.asarray(band.high)
        for edge in (low, high):  # so that bands over one another have ends, in grey as well
            axes.plot(band.x, np.where(np.isfinite(edge), edge, np.nan), color=colour(band.hue),
                      linestyle=DASHES[band.hue % len(DASHES)], **EDGE)  # fmt: skip
        seen = np.isfinite(low) & np.isfinite(high)
        axes.fill_between(
            band.x, np.where(seen, low, np.nan), np.where(seen, high, np.nan),
            color=colour(band.hue), label=band.label or "_", **BAND,
        )  # fmt: skip


def _open_bands(axes: Axes, panel: Panel) -> None:
    """Fill what is infinite on one side up to the edge; this moves no edge."""
    bottom, top = axes.get_ylim()
    for band in panel.bands:
        low, high = np.asarray(band.low), np.asarray(band.high)
        open_ended = np.isfinite(low) != np.isfinite(high)
        if not open_ended.any():
            continue
        # Together with the last closed point, so that no gap is left between the two fills.
        open_ended |= np.append(open_ended[1:], False) & np.isfinite(low)
        axes.fill_between(
            band.x, np.where(np.isfinite(low), low, bottom), np.where(np.isfinite(high), high, top),
            where=open_ended.tolist(), color=colour(band.hue), **BAND,
        )  # fmt: skip
    axes.set_ylim(bottom, top)


def _scales(axes: Axes, panel: Panel) -> None:
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(panel.rows) - 0.45, -0.55)
    elif panel.log_y:
        axes.set_yscale("log")
    if panel.log_x:
        axes.set_xscale("log")
    elif panel.rows:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    elif panel.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if panel.contours is None:
        axes.margins(x=0.04 if panel.rows or panel.log_x else 0.025)
    if panel.limits != (None, None):
        axes.set_ylim(*panel.limits)
    _open_bands(axes, panel)
    if panel.log_y and not panel.rows:
        _plain_numbers(axes.yaxis, axes.get_ylim())
    if panel.log_x:
        _plain_numbers(axes.xaxis, axes.get_xlim())


def _plain_numbers(axis: Axis, limits: tuple[float, float]) -> None:
    """Write plain numbers on a logarithmic axis, and never fewer than two of them."""
    low, high = sorted(limits)
    decades = math.log10(high / low)
    labelled = (1.0,) if decades >= 2.5 else (1.0, 3.0) if decades >= 1.3 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=labelled, numticks=8 if decades > 8 else 12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.set_minor_formatter(NullFormatter())


def _number(value: float) -> str:
    """Return 0.003, 10000, 1e6, 3e-12."""
    if PLAIN_FROM <= abs(value) < PLAIN_TO or value == 0:
        return f"{value:.6g}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _levels(axes: Axes, panel: Panel) -> None:
    """Draw lines all along, each with its name at its end."""
    for level in panel.levels:
        if level.upright:
            axes.axvline(level.value, **FLOOR)
            place: dict[str, Any] = {"xy": (level.value, 0.0), "rotation": 90}
            place |= {"xycoords": axes.get_xaxis_transform(), "xytext": (2, 3)}
            place |= {"ha": "left", "va": "bottom"}
        else:
            axes.axhline(level.value, **FLOOR)
            place = {"xy": (1.0, level.value)}
            place |= {"xycoords": axes.get_yaxis_transform(), "xytext": (0, 2)}
            place |= {"ha": "right", "va": "bottom"}
        if level.label:
            axes.annotate(
                level.label, textcoords="offset points", fontsize=6.5, color=DARK, **place
            )


def _contours(axes: Axes, found: Contours) -> None:
    """Draw a landscape: light below the paths, thin lines at its levels."""
    levels = sorted(set(found.levels))
    if len(levels) < 2:
        return
    norm = colors.BoundaryNorm(levels, PALE.N, extend="both")
    axes.contourf(
        found.x, found.y, found.values, levels=levels, cmap=PALE, norm=norm, extend="both", zorder=0
    )
    axes.contour(
        found.x, found.y, found.values, levels=levels, colors="#9aa0a6", linewidths=0.45, zorder=1
    )
    axes.grid(visible=False)
    axes.set_xlim(found.x[0], found.x[-1])
    axes.set_ylim(found.y[0], found.y[-1])


def _cells(axes: Axes, panel: Panel, found: Cells) -> None:
    """Draw a matrix: orange below 0, blue above, each number in its cell."""
    values = np.asarray(found.values)
    reach = float(np.abs(values).max()) or 1.0
    axes.imshow(values, cmap=SIGNED, vmin=-reach, vmax=reach, aspect="auto", zorder=0)
    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            axes.text(column, row, f"{values[row, column] + 0.0:.3g}", ha="center", va="center",
                      fontsize=6.5, color=DARK)  # fmt: skip
    axes.set_xticks(range(columns), [str(n + 1) for n in range(columns)])
    axes.set_yticks(range(rows), [str(n + 1) for n in range(rows)])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.title:
        axes.set_title(panel.title, loc="left")
