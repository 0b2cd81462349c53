"""Pictures of runs: the data that are drawn, read back from matplotlib; never pixels."""

import io
import itertools
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lossbench.analysis.curves import Curves, Series
from lossbench.errors import UsageError
from lossbench.views import draw
from lossbench.views.figures import Shown, runs_figure
from lossbench.views.shapes import Band, Figure, Line, Mark, Panel


def shown(label: str = "a run", seed: int = 0, metrics: tuple[str, ...] = ("accuracy",)) -> Shown:
    rng = np.random.default_rng(seed)
    steps, epochs = np.arange(1, 201), np.arange(1, 11)
    losses = 2 * np.exp(-steps / 40) + 0.01 + 0.002 * rng.random(200)
    validation = {"loss": Series(epochs * 20, epochs * 1.0, 1.5 * np.exp(-epochs / 2) + 0.02)}
    for name in metrics:
        validation[name] = Series(epochs * 20, epochs * 1.0, 1 - 0.5 * rng.random(10))
    return Shown(
        label,
        Curves(Series(steps, (steps - 1) // 20 + 1.0, losses), {"validation": validation}),
        loss="cross_entropy",
        best_step=160,
        lower_is_better={"loss": True, "accuracy": False, "mae": True},
        test={"accuracy": 0.97},
    )


def drawn_lines(figure: Figure, panel: int) -> dict[str, Any]:
    axes = draw.render(figure).axes[panel]
    return {line.get_label(): line for line in axes.get_lines()}


# --- one run ----------------------------------------------------------------------------------


def test_a_run_shows_its_batches_their_course_validation_and_the_best_step() -> None:
    run = shown()
    lines = drawn_lines(runs_figure([run]), 0)
    raw = lines["training, per batch"]
    np.testing.assert_array_equal(raw.get_xdata(), run.curves.steps.steps)
    np.testing.assert_array_equal(raw.get_ydata(), run.curves.steps.values)
    course = lines["training (smoothed)"]
    assert raw.get_alpha() < 0.5 < course.get_linewidth()
    validation = lines["validation"]
    np.testing.assert_array_equal(validation.get_xdata(), np.arange(20, 201, 20))
    best = lines["best weights (step 160)"]
    assert best.get_xdata() == [160]
    assert best.get_ydata() == [run.curves.evaluations["validation"]["loss"].values[7]]


def test_each_metric_has_a_panel_by_epoch() -> None:
    run = shown(metrics=("accuracy", "macro_f1"))
    canvas = draw.render(runs_figure([run]))
    assert [axes.get_ylabel() for axes in canvas.axes] == [
        "loss (cross entropy)", "accuracy", "macro f1",
    ]  # fmt: skip
    metric = next(line for line in canvas.axes[1].get_lines() if line.get_label() == "validation")
    np.testing.assert_array_equal(metric.get_xdata(), np.arange(1, 11))
    assert canvas.axes[1].get_xlabel() == "epoch"


def test_axes_are_logarithmic_where_the_losses_span_decades() -> None:
    canvas = draw.render(runs_figure([shown()]))
    assert canvas.axes[0].get_yscale() == "log"
    assert canvas.axes[1].get_yscale() == "linear"
    labels = [label.get_text() for label in canvas.axes[0].get_yticklabels()]
    assert "0.1" in labels
    assert not any("$" in label for label in labels)


def test_the_title_says_what_the_test_data_showed() -> None:
    figure = runs_figure([shown("cubic $x^3$")])
    assert (figure.title, figure.note) == ("cubic $x^3$", "test: accuracy 0.97")
    assert "cubic $x^3$" in draw.render(figure).get_suptitle()


def test_a_run_without_validation_and_one_that_diverged_can_be_drawn() -> None:
    steps = np.arange(1, 6)
    lost = Series(steps, steps * 1.0, np.array([1.0, 2.0, 8.0, np.nan, np.nan]))
    figure = runs_figure([Shown("lost", Curves(lost))])
    assert len(figure.panels) == 1
    assert draw.encode(figure, "png").startswith(b"\x89PNG")
    empty = runs_figure([Shown("nothing", Curves(Series(steps[:0], steps[:0], steps[:0])))])
    assert draw.encode(empty, "svg")


# --- several runs -----------------------------------------------------------------------------


def test_runs_are_overlaid_in_colours_dashes_and_markers_of_their_own() -> None:
    runs = [shown(f"lr={rate}", seed) for seed, rate in enumerate((0.1, 0.01, 0.001))]
    canvas = draw.render(runs_figure(runs))
    assert [axes.get_ylabel() for axes in canvas.axes] == [
        "training loss (cross entropy)", "validation loss (cross entropy)", "validation accuracy",
    ]  # fmt: skip
    curves = [line for line in canvas.axes[1].get_lines() if line.get_label() in
              {run.label for run in runs}]  # fmt: skip
    for run, line in zip(runs, curves, strict=True):
        expected = run.curves.evaluations["validation"]["loss"].values
        np.testing.assert_array_equal(line.get_ydata(), expected)
    for one, other in itertools.combinations(curves, 2):
        assert one.get_color() != other.get_color()
        assert one.get_marker() != other.get_marker()
        assert one._dash_pattern != other._dash_pattern


def test_the_legend_names_every_run_once_and_fits_the_page() -> None:
    labels = [f"optimizer {number} with a name that goes on and on " * 4 for number in range(9)]
    runs = [shown(label, seed) for seed, label in enumerate(labels)]
    canvas = draw.render(runs_figure(runs))
    (legend,) = canvas.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == 10  # nine runs and the ring of the best weights
    canvas.draw_without_rendering()
    box, page = legend.get_window_extent(), canvas.bbox
    assert box.x0 >= page.x0
    assert box.x1 <= page.x1
    assert box.y0 >= page.y0
    plots = min(axes.get_tightbbox().y0 for axes in canvas.axes)
    assert box.y1 <= plots + 1  # below the panels, over no curve


def test_colours_are_those_of_okabe_and_ito_and_differ_in_grey_or_dashes() -> None:
    grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in map(to_rgb, draw.PALETTE)]
    assert max(grey) < 0.75  # none is too light for a line on white
    assert len(set(map(str, draw.DASHES))) == len(draw.DASHES)
    looks = {
        (draw.PALETTE[n % len(draw.PALETTE)], str(draw.DASHES[n % len(draw.DASHES)]))
        for n in range(20)
    }
    assert len(looks) == 20


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", draw.FORMATS)
def test_the_same_figure_gives_the_same_bytes(ending: str) -> None:
    figure = runs_figure([shown()])
    assert draw.encode(figure, ending) == draw.encode(figure, ending)


def test_a_picture_says_no_date() -> None:
    for ending in ("svg", "pdf"):
        content = draw.encode(runs_figure([shown()]), ending)
        assert b"Date" not in content
        assert b"dc:date" not in content


def test_a_png_is_sharp_enough_for_print() -> None:
    content = draw.encode(runs_figure([shown()]), "png")
    height, width, _ = matplotlib.image.imread(io.BytesIO(content)).shape
    assert width >= 2 * draw.PANEL_WIDTH * 200 - 1
    assert height > 400


@pytest.mark.parametrize("name", ["x.gif", "x", "x.pn"])
def test_other_endings_are_refused_naming_those_there_are(name: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="picture format") as refused:
        draw.format_of(tmp_path / name)
    assert "png" in str(refused.value)


def test_an_ending_may_be_in_capitals(tmp_path: Any) -> None:
    assert draw.format_of(tmp_path / "x.SVG") == "svg"


def test_bands_and_marks_are_drawn_where_they_are_told() -> None:
    panel = Panel(
        "x", "y", (Line((0, 1), (0, 1), "line"),), (Band((0, 1), (0, 0), (1, 2), "band"),),
        (Mark(1, 1, "mark", upright=True),), title="a panel",
    )  # fmt: skip
    axes = draw.render(Figure((panel,))).axes[0]
    assert axes.get_title(loc="left") == "a panel"
    assert {"line", "band", "mark"} <= set(axes.get_legend_handles_labels()[1])
    assert any(list(line.get_xdata()) == [1, 1] for line in axes.get_lines())


def test_figures_are_plain_data() -> None:
    assert runs_figure([shown()]) == runs_figure([shown()])
    assert hash(runs_figure([shown()])) == hash(runs_figure([shown()]))


def test_long_texts_are_cut_in_the_middle() -> None:
    assert draw.shorten("abcdefghij", 5) == "ab…ij"
    assert draw.shorten("abc", 5) == "abc"
