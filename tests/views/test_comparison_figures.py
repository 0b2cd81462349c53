"""Pictures of comparisons: the numbers and words that are drawn; never pixels."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lossbench.analysis.bands import courses
from lossbench.analysis.compare import compare
from lossbench.analysis.paths import Path, begun_at, contour_levels, frame, paths
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.traces import Traces
from lossbench.errors import UsageError
from lossbench.views import draw
from lossbench.views.compared import Compared
from lossbench.views.comparison_figures import (
    finals_figure,
    pictures,
    profiles_figure,
    sensitivity_figure,
)
from lossbench.views.course_figures import MOST_CURVES, courses_figure
from lossbench.views.path_figures import Walk, paths_figure
from lossbench.views.shapes import Dots, Panel

POINTS = np.arange(1, 41)


def told(
    names: Sequence[str] = ("SGD", "Adam"),
    seeds: int = 12,
    problems: Sequence[str] = ("cubic",),
    diverged: Sequence[tuple[str, int]] = (),
    floor: float | None = None,
    tuned: Sequence[dict[str, Any]] = (),
) -> Compared:
    """A comparison whose n-th contender falls n times as fast."""
    rng = np.random.default_rng(0)
    trials, curves = [], []
    for problem, (place, name), seed in itertools.product(problems, enumerate(names), range(seeds)):
        curve = np.exp(-POINTS * (place + 1) / 20) * np.exp(0.2 * rng.standard_normal(40)) + 0.01
        lost = (name, seed) in diverged
        if lost:
            curve[5:] = np.nan
        status = "diverged" if lost else "done"
        final = {} if lost else {"validation/loss": float(curve[-1])}
        trials.append(Trial(name, seed, problem, status, 5 if lost else None, final))
        curves.append(curve)
    floors = {} if floor is None else dict.fromkeys(problems, floor)
    values = np.array(curves)
    traces = {
        "train/loss": Traces(POINTS, values, (POINTS - 1) // 10 + 1.0, 5),
        "validation/loss": Traces(POINTS, values, POINTS.astype(float)),
    }
    contenders = [Contender(name, "mse", 0.01, seconds_per_step=1e-3) for name in names]
    metrics = [Metric("train/loss"), Metric("validation/loss", floors=floors)]
    table = Table.from_trials(trials, contenders, metrics, traces)
    summary = compare(table, metric="validation/loss").record() | {"tuned": list(tuned)}
    return Compared("demo", table, summary)


def panel_of(figure: Any, number: int = 0) -> Panel:
    assert figure is not None
    return figure.panels[number]


# --- courses ----------------------------------------------------------------------------------


def test_courses_show_the_median_and_the_band_of_each_contender() -> None:
    shown = told()
    figure = courses_figure(shown)
    assert figure is not None
    assert [panel.y_label for panel in figure.panels] == [
        "training loss (mse)", "validation loss (mse)",
    ]  # fmt: skip
    panel = panel_of(figure, 1)
    for course, line, band in zip(
        courses(shown.table, "validation/loss"), panel.lines, panel.bands, strict=True
    ):
        assert line.label == course.contender
        assert (line.x, line.y) == (tuple(course.steps), tuple(course.middle))
        assert (band.low, band.high) == (tuple(course.low), tuple(course.high))
        assert band.hue == line.hue == shown.hue(course.contender)
    assert figure.note == "line: median, band: 10 to 90 %, over 12 seeds; batch losses smoothed"
    assert panel.log_y
    assert (panel.x_label, panel.whole_x) == ("optimizer step", True)


def test_courses_know_three_axes() -> None:
    shown = told()
    assert panel_of(courses_figure(shown, "epochs"), 1).lines[0].x == tuple(map(float, POINTS))
    by_time = panel_of(courses_figure(shown, "seconds"), 1)
    assert by_time.lines[0].x == pytest.approx(1e-3 * POINTS)
    assert by_time.x_label == "seconds (own cost per step, measured alone)"


def test_an_axis_that_nobody_knows_gives_no_picture() -> None:
    shown = told()
    bare = tuple(Contender(c.name, c.loss) for c in shown.table.contenders)
    table = Table.from_trials([Trial("SGD", 0), Trial("Adam", 0)], bare, ["validation/loss"])
    assert courses_figure(Compared("x", table, shown.summary), "seconds", []) is None


def test_failures_are_counted_in_the_label_and_open_the_band() -> None:
    lost = [("SGD", seed) for seed in range(3)]
    shown = told(diverged=lost)
    panel = panel_of(courses_figure(shown), 1)
    assert panel.lines[0].label == "SGD (3 diverged of 12)"
    assert panel.lines[1].label == "Adam"
    assert math.isinf(panel.bands[0].high[-1])
    axes = draw.render(courses_figure(shown)).axes[1]  # type: ignore[arg-type]
    assert max(axes.get_ylim()) < 100  # infinity reaches the edge, and moves it nowhere


def test_who_explodes_does_not_squeeze_the_others() -> None:
    shown = told()
    shown.table.traces["validation/loss"].values[:12, 3:] = 1e12
    panel = panel_of(courses_figure(shown), 1)
    low, high = panel.limits
    assert low is not None
    assert high is not None
    assert 1e-3 < low < high < 100
    assert max(draw.render(courses_figure(shown)).axes[1].get_ylim()) == high  # type: ignore[arg-type]


def test_the_floor_is_a_line_with_its_name() -> None:
    panel = panel_of(courses_figure(told(floor=0.005)), 1)
    assert [(level.value, level.label) for level in panel.levels] == [(0.005, "floor")]
    assert panel_of(courses_figure(told(floor=0.0)), 1).levels == ()  # no place on a log axis
    upright = panel_of(finals_figure(told(floor=0.005))).levels
    assert [(level.value, level.upright) for level in upright] == [(0.005, True)]


def test_of_many_contenders_the_leading_ones_are_drawn_and_it_is_said() -> None:
    shown = told([f"c{number}" for number in range(11)], seeds=6)
    figure = courses_figure(shown)
    assert figure is not None
    lines = figure.panels[1].lines
    best = [item["contender"] for item in shown.standings("cubic")][:MOST_CURVES]
    assert {line.label for line in lines} == set(best)
    assert f"the best {MOST_CURVES} of 11 contenders" in figure.note


def test_every_problem_has_a_panel() -> None:
    figure = courses_figure(told(problems=("a", "b", "c")))
    assert figure is not None
    assert [panel.title for panel in figure.panels] == ["a", "b", "c"]


def test_a_metric_without_curve_is_refused_naming_those_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        courses_figure(told(), metrics=["validation/accuracy"])
    assert "train/loss, validation/loss" in str(refused.value)


# --- final values -----------------------------------------------------------------------------


def test_every_seed_is_a_dot_and_the_interval_lies_below() -> None:
    shown = told(diverged=[("SGD", 0)])
    panel = panel_of(finals_figure(shown))
    order = [item["contender"] for item in shown.standings("cubic")]
    assert panel.rows == ("Adam", "SGD\n(1 diverged of 12)")
    for place, name in enumerate(order):
        dots, interval = panel.dots[place], panel.intervals[place]
        expected = shown.table.values("validation/loss")[shown.table.rows(name)]
        assert dots.x == tuple(expected[np.isfinite(expected)])
        assert dots.hue == interval.hue == shown.hue(name)
        assert all(abs(y - place) < 0.5 for y in (*dots.y, interval.y))
        assert interval.estimate == pytest.approx(np.exp(np.log(dots.x).mean()))
        assert interval.low < interval.estimate < interval.high
    axes = draw.render(finals_figure(shown)).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(panel.rows)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best on top


def test_a_single_seed_has_a_dot_and_no_interval_to_speak_of() -> None:
    found = panel_of(finals_figure(told(seeds=1))).intervals[0]
    assert found.low == found.estimate == found.high


def test_a_contender_that_always_diverges_keeps_its_row() -> None:
    shown = told(diverged=[("SGD", seed) for seed in range(12)])
    panel = panel_of(finals_figure(shown))
    assert panel.rows[1] == "SGD\n(12 diverged of 12)"
    assert panel.dots[1].x == ()
    assert len(panel.intervals) == 1
    for figure in pictures(shown).values():
        assert draw.encode(figure, "png").startswith(b"\x89PNG")


# --- sensitivity and profiles -----------------------------------------------------------------

SEARCH = {
    "contender": "Adam",
    "problem": "cubic",
    "metric": "validation/loss",
    "chosen": {"optimizer.lr": 0.1},
    "default": {"optimizer.lr": 0.001},
    "score": 0.01,
    "default_score": 1.0,
    "tried": [
        {"optimizer.lr": 0.001, "score": 1.0},
        {"optimizer.lr": 0.1, "score": 0.01},
        {"optimizer.lr": 0.01, "score": 0.3},
        {"optimizer.lr": 1.0, "score": None},
    ],
}


def test_sensitivity_runs_along_the_tuned_key_with_choice_and_default_marked() -> None:
    figure = sensitivity_figure(told(tuned=[SEARCH]))
    assert figure is not None
    panel = panel_of(figure)
    (line,) = panel.lines
    assert (line.x, line.y) == ((0.001, 0.01, 0.1), (1.0, 0.3, 0.01))
    assert (panel.x_label, panel.log_x, panel.log_y) == ("optimizer.lr", True, True)
    points = {dots.symbol: (dots.x, dots.y) for dots in panel.dots}
    assert points["choice"] == ((0.1,), (0.01,))
    assert points["default"] == ((0.001,), (1.0,))
    assert points["lost"][0] == (1.0,)
    assert "diverged" in figure.note
    axes = draw.render(figure).axes[0]
    assert axes.get_xscale() == "log"
    (crosses,) = [drawn for drawn in axes.get_lines() if drawn.get_marker() == "x"]
    assert list(crosses.get_xdata()) == [1.0]


def test_the_seeds_of_the_search_lie_as_light_dots_around_their_median() -> None:
    values = [[0.9, 1.0, 1.2], [0.01, 0.005, 0.02], [0.3, 0.3, 0.3], [2.0, None, None]]
    tried = [{**item, "values": row} for item, row in zip(SEARCH["tried"], values, strict=True)]
    figure = sensitivity_figure(told(tuned=[SEARCH | {"tried": tried}]))
    assert figure is not None
    (dots,) = [dots for dots in panel_of(figure).dots if dots.symbol == "tried"]
    # Of the value at which two of three seeds diverged, the third is drawn.
    assert dots.x == (0.001,) * 3 + (0.1,) * 3 + (0.01,) * 3 + (1.0,)
    assert dots.y == (0.9, 1.0, 1.2, 0.01, 0.005, 0.02, 0.3, 0.3, 0.3, 2.0)
    assert "light dots: its seeds" in figure.note
    drawn = draw.render(figure).axes[0].get_lines()
    (light,) = [line for line in drawn if len(line.get_xdata()) == len(dots.x)]
    assert light.get_alpha() < 0.5
    assert light.get_linestyle() == "None"
    earlier = sensitivity_figure(told(tuned=[SEARCH]))  # recorded before seeds were
    assert earlier is not None
    assert "light" not in earlier.note


def test_without_tuning_there_is_no_sensitivity_and_one_problem_has_no_profile() -> None:
    assert sensitivity_figure(told()) is None
    assert profiles_figure(told()) is None
    names = ["curves", "curves-epochs", "curves-seconds", "finals"]
    assert list(pictures(told())) == names
    assert list(pictures(told(tuned=[SEARCH]))) == [*names, "sensitivity"]


def test_profiles_are_staircases_with_their_scores() -> None:
    shown = told(problems=("a", "b"))
    panel = panel_of(profiles_figure(shown))
    scores = shown.summary["profile"]["scores"]
    assert scores["Adam"] == 1.0
    assert panel.lines[0].label == "Adam (score 1.00)"
    assert panel.lines[0].role == "steps"
    assert panel.lines[0].y[0] == 1.0
    drawn = draw.render(profiles_figure(shown)).axes[0].get_lines()[0]  # type: ignore[arg-type]
    assert drawn.get_drawstyle() == "steps-post"


# --- looks ------------------------------------------------------------------------------------


def test_a_contender_looks_the_same_in_every_picture() -> None:
    shown = told(("c", "b", "a"), problems=("one", "two"))
    hues = set()
    for figure in pictures(shown).values():
        for panel in figure.panels:
            hues |= {
                (line.label.partition(" (")[0], line.hue) for line in panel.lines if line.label
            }
    assert hues == {("c", 0), ("b", 1), ("a", 2)}


def test_figures_are_plain_data_and_give_the_same_bytes() -> None:
    for name, figure in pictures(told(tuned=[SEARCH], floor=0.005)).items():
        assert hash(figure) == hash(pictures(told(tuned=[SEARCH], floor=0.005))[name])
    assert draw.encode(figure, "svg") == draw.encode(figure, "svg")


# --- paths ------------------------------------------------------------------------------------


def walked(x: Sequence[float], y: Sequence[float], name: str = "A") -> Path:
    return Path(name, "", 0, np.array(x, dtype=float), np.array(y, dtype=float))


def test_paths_come_from_the_recorded_coordinates() -> None:
    names = ("validation/first_coordinate", "validation/second_coordinate")
    values = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    traces = {name: Traces(np.arange(3), values + place) for place, name in enumerate(names)}
    trials = [Trial("A", 0), Trial("A", 1)]
    table = Table.from_trials(trials, ["A"], names, traces)
    first, second = paths(table, "")
    assert (first.x.tolist(), first.y.tolist()) == ([1, 2], [2, 3])
    assert (second.seed, second.x.tolist()) == (1, [3, 4, 5])
    assert len(paths(table, "", seeds=1)) == 1
    assert begun_at(first, (9.0, 8.0)).x.tolist() == [9, 1, 2]
    bare = Table.from_trials(trials, ["A"], ["validation/loss"])
    with pytest.raises(UsageError, match="first_coordinate"):
        paths(bare, "")


def test_the_frame_holds_the_paths_and_the_minimum_and_follows_no_runaway() -> None:
    minima = np.array([[1.0, 1.0], [50.0, 50.0]])
    steady = walked([-1, 0, 1], [0, -1, 1])
    (left, right), (bottom, top) = frame([steady], minima)
    assert left < -1
    assert right > 1
    assert bottom < -1
    assert top > 1
    assert right < 10  # the minimum that nobody was near is left out
    assert frame([steady, walked([-1, 1e6], [0, 1e6], "hot")], minima)[0][1] < 10


def test_contours_lie_at_equal_shares() -> None:
    heights = np.exp(np.linspace(0, 20, 10_000)).reshape(100, 100)
    levels = contour_levels(heights)
    shares = [float((heights < level).mean()) for level in levels]
    np.testing.assert_allclose(np.diff(shares), np.diff(shares)[0], atol=1e-3)


def test_paths_are_drawn_over_the_contours_with_start_end_and_minimum() -> None:
    x = y = np.linspace(-2, 2, 9)
    heights = x[None, :] ** 2 + y[:, None] ** 2
    walk = Walk("bowl", x, y, heights, np.array([[0.0, 0.0], [9.0, 9.0]]),
                [walked([1, 0.5, 0], [1, 0.2, 0]), walked([1, -1], [1, -1], "B")])  # fmt: skip
    figure = paths_figure("demo", [walk], {"A": 0, "B": 1}, (1, 5))
    panel = panel_of(figure)
    assert [(line.label, line.x) for line in panel.lines] == [("A", (1, 0.5, 0)), ("B", (1, -1))]
    dots: dict[str, Dots] = {item.symbol: item for item in panel.dots}
    assert (dots["start"].x, dots["start"].y) == ((1.0,), (1.0,))
    assert dots["minimum"].x == (0.0,)  # the other one lies outside
    assert {item.x for item in panel.dots if item.symbol == "end"} == {(0.0,), (-1.0,)}
    assert panel.contours is not None
    assert panel.contours.values[0][0] == 8.0
    assert figure.note.startswith("the first of 5 seeds")
    axes = draw.render(figure).axes[0]
    assert axes.get_xlim() == (-2, 2)
    assert draw.encode(figure, "png").startswith(b"\x89PNG")
