"""Pictures of a comparison, as plain data: courses with bands, final values, sensitivity, profiles.

A contender has the same colour, dashes and marker in every picture, by its place in the comparison.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.bands import By, Course, courses, spread_words
from lossbench.analysis.curves import wants_log
from lossbench.analysis.profiles import Profile
from lossbench.analysis.standings import summarize
from lossbench.analysis.table import Metric, Table
from lossbench.errors import UsageError
from lossbench.views.shapes import Band, Dots, Figure, Interval, Level, Line, Panel, Role, Symbol

MOST_CURVES = 8
"""More contenders than this with their bands over one another cannot be told apart."""

MOST_PANELS = 6
HEADROOM = 10.0
"""A curve that rises so many times above the beginnings leaves the picture: it would squeeze it."""

SPREAD_OF_DOTS = 0.17
INTERVAL_BELOW = 0.3

AXES: Mapping[By, str] = {
    "steps": "optimizer step",
    "epochs": "epoch",
    "seconds": "seconds (own cost per step, measured alone)",
}


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison as its pictures need it; `summary` is what summary.json says of it."""

    name: str
    table: Table
    summary: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The metric on which the contenders are compared."""
        return str(self.summary["metric"])

    @property
    def several_problems(self) -> bool:
        """Whether a panel must say which problem it shows."""
        return len(self.table.problems) > 1

    def hue(self, contender: str) -> int:
        """Return the number whose colour a contender bears."""
        return self.table.names.index(contender)

    def standings(self, problem: str) -> list[Mapping[str, Any]]:
        """Return the contenders on a problem, the best first."""
        return [item for item in self.summary["standings"] if item["problem"] == problem]

    def title(self, problem: str) -> str:
        """Return what a panel about a problem is called."""
        return problem if self.several_problems else ""


def pictures(told: Compared) -> dict[str, Figure]:
    """Return every picture that there is something to draw in, by its name."""
    found: dict[str, Figure] = {}
    for name, draw in PICTURES.items():
        figure = draw(told)
        if figure is not None:
            found[name] = figure
    return found


# --- courses ----------------------------------------------------------------------------------


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
        x = _floats(course.axis(by))
        role: Role = "trend" if metric.name.startswith("train/") else "evaluations"
        lines.append(Line(x, _floats(course.middle), _label(told, course.contender), hue, role))
        if course.trials > 1:
            bands.append(Band(x, _floats(course.low), _floats(course.high), "", hue))
    columns = [column for course in found for column in (course.low, course.middle, course.high)]
    logarithmic = bool(metric.lower_is_better) and wants_log(*columns)
    return Panel(
        AXES[by],
        _metric_words(told, metric.name),
        tuple(lines),
        tuple(bands),
        title=told.title(problem),
        log_y=logarithmic,
        whole_x=by != "seconds",
        levels=_floor(metric, problem, logarithmic=logarithmic),
        limits=_limits(found, metric),
    )


def _floor(metric: Metric, problem: str, *, logarithmic: bool, upright: bool = False) -> Any:
    """Return the best that can be expected as a level, where it is known and can be drawn."""
    value = metric.floors.get(problem)
    if value is None or (logarithmic and value <= 0):
        return ()
    return (Level(value, "floor", upright),)


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
    return None, HEADROOM * usual


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


# --- final values -----------------------------------------------------------------------------


def finals_figure(told: Compared, metrics: Sequence[str] | None = None) -> Figure:
    """Draw the final value of every seed as a dot, and the interval of each contender."""
    table, main = told.table, told.metric
    split = main.partition("/")[0]
    others = [
        name
        for name in table.final
        if name.partition("/")[0] == split and name != main
        and table.metrics[name].lower_is_better is not None
        and not table.metrics[name].is_loss
    ]  # fmt: skip
    chosen = [main, *others] if metrics is None else list(metrics)
    if told.several_problems and metrics is None:
        chosen = [main]
    cells = [(name, problem) for name in chosen for problem in table.problems][:MOST_PANELS]
    panels = [_finals_panel(told, table.metric(name), problem) for name, problem in cells]
    ratios = [table.scale(name) == "ratio" for name in chosen]
    kind = "geometric mean" if all(ratios) else "mean"
    if any(ratios) and not all(ratios):
        kind = "mean (of what is compared as ratios: the geometric one)"
    note = f"a dot for every seed; bar: {kind} with its 95 % interval"
    return Figure(tuple(panels), title=told.name, note=note)


def _finals_panel(told: Compared, metric: Metric, problem: str) -> Panel:
    table = told.table
    standings = told.standings(problem)
    values = table.values(metric.name)
    dots, intervals, rows = list[Dots](), list[Interval](), list[str]()
    for place, item in enumerate(standings):
        name = item["contender"]
        hue, column = told.hue(name), values[table.rows(name, problem)]
        finite = [float(value) for value in column if abs(float(value)) < float("inf")]
        heights = tuple(place + _offset(number) for number in range(len(finite)))
        dots.append(Dots(tuple(finite), heights, hue=hue))
        if finite:
            found = summarize(column, table.scale(metric.name)).interval
            low, high = (found.estimate if end != end else end for end in (found.low, found.high))
            intervals.append(Interval(place + INTERVAL_BELOW, found.estimate, low, high, hue))
        rows.append(_label(told, name, problem, "\n"))
    everything = [value for item in dots for value in item.x]
    logarithmic = bool(metric.lower_is_better) and wants_log(everything)
    return Panel(
        f"{_metric_words(told, metric.name)} at the end",
        "",
        title=problem if told.several_problems else "",
        dots=tuple(dots),
        intervals=tuple(intervals),
        levels=_floor(metric, problem, logarithmic=logarithmic, upright=True),
        rows=tuple(rows),
        log_x=logarithmic,
        whole_x=False,
    )


def _offset(number: int) -> float:
    """Spread dots evenly over the height of a row, neighbours far apart: the same every time."""
    golden = 0.6180339887498949
    return SPREAD_OF_DOTS * (2 * ((number * golden) % 1.0) - 1) - 0.1


# --- sensitivity ------------------------------------------------------------------------------


def sensitivity_figure(told: Compared) -> Figure | None:
    """Draw the score of every value that was tried against the tuned key; none without tuning."""
    searches = told.summary.get("tuned")
    if not searches:
        return None
    keys = list(searches[0]["default"])
    cells = [(key, problem) for problem in told.table.problems for key in keys]
    panels = [_sensitivity_panel(told, key, problem) for key, problem in cells[:MOST_PANELS]]
    note = "a point for every value tried: the median over the tuning seeds"
    if any(dots.symbol == "lost" for panel in panels for dots in panel.dots):
        note += "; crosses at the top: diverged"
    return Figure(tuple(panels), title=told.name, note=note)


def _sensitivity_panel(told: Compared, key: str, problem: str) -> Panel:
    lines, dots = list[Line](), list[Dots]()
    searches = [search for search in told.summary["tuned"] if search["problem"] == problem]
    for search in searches:
        name, hue = search["contender"], told.hue(search["contender"])
        tried = sorted((float(item[key]), item["score"]) for item in search["tried"])
        kept = [(value, float(score)) for value, score in tried if _is_finite(score)]
        lost = tuple(value for value, score in tried if not _is_finite(score))
        x, y = tuple(value for value, _ in kept), tuple(score for _, score in kept)
        several = len(search["default"]) > 1
        if several:
            dots.append(Dots(x, y, "end", name, hue))
        else:
            lines.append(Line(x, y, name, hue, "evaluations"))
        if lost:
            dots.append(Dots(lost, (), "lost", "", hue))
        dots += _marked(search, key, hue)
    metric = told.table.metrics.get(searches[0]["metric"]) if searches else None
    scores = [value for line in lines for value in line.y]
    logarithmic = bool(metric and metric.lower_is_better) and wants_log(scores)
    words = _metric_words(told, searches[0]["metric"]) if searches else "score"
    return Panel(
        key,
        f"{words} at the end",
        tuple(lines),
        title=told.title(problem),
        dots=tuple(dots),
        log_x=True,
        log_y=logarithmic,
    )


def _marked(search: Mapping[str, Any], key: str, hue: int) -> list[Dots]:
    """Mark the contender's default, and what was chosen."""
    found = []
    places: tuple[tuple[Symbol, str, str], ...] = (
        ("default", "default", "default_score"),
        ("choice", "chosen", "score"),
    )
    for symbol, name, score in places:
        if _is_finite(search[score]):
            place = (float(search[name][key]),)
            found.append(Dots(place, (float(search[score]),), symbol, name, hue))
    return found


def _is_finite(value: Any) -> bool:
    return value is not None and abs(float(value)) < float("inf")


# --- profiles ---------------------------------------------------------------------------------


def profiles_figure(told: Compared) -> Figure | None:
    """Draw how often each contender is how close to the best; none for a single problem."""
    recorded = told.summary.get("profile")
    if recorded is None:
        return None
    ratios = {
        name: tuple(float("inf") if ratio is None else ratio for ratio in column)
        for name, column in recorded["ratios"].items()
    }
    found = Profile(ratios, recorded["farthest"])
    names = sorted(found.ratios, key=lambda name: -found.score(name))
    lines = [
        Line(
            tuple(tau for tau, _ in found.steps(name)),
            tuple(share for _, share in found.steps(name)),
            f"{name} (score {found.score(name):.2f})",
            told.hue(name),
            "steps",
        )
        for name in names
    ]
    what = "steps to the target" if told.summary["standings"][0]["targets"] else told.metric
    panel = Panel(
        f"{what.replace('_', ' ')}, divided by the best on the problem",
        "share of problems",
        tuple(lines),
        whole_x=False,
        limits=(-0.03, 1.03),
    )
    count = len(told.table.problems)
    note = f"{count} problems; score: the area below, 1 for the best on all"
    return Figure((panel,), title=told.name, note=note)


# --- words ------------------------------------------------------------------------------------


def _label(told: Compared, contender: str, problem: str | None = None, gap: str = " ") -> str:
    """Return a contender's name, and how many of its trials were lost."""
    found = [
        item
        for item in told.summary["standings"]
        if item["contender"] == contender and problem in (None, item["problem"])
    ]
    trials = sum(item["trials"] for item in found)
    lost = sum(item["diverged"]["trials"] + item["failed"]["trials"] for item in found)
    stalled = sum(item["stalled"]["trials"] for item in found)
    told_of = [f"{lost} diverged"] if lost else []
    told_of += [f"{stalled} stalled"] if stalled else []
    if not told_of:
        return contender
    return f"{contender}{gap}({', '.join(told_of)} of {trials})"


def _metric_words(told: Compared, name: str) -> str:
    """Return a metric as an axis says it: training loss (mse), validation accuracy."""
    split, _, metric = name.partition("/")
    words = f"{'training' if split == 'train' else split} {metric.replace('_', ' ')}"
    losses = {contender.loss.partition("(")[0] for contender in told.table.contenders}
    if metric == "loss" and len(losses) == 1 and (loss := losses.pop()):
        return f"{words} ({loss.rpartition(':')[2].replace('_', ' ')})"
    return words


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


PICTURES: Mapping[str, Callable[[Compared], Figure | None]] = {
    "curves": courses_figure,
    "curves-epochs": lambda told: courses_figure(told, "epochs"),
    "curves-seconds": lambda told: courses_figure(told, "seconds"),
    "finals": finals_figure,
    "sensitivity": sensitivity_figure,
    "profiles": profiles_figure,
}
"""The pictures that lie in a comparison's plots/, by the names of their files."""

WITH_METRICS: Mapping[str, Callable[[Compared, Sequence[str]], Figure | None]] = {
    "curves": lambda told, metrics: courses_figure(told, "steps", metrics),
    "curves-epochs": lambda told, metrics: courses_figure(told, "epochs", metrics),
    "curves-seconds": lambda told, metrics: courses_figure(told, "seconds", metrics),
    "finals": finals_figure,
}
"""The pictures that may be asked of chosen metrics."""
