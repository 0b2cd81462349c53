"""The pictures of a comparison as plain data: final values, sensitivity, profiles; all by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossbench.analysis.curves import wants_log
from lossbench.analysis.profiles import Profile
from lossbench.analysis.standings import summarize
from lossbench.analysis.table import Metric
from lossbench.views.compared import MOST_PANELS, Compared, floor_level, label, metric_words
from lossbench.views.course_figures import courses_figure
from lossbench.views.shapes import Dots, Figure, Interval, Line, Panel, Symbol

SPREAD_OF_DOTS = 0.17
INTERVAL_BELOW = 0.3


def pictures(told: Compared) -> dict[str, Figure]:
    """Return every picture that there is something to draw in, by its name."""
    found: dict[str, Figure] = {}
    for name, draw in PICTURES.items():
        figure = draw(told)
        if figure is not None:
            found[name] = figure
    return found


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
        kind = "mean (geometric where ratios are compared)"
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
        rows.append(label(told, name, problem, "\n"))
    everything = [value for item in dots for value in item.x]
    logarithmic = bool(metric.lower_is_better) and wants_log(everything)
    return Panel(
        f"{metric_words(told, metric.name)} at the end",
        "",
        title=problem if told.several_problems else "",
        dots=tuple(dots),
        intervals=tuple(intervals),
        levels=floor_level(metric, problem, logarithmic=logarithmic, upright=True),
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
    if any(dots.symbol == "tried" for panel in panels for dots in panel.dots):
        note += "; light dots: its seeds"
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
        dots += _seeds(search, key, hue)
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
    words = metric_words(told, searches[0]["metric"]) if searches else "score"
    return Panel(
        key,
        f"{words} at the end",
        tuple(lines),
        title=told.title(problem),
        dots=tuple(dots),
        log_x=True,
        log_y=logarithmic,
    )


def _seeds(search: Mapping[str, Any], key: str, hue: int) -> list[Dots]:
    """Return what each seed of the search came to; those that diverged count in the median."""
    found = [
        (float(item[key]), float(value))
        for item in search["tried"]
        for value in item.get("values", ())
        if _is_finite(value)
    ]
    x, y = tuple(x for x, _ in found), tuple(y for _, y in found)
    return [Dots(x, y, "tried", "", hue)] if found else []


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
