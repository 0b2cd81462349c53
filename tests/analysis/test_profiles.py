"""Performance profiles against numeric integration."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossbench.analysis.profiles import profile
from lossbench.errors import UsageError

cost = st.one_of(st.floats(0.01, 100), st.just(math.inf))


@given(st.lists(st.tuples(cost, cost, cost), min_size=1, max_size=6), st.floats(1.5, 10))
def test_the_score_is_the_integral_of_the_profile(rows, farthest):
    found = profile(dict(zip("ABC", zip(*rows, strict=True), strict=True)), farthest=farthest)
    # Midpoints of a fine grid: the curve is a staircase, each stair costs one cell at most.
    cells = 4000
    grid = 1 + (np.arange(cells) + 0.5) / cells * (farthest - 1)
    for name in "ABC":
        ratios = np.array(found.ratios[name])
        heights = (ratios[:, None] <= grid).mean(axis=0)
        assert found.score(name) == pytest.approx(heights.mean(), abs=2 / cells)
        assert found.at(name, float(grid[7])) == heights[7]


@given(st.lists(st.tuples(cost, cost), min_size=1, max_size=6), st.floats(0.1, 10))
def test_neither_units_nor_order_matter(rows, factor):
    first, second = zip(*rows, strict=True)
    plain = profile({"A": first, "B": second}).scores
    scaled = profile({"B": [x * factor for x in second], "A": [x * factor for x in first]}).scores
    assert scaled == pytest.approx(plain)
    assert profile({"A": first[::-1], "B": second[::-1]}).scores == pytest.approx(plain)


def test_the_best_everywhere_scores_one_and_who_solves_nothing_zero():
    found = profile({"A": [1, 2], "B": [2, 8], "C": [math.inf, math.inf]})
    assert found.scores == pytest.approx({"A": 1.0, "B": (2 / 3) / 2, "C": 0.0})
    assert found.steps("B") == ((1.0, 0.0), (2.0, 0.5), (4.0, 1.0))


def test_a_problem_that_nobody_solves_helps_nobody():
    assert profile({"A": [math.inf], "B": [math.inf]}).scores == {"A": 0.0, "B": 0.0}


def test_zero_is_matched_by_zero_only():
    assert profile({"A": [0.0], "B": [0.0], "C": [1e-9]}).scores == {"A": 1.0, "B": 1.0, "C": 0.0}


@pytest.mark.parametrize("costs", [{}, {"A": []}, {"A": [-1.0]}, {"A": [math.nan]}])
def test_what_is_no_cost_is_refused(costs):
    with pytest.raises(UsageError):
        profile(costs)


def test_a_profile_needs_room():
    with pytest.raises(UsageError, match="above 1"):
        profile({"A": [1.0]}, farthest=1.0)
