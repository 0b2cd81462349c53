"""Pictures of components: activations, losses and schedules as plain figure data."""

import math
from collections.abc import Iterable, Sequence

from lossbench.evaluate.curves import Curve, Matrix
from lossbench.views.shapes import Cells, Figure, Line, Panel

TITLE_FITS = 30
"""Characters that stand in the title of a small panel."""

COLUMNS = 4
"""Small panels beside one another in a gallery."""


def gallery(drawn: Iterable[tuple[Curve | Matrix, str]], title: str) -> Figure:
    """Arrange one small panel for each component: its value solid, its derivative dashed."""
    panels = [
        _matrix_panel(found) if isinstance(found, Matrix) else _small_panel(found, formula)
        for found, formula in drawn
    ]
    columns = COLUMNS if len(panels) > 4 else None
    return Figure(tuple(panels), title=title, columns=columns)


def family(curves: Sequence[Curve | Matrix], title: str, formula: str) -> Figure:
    """Draw several curves over one another: values in one panel, derivatives in another."""
    plain = [curve for curve in curves if not isinstance(curve, Matrix)]
    matrices = [_matrix_panel(curve, "Jacobian") for curve in curves if isinstance(curve, Matrix)]
    if matrices:
        return Figure(tuple(matrices), title=title, note=formula)
    first = plain[0]
    values = Panel(
        first.x_label,
        first.value_label,
        tuple(
            Line(c.x, c.value, c.label if len(plain) > 1 else "", n) for n, c in enumerate(plain)
        ),
        whole_x=False,
        limits=_limits([c.value for c in plain]),
    )
    if not any(curve.slope for curve in plain):
        return Figure((values,), title=title, note=formula)
    slopes = Panel(
        first.x_label,
        first.slope_label,
        tuple(
            Line(c.x, c.slope, c.label if len(plain) > 1 else "", n) for n, c in enumerate(plain)
        ),
        whole_x=False,
        limits=_limits([c.slope for c in plain]),
    )
    return Figure((values, slopes), title=title, note=formula)


def _small_panel(curve: Curve, formula: str) -> Panel:
    lines = [Line(curve.x, curve.value, curve.value_label, 0)]
    if curve.slope:
        # One legend serves all panels: by what the gradient is taken, each says in its own picture.
        lines.append(Line(curve.x, curve.slope, curve.slope_label.partition(" by ")[0], 1))
    short = formula.partition("\n")[0].partition(", with")[0]
    shown = f"{curve.label}: {short}"
    if not short or len(shown) > TITLE_FITS:
        shown = curve.label
    return Panel(
        curve.x_label,
        "",
        tuple(lines),
        title=shown,
        whole_x=False,
        limits=_limits([line.y for line in lines]),
    )


def _matrix_panel(found: Matrix, name: str = "") -> Panel:
    places = ", ".join(f"{value:g}" for value in found.at)
    return Panel(
        "input",
        "output",
        title=f"{name or found.label} at ({places})",
        cells=Cells(found.values),
    )


def _limits(values: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """Return the ends of an axis that a pole or a far tail must not stretch.

    The middle nine tenths of each curve are shown whole; what lies far beyond is cut.
    """
    low, high = math.inf, -math.inf
    for each in values:
        finite = sorted(value for value in each if math.isfinite(value))
        if not finite:
            continue
        cut = len(finite) // 40
        low, high = min(low, finite[cut]), max(high, finite[-1 - cut])
        wide = finite[-1 - cut] - finite[cut]
        if finite[-1] - finite[-1 - cut] <= wide:
            high = max(high, finite[-1])
        if finite[cut] - finite[0] <= wide:
            low = min(low, finite[0])
    if not math.isfinite(low) or low == high:
        return None, None
    margin = 0.06 * (high - low)
    return low - margin, high + margin
