"""What pictures are computed from: smoothing, thinning, arranging rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.analysis import curves

finite = st.floats(-1e6, 1e6)
some_values = arrays(np.float64, st.integers(3, 60), elements=finite)


def row(step: int, epoch: int, split: str, **values: object) -> dict[str, object]:
    return {"step": step, "epoch": epoch, "split": split, **values}


# --- smoothing --------------------------------------------------------------------------------


@given(st.integers(3, 80), st.integers(1, 40), finite, finite)
def test_a_straight_line_stays_as_it_is_up_to_its_ends(
    count: int, radius: int, start: float, slope: float
) -> None:
    line = start + slope * np.arange(count)
    scale = max(1.0, np.abs(line).max())
    np.testing.assert_allclose(curves.smooth(line, radius), line, atol=1e-6 * scale)


@given(some_values, st.integers(1, 20))
def test_smoothing_agrees_with_a_least_squares_fit(values: np.ndarray, radius: int) -> None:
    place = len(values) // 2
    reach = min(radius, place + curves.LEAST_RADIUS)
    window = np.arange(max(0, place - reach), min(len(values), place + reach + 1))
    weight = (1 - np.abs((window - place) / (reach + 1)) ** 3) ** 3
    # polyfit minimises the sum of (w r)^2: it wants the square root of our weight.
    expected = np.polyfit(window - place, values[window], 1, w=np.sqrt(weight))[1]
    scale = max(1.0, np.abs(values).max())
    assert curves.smooth(values, radius)[place] == pytest.approx(expected, abs=1e-6 * scale)


def test_a_constant_ratio_is_a_straight_line_for_logarithmic_smoothing() -> None:
    falling = 3.0 * 0.9 ** np.arange(50)
    np.testing.assert_allclose(curves.smooth(falling, 12, logarithmic=True), falling, rtol=1e-9)


def test_what_is_not_finite_is_left_out_and_stays_so() -> None:
    values = np.arange(20.0)
    values[[4, 5, 19]] = np.nan, np.inf, np.nan
    smoothed = curves.smooth(values, 6)
    known = np.isfinite(values)
    np.testing.assert_allclose(smoothed[known], np.arange(20.0)[known], atol=1e-9)
    assert np.isnan(smoothed[~known]).all()


def test_noise_becomes_smaller() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    assert curves.smooth(noise, 40)[50:].std() < 0.25 * noise.std()


# --- thinning ---------------------------------------------------------------------------------


@given(arrays(np.float64, st.integers(1, 300), elements=finite), st.integers(2, 50))
def test_thinning_keeps_the_extremes_and_the_order(values: np.ndarray, points: int) -> None:
    x = np.arange(len(values), dtype=float)
    kept_x, kept_y = curves.thin(x, values, points)
    assert len(kept_y) <= max(points, len(values) if len(values) <= points else points)
    assert (kept_y.min(), kept_y.max()) == (values.min(), values.max())
    assert (np.diff(kept_x) > 0).all()
    np.testing.assert_array_equal(values[kept_x.astype(int)], kept_y)


def test_thinning_bears_stretches_without_a_finite_value() -> None:
    values = np.full(100, np.nan)
    values[:50] = np.arange(50)
    _, kept = curves.thin(np.arange(100.0), values, 10)
    assert np.nanmax(kept) == 49


@given(some_values, st.integers(1, 70))
def test_means_of_stretches_weigh_every_value_once(values: np.ndarray, count: int) -> None:
    count = min(count, len(values))
    edges = np.linspace(0, len(values), count + 1).round().astype(int)
    _, means = curves.bucket_means(values, count)
    total = (means * np.diff(edges)).sum()
    assert total == pytest.approx(values.sum(), rel=1e-6, abs=1e-3)


def test_the_trend_spans_the_run_whatever_its_length() -> None:
    for steps in (5, 100, 5000):
        numbers = np.arange(1, steps + 1)
        trend = curves.trend(curves.Series(numbers, numbers * 1.0, np.exp(-numbers / steps)))
        assert len(trend) == min(steps, curves.SMOOTH_POINTS)
        assert trend.steps[0] == pytest.approx(1, abs=steps / curves.SMOOTH_POINTS)
        np.testing.assert_allclose(trend.values, np.exp(-trend.steps / steps), rtol=1e-2)


def test_the_trend_follows_the_first_steps() -> None:
    steps = np.arange(1, 801)
    falling = 2.3 * np.exp(-steps / 40) + 0.02
    trend = curves.trend(curves.Series(steps, steps * 1.0, falling))
    assert trend.values[0] == pytest.approx(falling[0], rel=0.02)


# --- axes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 0.001], True),
        ([1.0, 0.5], False),
        ([1.0, 0.0, 0.001], False),
        ([1.0, -1.0], False),
        ([], False),
        ([math.nan], False),
        ([math.nan, 1.0, 0.001], True),
    ],
)
def test_a_logarithmic_axis_is_for_positive_values_over_decades(
    values: list[float], expected: bool
) -> None:
    assert curves.wants_log(values) is expected


def test_the_best_value_goes_by_its_direction() -> None:
    values = [3.0, math.nan, 1.0, 1.0, 5.0]
    assert curves.best(values) == 2
    assert curves.best(values, lower_is_better=False) == 4
    assert curves.best([math.nan]) is None


# --- sparklines -------------------------------------------------------------------------------


def test_a_sparkline_rises_with_its_curve() -> None:
    assert curves.sparkline(range(8), 8) == "▁▂▃▄▅▆▇█"
    assert curves.sparkline([1.0] * 5, 5) == "▁▁▁▁▁"
    assert curves.sparkline([1.0, math.nan, 2.0], 3) == "▁ █"
    assert curves.sparkline([], 5) == ""
    assert len(curves.sparkline(range(1000), 20)) == 20


# --- rows -------------------------------------------------------------------------------------


def test_rows_become_curves() -> None:
    rows = [
        row(1, 1, "train", loss=0.5, lr=0.1),
        row(2, 1, "train", loss=None, lr=0.1, nonfinite={"loss": "inf"}),
        row(2, 1, "validation", weights="current", loss=0.4, accuracy=0.8),
        row(3, 2, "train", loss=0.3, lr=0.1),
        row(4, 2, "train", loss=0.2, lr=0.1),
        row(4, 2, "validation", weights="current", loss=0.1, accuracy=0.9),
        row(4, 2, "train", weights="current", loss=0.25),
        row(4, 2, "validation", weights="current", loss=0.11, accuracy=0.9),
        row(4, 2, "test", weights="best", loss=0.7),
    ]
    found = curves.curves(rows)
    assert found.steps.steps.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(found.steps.values, [0.5, np.nan, 0.3, 0.2])
    validation = found.evaluations["validation"]
    assert list(validation) == ["loss", "accuracy"]
    assert validation["loss"].values.tolist() == [0.4, 0.11]  # the later row of a step counts
    assert validation["accuracy"].epochs.tolist() == [1, 2]
    assert "test" not in found.evaluations


def test_no_rows_are_empty_curves() -> None:
    found = curves.curves([])
    assert len(found.steps) == 0
    assert found.evaluations == {}
