"""Times to a target: censored, never dropped; areas; stalls."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.times import (
    area_under_curve,
    compare_times,
    mean_heights,
    stalled_at,
    times_to,
)
from lossbench.analysis.traces import Traces
from lossbench.errors import UsageError

NAN = math.nan
LOSS = "validation/loss"


def made(rows, *, status=None, steps=(10, 20, 30, 40), contenders=("A", "B"), **more) -> Table:
    """Trials of contenders in turn: rows[contender][seed] is a curve."""
    trials, values = [], []
    names = [item if isinstance(item, str) else item.name for item in contenders]
    for name, curves in zip(names, rows, strict=True):
        for seed, curve in enumerate(curves):
            said = (status or {}).get((name, seed), "done")
            trials.append(Trial(name, seed, status=said))
            values.append(curve)
    traces = Traces(steps=steps, values=values, epochs=np.array(steps) / 20, **more)
    return Table.from_trials(trials, contenders, [LOSS], {LOSS: traces})


def test_the_first_point_at_the_value_counts():
    table = made([[[3, 2, 1, 2]], [[5, 4, 3, 2.5]]])
    assert times_to(table, LOSS, 2.0).reached.tolist() == [20, math.inf]
    assert times_to(table, LOSS, 2.0, "epochs").reached.tolist() == [1.0, math.inf]
    assert times_to(table, LOSS, 2.0).watched.tolist() == [40, 40]


def test_a_metric_of_which_more_is_better_is_reached_from_below():
    trials = [Trial("A", 0)]
    metric = Metric("validation/accuracy", lower_is_better=False)
    traces = Traces(steps=[1, 2, 3], values=[[0.2, 0.9, 0.8]])
    table = Table.from_trials(trials, "A", [metric], {metric.name: traces})
    assert times_to(table, metric.name, 0.85).reached.tolist() == [2]


def test_gradients_and_seconds_have_their_price():
    dear = Contender("SAM", gradients_per_step=2, seconds_per_step=0.5)
    table = made([[[3, 1, 1, 1]], [[3, 3, 1, 1]]], contenders=(dear, Contender("SGD")))
    assert times_to(table, LOSS, 2.0, "gradients").reached.tolist() == [40, 30]
    seconds = times_to(table, LOSS, 2.0, "seconds").reached
    assert seconds[0] == 10
    assert math.isnan(seconds[1])
    with pytest.raises(UsageError, match="not known"):
        compare_times(table, ("SAM", "SGD"), LOSS, 2.0, "seconds")
    pair = compare_times(table, ("SAM", "SGD"), LOSS, 2.0, "gradients")
    assert (pair.lower, pair.higher) == (0, 1)


def test_a_lucky_batch_is_no_arrival():
    noisy = [[3, 0.5, 3, 3]]
    assert times_to(made([noisy, noisy]), LOSS, 1.0).reached[0] == 20
    assert times_to(made([noisy, noisy], window=2), LOSS, 1.0).reached[0] == math.inf


def test_who_never_arrives_loses_against_who_does():
    fast, never = [3, 1, 1, 1], [3, 3, 3, 3]
    pair = compare_times(made([[fast] * 6, [never] * 6]), ("A", "B"), LOSS, 2.0)
    assert (pair.lower, pair.ties, pair.higher) == (6, 0, 0)
    assert pair.unmeasured == (0, 6)
    assert pair.p == 2**-5
    assert pair.direction == -1
    assert pair.size is None


def test_two_that_never_arrive_are_a_tie():
    never = [[3, 3, 3, 3]] * 6
    pair = compare_times(made([never, never]), ("A", "B"), LOSS, 2.0)
    assert (pair.lower, pair.ties, pair.higher, pair.p) == (0, 6, 0, 1.0)


def test_who_was_watched_for_too_short_is_not_called_slower():
    late, short = [3, 3, 3, 1], [3, 3, NAN, NAN]
    pair = compare_times(made([[late], [short]]), ("A", "B"), LOSS, 2.0)
    assert (pair.lower, pair.ties, pair.higher) == (0, 1, 0)
    assert compare_times(made([[short], [late]]), ("A", "B"), LOSS, 2.0).ties == 1
    # A trial that diverged would never have come.
    lost = made([[late], [short]], status={("B", 0): "diverged"})
    assert compare_times(lost, ("A", "B"), LOSS, 2.0).lower == 1
    # Watched for longer than the other needed: slower for certain.
    early = made([[[3, 1, 1, 1]], [short]])
    assert compare_times(early, ("A", "B"), LOSS, 2.0).lower == 1


def test_a_target_reached_at_time_zero_is_compared_by_differences():
    table = made([[[1, 1, 1, 1]], [[3, 3, 1, 1]]], steps=(0, 10, 20, 30))
    pair = compare_times(table, ("A", "B"), LOSS, 2.0)
    assert pair.scale == "difference"
    assert pair.lower == 1


def test_without_a_curve_nobody_knows():
    with pytest.raises(UsageError, match="no curve"):
        times_to(Table.from_values({"A": [1.0]}), LOSS, 0.5)


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(-5, 5)), min_size=2, max_size=8),
    st.floats(0, 1),
)
def test_the_area_is_exact_and_does_not_mind_a_further_point_on_the_line(points, share):
    axis = np.cumsum([step for step, _ in points])
    values = np.array([value for _, value in points])
    area = area_under_curve(axis, values)
    assert area == pytest.approx(np.trapezoid(values, axis), abs=1e-9)
    at = axis[0] + share * (axis[-1] - axis[0])
    place = int(np.searchsorted(axis, at))
    more = area_under_curve(
        np.insert(axis, place, at), np.insert(values, place, np.interp(at, axis, values))
    )
    assert more == pytest.approx(area, abs=1e-9)


def test_the_mean_height_of_a_course():
    table = made(
        [[[4, 2, 2, 2], [NAN, 2, 2, 2]], [[4, 2, NAN, NAN], [4, 2, NAN, NAN]]],
        status={("B", 0): "stopped", ("B", 1): "diverged"},
    )
    heights = mean_heights(table, LOSS)
    # Stopped early: its last value is held to the end.
    np.testing.assert_allclose(heights[:3], [(3 + 2 + 2) / 3, 2, (3 + 2 + 2) / 3])
    assert math.isnan(heights[3])


@given(
    arrays(np.float64, (6, 5), elements=st.one_of(st.just(NAN), st.just(np.inf), st.floats(0, 9))),
    st.lists(st.sampled_from(["done", "stopped", "stalled", "failed"]), min_size=6, max_size=6),
)
def test_mean_heights_are_those_of_every_course_by_itself(values, status):
    steps = np.array([1.0, 2, 5, 9, 10])
    table = Table.from_trials(
        [Trial("A", seed, status=status[seed]) for seed in range(6)],
        ["A"],
        [LOSS],
        {LOSS: Traces(steps, values)},
    )
    expected = []
    for curve, became in zip(values, status, strict=True):
        known = np.flatnonzero(~np.isnan(curve))
        height = NAN
        if len(known) and became != "failed":
            axis, course = steps[known[0] : known[-1] + 1], curve[known[0] : known[-1] + 1]
            if became == "stopped":
                axis, course = np.append(axis, 10), np.append(course, course[-1])
            if axis[-1] > axis[0] and np.isfinite(course).all():
                height = np.trapezoid(course, axis) / (axis[-1] - axis[0])
        expected.append(height)
    np.testing.assert_allclose(mean_heights(table, LOSS), expected, rtol=1e-12)
    some = np.array([4, 1])
    np.testing.assert_array_equal(mean_heights(table, LOSS, some), mean_heights(table, LOSS)[some])


def test_an_area_with_a_gap_says_nothing():
    assert math.isnan(area_under_curve([0, 1, 2], [1, np.inf, 1]))
    assert math.isnan(area_under_curve([0], [1]))


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([2.3, 2.3, 2.3, 2.31], 10),  # never left
        ([3.0, 2.3, 2.3, 2.3], 20),  # fell to it and stayed
        ([2.3, 2.3, 2.3, 1.0], -1),  # began there and learned
        ([2.3, 1.0, 0.5, 2.3], 40),  # one point of four is the share that is asked
        ([2.3, 2.3, NAN, NAN], 10),  # stopped early
        ([NAN, NAN, NAN, NAN], -1),
        ([0.1, 0.1, 0.1, 0.1], -1),
    ],
)
def test_stalls(curve, expected):
    traces = Traces(steps=[10, 20, 30, 40], values=[curve])
    assert stalled_at(traces, math.log(10)).tolist() == [expected]


def test_stalls_of_many_trials_have_levels_of_their_own():
    curves = [[2.3, 2.3, 2.3, 2.3], [2.3, 2.3, 2.3, 2.3], [3.0, 0.7, 0.7, 0.7], [0.7] * 4]
    traces = Traces(steps=[10, 20, 30, 40], values=curves)
    assert stalled_at(traces, np.array([2.3, 0.7, 0.7, NAN])).tolist() == [10, -1, 20, -1]


@given(
    arrays(np.float64, (5, 30), elements=st.sampled_from([0.98, 1.0, 1.015, 1.1, 3.0, NAN])),
    st.integers(1, 6),
)
def test_stalls_are_found_as_by_walking_back_along_every_curve(values, window):
    traces = Traces(steps=np.arange(1, 31), values=values, window=window)
    expected = []
    for curve, means in zip(values, traces.settled(), strict=True):
        known = np.flatnonzero(~np.isnan(curve))
        since = 30
        while since > 0 and (np.isnan(curve[since - 1]) or abs(means[since - 1] - 1) <= 0.02):
            since -= 1
        if len(known):
            since = max(since, known[0])
        enough = len(known) and known[-1] - since + 1 >= max(1, 0.25 * (known[-1] - known[0] + 1))
        expected.append(since + 1 if enough and since <= known[-1] else -1)
    assert stalled_at(traces, 1.0).tolist() == expected


def test_a_short_visit_at_the_end_is_no_stall():
    values = np.linspace(4, 2.3, 20)
    traces = Traces(steps=np.arange(20), values=[values])
    assert stalled_at(traces, 2.3).tolist() == [-1]
