"""Bands over seeds: what they reach from and to; a failure never makes them look better."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lossbench.analysis.bands import MOST_POINTS, Course, courses, smooth_rows, spread_words
from lossbench.analysis.curves import smooth
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.traces import Traces


def table_of(
    values: np.ndarray,
    statuses: list[str] | None = None,
    *,
    metric: Metric | None = None,
    window: int = 1,
    cost: float | None = None,
) -> Table:
    """One contender, a row of values per seed, a point every 10 steps, 2 points an epoch."""
    metric = metric or Metric("validation/loss")
    count, points = values.shape
    statuses = statuses or ["done"] * count
    trials = [Trial("A", seed, status=status) for seed, status in enumerate(statuses)]
    steps = 10 * np.arange(1, points + 1)
    epochs = (np.arange(points) // 2 + 1).astype(float)
    traces = {metric.name: Traces(steps, values, epochs, window)}
    return Table.from_trials(trials, [Contender("A", seconds_per_step=cost)], [metric], traces)


def course_of(*arguments: object, **more: object) -> Course:
    table = table_of(*arguments, **more)  # type: ignore[arg-type]
    (found,) = courses(table, next(iter(table.traces)))
    return found


finite = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 6))


@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 24), st.integers(1, 7)), elements=finite))
def test_the_line_is_the_median_and_the_band_the_quantiles(values: np.ndarray) -> None:
    found = course_of(values)
    np.testing.assert_allclose(found.middle, np.median(values, axis=0), atol=1e-9)
    low, high = (0.1, 0.9) if len(values) >= 10 else (0.0, 1.0)
    np.testing.assert_allclose(found.low, np.quantile(values, low, axis=0), atol=1e-9)
    np.testing.assert_allclose(found.high, np.quantile(values, high, axis=0), atol=1e-9)
    assert found.trials == len(values)


def test_the_words_say_what_the_band_is() -> None:
    assert spread_words(9) == "lowest to highest"
    assert spread_words(10) == "10 to 90 %"


def test_a_failure_is_infinitely_bad_from_its_last_value_on() -> None:
    values = np.array([[4.0, 3.0, 2.0, 1.0], [4.0, 9.0, np.nan, np.nan], [4.0, 3.0, 2.0, 1.0]])
    found = course_of(values, ["done", "diverged", "done"])
    assert found.high.tolist() == [4.0, 9.0, math.inf, math.inf]
    assert found.middle.tolist() == [4.0, 3.0, 2.0, 1.0]
    most = course_of(values[[1, 1, 0]], ["diverged", "diverged", "done"])
    assert most.middle.tolist() == [4.0, 9.0, math.inf, math.inf]


def test_of_a_score_a_failure_is_infinitely_low() -> None:
    values = np.array([[0.5, np.nan], [0.5, 0.8]])
    found = course_of(
        values, ["diverged", "done"], metric=Metric("validation/accuracy", lower_is_better=False)
    )
    assert found.low.tolist() == [0.5, -math.inf]
    assert found.high.tolist() == [0.5, 0.8]


def test_who_stopped_early_keeps_the_last_value() -> None:
    found = course_of(np.array([[3.0, 2.0, np.nan], [3.0, 2.5, 2.0]]), ["stopped", "done"])
    assert found.low.tolist() == [3.0, 2.0, 2.0]
    assert found.high.tolist() == [3.0, 2.5, 2.0]


def test_axes_are_steps_gradual_epochs_and_own_seconds() -> None:
    found = course_of(np.ones((2, 6)), cost=0.5)
    assert found.steps.tolist() == [10, 20, 30, 40, 50, 60]
    assert found.epochs is not None
    assert found.epochs.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]  # not 1, 1, 2, 2, 3, 3
    assert found.seconds is not None
    assert found.seconds.tolist() == [5, 10, 15, 20, 25, 30]
    assert course_of(np.ones((2, 6))).axis("seconds") is None


def test_batch_losses_are_smoothed_and_thinned() -> None:
    rng = np.random.default_rng(0)
    course = np.exp(-np.arange(2000) / 500)
    noisy = course * np.exp(0.5 * rng.standard_normal((12, 2000)))
    found = course_of(noisy, metric=Metric("train/loss"), window=20)
    assert len(found.steps) == MOST_POINTS
    truth = np.interp(found.steps, 10 * np.arange(1, 2001), course)
    error = np.abs(np.log(found.middle / truth) - 0.125)  # the mean of exp(0.5 z) is exp(0.125)
    assert error[10:-10].max() < 0.1
    width = np.log(found.high / found.low)[10:-10]
    assert width.max() < 0.4  # single batches spread over 1.28 to either side of it


@settings(deadline=None, max_examples=40)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(3, 40)),
        elements=st.one_of(st.floats(0.01, 100), st.just(np.nan)),
    ),
    st.integers(1, 12),
    st.booleans(),
)
def test_rows_are_smoothed_as_single_curves_are(
    values: np.ndarray, radius: int, logarithmic: bool
) -> None:
    together = smooth_rows(values, radius, logarithmic=logarithmic)
    alone = np.array([smooth(row, radius, logarithmic=logarithmic) for row in values])
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-9)


def test_a_missing_contender_has_no_course() -> None:
    table = table_of(np.ones((2, 3)), ["missing", "missing"])
    assert courses(table, "validation/loss") == ()


def test_problems_are_kept_apart() -> None:
    trials = [Trial("A", 0, problem) for problem in ("one", "two")]
    traces = {"validation/loss": Traces(np.array([1]), np.array([[1.0], [2.0]]))}
    table = Table.from_trials(trials, ["A"], ["validation/loss"], traces)
    assert [(c.problem, c.middle[0]) for c in courses(table, "validation/loss")] == [
        ("one", 1.0),
        ("two", 2.0),
    ]
    assert len(courses(table, "validation/loss", "two")) == 1


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_band_never_crosses_its_line(count: int) -> None:
    rng = np.random.default_rng(count)
    found = course_of(rng.random((count, 30)), window=5)
    assert (found.low <= found.middle).all()
    assert (found.middle <= found.high).all()
