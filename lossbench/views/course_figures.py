"""The courses of a comparison's contenders, with bands over their seeds, as plain data."""

from collections.abc import Mapping, Sequence

from lossbench.analysis.bands import By, Course, courses, spread_words
from lossbench.analysis.curves import wants_log
from lossbench.analysis.table import Metric
from lossbench.errors import UsageError
from lossbench.views.compared import (
    MOST_PANELS,
    Compared,
    floats,
    floor_level,
    label,
    metric_words,
)
from lossbench.views.shapes import Band, Figure, Line, Panel, Role

MOST_CURVES = 8
"""More contenders than this with their bands over one another cannot be told apart."""

HEADROOM = 10.0
"""A curve that rises so many times above the beginnings leaves the picture: it would squeeze it."""

ROOM_BELOW = 1.3

AXES: Mapping[By, str] = {
    "steps": "optimizer step",
    "epochs": "epoch",
    "seconds": "seconds (own cost per step, measured alone)",
}


def course_metrics(told: Compared) -> list[str]:
    """Return the metrics whose courses are worth a panel, the losses first."""
    table = told.table
    shared = len({contender.loss for contender in table.contenders}) <= 1
    found = [
        name
        for name in table.traces
        if table.metrics[name].lower_is_better is not None
        and (shared or not table.metrics[name].is_loss)
    ]
    found = found or list(table.traces)
    return sorted(found, key=lambda name: (not table.metrics[name].is_loss, name != "train/loss"))


def courses_figure(
    told: Compared, by: By = "steps", metrics: Sequence[str] | None = None
) -> Figure | None:
    """Draw the courses of the leading contenders: metrics of a problem, or problems side by side.

    None where nothing is known on this axis.
    """
    table = told.table
    chosen = course_metrics(told) if metrics is None else list(metrics)
    for name in chosen:
        if name not in table.traces:
            raise UsageError(
                f"no curve of '{name}' was recorded",
                hint=f"there are curves of {', '.join(sorted(table.traces)) or 'nothing'}",
            )
    if told.several_problems and metrics is None:
        main = told.metric
        chosen = [main] if main in table.traces else chosen[:1]
    cells = [(name, problem) for name in chosen for problem in table.problems][:MOST_PANELS]
    panels, drawn = list[Panel](), list[Course]()
    for name, problem in cells:
        leading = [item["contender"] for item in told.standings(problem)][:MOST_CURVES]
        found = [
            course
            for course in courses(table, name, problem)
            if course.contender in leading and course.axis(by) is not None
        ]
        if found:
            drawn += found
            panels.append(_courses_panel(told, table.metrics[name], problem, found, by))
    if not panels:
        return None
    return Figure(tuple(panels), title=told.name, note=_courses_note(told, drawn, chosen))


def _courses_panel(
    told: Compared, metric: Metric, problem: str, found: Sequence[Course], by: By
) -> Panel:
    lines, bands = [], []
    for course in found:
        hue = told.hue(course.contender)
        x = floats(course.axis(by))
        role: Role = "trend" if metric.name.startswith("train/") else "evaluations"
        lines.append(Line(x, floats(course.middle), label(told, course.contender), hue, role))
        if course.trials > 1:
            bands.append(Band(x, floats(course.low), floats(course.high), "", hue))
    columns = [column for course in found for column in (course.low, course.middle, course.high)]
    logarithmic = bool(metric.lower_is_better) and wants_log(*columns)
    return Panel(
        AXES[by],
        metric_words(told, metric.name),
        tuple(lines),
        tuple(bands),
        title=told.title(problem),
        log_y=logarithmic,
        whole_x=by != "seconds",
        levels=floor_level(metric, problem, logarithmic=logarithmic),
        limits=_limits(found, metric),
    )


def _limits(found: Sequence[Course], metric: Metric) -> tuple[float | None, float | None]:
    """Return where to cut what rises far above all beginnings; nothing where nothing does."""
    if not metric.lower_is_better:
        return None, None
    begun = [float(c.high[0]) for c in found if len(c.high) and float(c.high[0]) < float("inf")]
    peaks = [
        float(value)
        for course in found
        for value in (*course.high, *course.middle)
        if float(value) < float("inf")
    ]
    if not begun or not peaks:
        return None, None
    # The middle one: a contender that explodes in its first step must not set the scale.
    usual = sorted(begun)[(len(begun) - 1) // 2]
    if usual <= 0 or max(peaks) <= HEADROOM * usual:
        return None, None
    # Without this the lower end would keep the margin of the whole, unclipped range.
    lows = [float(value) for course in found for value in course.low if 0 < float(value) < usual]
    return (min(lows) / ROOM_BELOW if lows else None), HEADROOM * usual


def _courses_note(told: Compared, drawn: Sequence[Course], metrics: Sequence[str]) -> str:
    """Say what line and band are, over how many seeds, and what is not drawn."""
    counts = sorted({course.trials for course in drawn})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        parts = ["one seed: no band"]
    else:
        parts = [f"line: median, band: {spread_words(counts[0])}, over {seeds} seeds"]
    if any(told.table.traces[name].window > 1 for name in metrics):
        parts.append("batch losses smoothed")
    shown = {course.contender for course in drawn}
    if len(shown) < len(told.table.names):
        parts.append(f"the best {len(shown)} of {len(told.table.names)} contenders")
    return "; ".join(parts)
