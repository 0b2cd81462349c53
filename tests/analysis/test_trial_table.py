"""The table of trials: what it holds, and what a failure is worth at each moment."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.analysis import traces as traces_module
from lossbench.analysis.table import BEST, END, Contender, Metric, Moment, Table, Trial
from lossbench.analysis.traces import Traces
from lossbench.errors import UnknownNameError, UsageError

LOSS, ACCURACY = "validation/loss", "validation/accuracy"
METRICS = (Metric(LOSS), Metric(ACCURACY, lower_is_better=False))
NAN = math.nan


def table() -> Table:
    trials = [
        Trial("A", 0, final={LOSS: 0.1, ACCURACY: 0.9}),
        Trial("A", 1, status="diverged", failed_at=20, final={LOSS: 7.0, ACCURACY: 0.2}),
        Trial("B", 1, final={LOSS: 0.3, ACCURACY: 0.8}),
        Trial("B", 0, status="stopped", final={LOSS: 0.2, ACCURACY: 0.7}),
        Trial("B", 2, status="missing"),
    ]
    curves = Traces(
        steps=[10, 20, 30],
        values=[[1.0, 0.5, 0.1], [2.0, NAN, NAN], [3.0, 2.0, 0.3], [1.0, 0.2, NAN], [NAN] * 3],
    )
    return Table.from_trials(trials, ["A", "B"], METRICS, {LOSS: curves})


def test_a_failure_is_worst_in_the_direction_of_the_metric():
    np.testing.assert_array_equal(table().values(LOSS), [0.1, np.inf, 0.3, 0.2, NAN])
    np.testing.assert_array_equal(table().values(ACCURACY), [0.9, -np.inf, 0.8, 0.7, NAN])


def test_at_its_best_a_diverged_trial_counts_with_what_it_had_reached():
    np.testing.assert_array_equal(table().values(LOSS, BEST), [0.1, 2.0, 0.3, 0.2, NAN])


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (10, [1.0, 2.0, 3.0, 1.0, NAN]),
        (19, [1.0, 2.0, 3.0, 1.0, NAN]),  # the last point not after it
        (20, [0.5, np.inf, 2.0, 0.2, NAN]),  # diverged at step 20
        (30, [0.1, np.inf, 0.3, 0.2, NAN]),  # stopped early: keeps its value
    ],
)
def test_at_a_step(step, expected):
    np.testing.assert_array_equal(table().values(LOSS, Moment("step", step)), expected)


@pytest.mark.parametrize("step", [9, 31])
def test_a_step_that_was_not_recorded_is_refused(step):
    with pytest.raises(UsageError, match="from step 10 to step 30"):
        table().values(LOSS, Moment("step", step))


def test_without_final_values_the_last_point_counts():
    curves = Traces(steps=[1, 2], values=[[1.0, 0.5], [3.0, NAN]])
    made = Table.from_trials([Trial("A", 0), Trial("B", 0)], "AB", [LOSS], {LOSS: curves})
    np.testing.assert_array_equal(made.values(LOSS, END), [0.5, 3.0])


def test_pairs_share_seed_and_problem_whatever_the_order():
    first, second = table().pairs("A", "B")
    assert first.tolist() == [0, 1]
    assert second.tolist() == [3, 2]
    trials = [Trial("A", 0, "p"), Trial("A", 0, "q"), Trial("B", 0, "q")]
    made = Table.from_trials(trials, "AB", [LOSS])
    assert [rows.tolist() for rows in made.pairs("A", "B")] == [[1], [2]]
    assert len(made.pairs("A", "B", "p")[0]) == 0


def test_scales():
    assert table().scale(LOSS) == "ratio"
    assert table().scale(ACCURACY) == "difference"
    assert Table.from_values({"A": [0.1, 0.0]}).scale(LOSS) == "difference"
    assert Table.from_values({"A": [0.1, NAN]}).scale(LOSS) == "ratio"
    fixed = Metric("validation/mae", scale="difference")
    assert Table.from_values({"A": [1.0]}, fixed).scale("validation/mae") == "difference"


def test_one_spike_does_not_spoil_the_mean_of_later_points():
    values = np.full((1, 12), 0.25)
    values[0, 3] = 1e20
    settled = Traces(steps=np.arange(12), values=values, window=4).settled()
    np.testing.assert_array_equal(settled[0, 7:], 0.25)


def test_the_window_averages_what_is_known():
    settled = Traces(steps=np.arange(5), values=[[1.0, 3.0, NAN, 5.0, np.inf]], window=2).settled()
    np.testing.assert_array_equal(settled, [[1.0, 2.0, NAN, 5.0, NAN]])


@given(
    arrays(np.float64, (3, 9), elements=st.sampled_from([0.5, 1.0, 7.25, 1e3, NAN, np.inf])),
    st.integers(1, 12),
)
def test_every_window_is_the_mean_of_what_it_sees(values, window):
    traces = Traces(steps=np.arange(9), values=values, window=window)
    expected = np.full(values.shape, NAN)
    for trial, point in np.ndindex(values.shape):
        seen = values[trial, max(0, point - window + 1) : point + 1]
        if np.isfinite(values[trial, point]):
            expected[trial, point] = seen[np.isfinite(seen)].mean()
    np.testing.assert_allclose(traces.settled(), expected, rtol=1e-12)
    np.testing.assert_allclose(traces.settled(np.array([2, 0])), expected[[2, 0]], rtol=1e-12)
    at = np.array([0, 4, 8])
    np.testing.assert_allclose(traces.settled_at(at), expected[np.arange(3), at], rtol=1e-12)


def test_means_do_not_mind_in_which_blocks_they_are_formed(monkeypatch):
    values = np.random.default_rng(0).normal(size=(50, 40))
    whole = Traces(steps=np.arange(40), values=values, window=8).settled()
    monkeypatch.setattr(traces_module, "_BLOCK", 3 * 40)
    blocks = Traces(steps=np.arange(40), values=values, window=8).settled()
    np.testing.assert_array_equal(blocks, whole)


def test_names_are_found_or_suggested():
    assert table().find("A") == Contender("A")
    with pytest.raises(UnknownNameError):
        table().find("C")
    with pytest.raises(UnknownNameError, match="accuracy"):
        table().metric("validation/acuracy")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Table.from_trials([], ["A", "A"], [LOSS]), "two contenders have the name 'A'"),
        (lambda: Table.from_trials([Trial("A", 0)] * 2, "A", [LOSS]), "have the seed 0"),
        (lambda: Table.from_trials([Trial("Adma", 0)], ["Adam"], [LOSS]), "Adam"),
        (lambda: Table.from_trials([Trial("A", 0, status="lost")], "A", [LOSS]), "no status"),
        (lambda: Table.from_trials([Trial("A", 0, final={"x": 1.0})], "A", [LOSS]), "described"),
        (lambda: Traces(steps=[1], values=[1.0]), r"\[trials, points\]"),
        (lambda: Traces(steps=[1, 2], values=[[1.0]]), "steps"),
        (lambda: Traces(steps=[1], values=[[1.0]], window=0), "window"),
        (
            lambda: Table.from_trials(
                [Trial("A", 0)], "A", [LOSS], {LOSS: Traces([1], [[1.0], [2.0]])}
            ),
            "1 trials, but 2 entries",
        ),
        (lambda: Table.from_values({"A": [1.0]}).values(LOSS, BEST), "no best value"),
        (lambda: Table.from_values({"A": [1.0]}).values(LOSS, Moment("step", 1)), "no curve"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
