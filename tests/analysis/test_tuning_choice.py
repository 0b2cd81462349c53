"""What is tried for each contender, and what is chosen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossbench.analysis import tuning
from lossbench.errors import UsageError

LR = {"lr": tuning.Range()}


def rates(default: float, trials: int = 16) -> list[float]:
    return [candidate["lr"] for candidate in tuning.candidates(LR, {"lr": default}, trials)]


def test_the_default_is_the_first_candidate():
    assert rates(0.01)[0] == 0.01
    assert rates(0.01, trials=1) == [0.01]


@given(st.floats(1e-6, 10))
def test_the_list_is_the_same_for_all_relative_to_their_default(default):
    mine, adams = np.array(rates(default)), np.array(rates(1e-3))
    np.testing.assert_allclose(mine / default, adams / 1e-3, rtol=1e-9)
    low, high = 1e-5 * default / 1e-3, 1.0 * default / 1e-3
    assert ((mine >= low * (1 - 1e-12)) & (mine <= high * (1 + 1e-12))).all()


def test_a_range_without_reference_is_the_same_for_all():
    fixed = {"lr": tuning.Range(1e-4, 1.0, reference=None)}
    a, b = (tuning.candidates(fixed, {"lr": default}, 9)[1:] for default in (0.01, 0.3))
    assert a == b


@pytest.mark.parametrize("trials", [9, 17, 33])
def test_the_list_is_even_in_the_logarithm(trials):
    """Scrambled Sobol points: one in each of 2^k equal parts of the range."""
    logs = (np.log10(rates(1e-3, trials)[1:]) + 5) / 5
    parts = np.floor(logs * (trials - 1)).astype(int)
    assert sorted(parts.tolist()) == list(range(trials - 1))


def test_a_shorter_list_begins_a_longer_one_and_repeats():
    assert rates(0.1, 8) == rates(0.1, 40)[:8]
    assert rates(0.1, 8) == rates(0.1, 8)
    other = tuning.candidates(LR, {"lr": 0.1}, 8, seed=1)
    assert [candidate["lr"] for candidate in other][1:] != rates(0.1, 8)[1:]


def test_several_keys_fill_the_square():
    ranges = {"lr": tuning.Range(), "weight_decay": tuning.Range(1e-6, 1e-2, reference=None)}
    found = tuning.candidates(ranges, {"lr": 1e-3, "weight_decay": 1e-4}, 17)
    assert found[0] == {"lr": 1e-3, "weight_decay": 1e-4}
    cells = {
        (
            int((math.log10(candidate["lr"]) + 5) / 5 * 4),
            int((math.log10(candidate["weight_decay"]) + 6) / 4 * 4),
        )
        for candidate in found[1:]
    }
    assert len(cells) == 16


def test_tuning_seeds_are_disjoint_and_stay():
    few = tuning.tuning_seeds(range(5), 3)
    assert few == tuning.tuning_seeds(range(500), 3)
    taken = {tuning.FIRST_TUNING_SEED, tuning.FIRST_TUNING_SEED + 2, 0}
    found = tuning.tuning_seeds(taken, 3)
    assert len(set(found)) == 3
    assert not set(found) & taken


def test_the_score_is_the_median_and_divergence_is_infinite():
    assert tuning.score([1.0, 2.0, math.nan]) == 2.0
    assert tuning.score([1.0, math.nan, math.inf]) == math.inf
    assert tuning.score([0.9, 0.8, math.nan], lower_is_better=False) == 0.8
    assert tuning.score([math.nan] * 2, lower_is_better=False) == -math.inf
    assert tuning.score([]) == math.inf


TRIED = [{"lr": rate} for rate in (0.01, 0.1, 0.001, 1.0)]


def test_ties_go_to_the_smaller_rate():
    found = tuning.choose(TRIED, [[1.0], [0.5], [0.5], [math.nan]])
    assert found.choice == {"lr": 0.001}
    assert found.edges == {"lr": "low"}
    assert (found.default_score, found.score) == (1.0, 0.5)


def test_a_choice_inside_the_range_is_not_flagged():
    found = tuning.choose(TRIED, [[1.0], [0.5], [2.0], [3.0]])
    assert found.choice == {"lr": 0.1}
    assert found.edges == {}


def test_the_upper_edge_and_metrics_of_which_more_is_better():
    accuracies = [[0.5, 0.6, 0.7], [0.6, 0.6, 0.6], [0.2, 0.2, 0.2], [0.9, 0.9, math.nan]]
    found = tuning.choose(TRIED, accuracies, lower_is_better=False)
    assert found.choice == {"lr": 1.0}
    assert found.edges == {"lr": "high"}


def test_where_everything_diverges_the_default_stays():
    found = tuning.choose(TRIED, [[math.nan]] * 4)
    assert found.choice == TRIED[0]
    assert not found.usable
    assert found.edges == {}


def test_the_sensitivity_curve_is_in_order():
    found = tuning.choose(TRIED, [[1.0], [0.5], [2.0], [math.nan]])
    assert found.sensitivity("lr") == ((0.001, 2.0), (0.01, 1.0), (0.1, 0.5), (1.0, math.inf))


@given(st.permutations(range(4)))
def test_the_choice_does_not_depend_on_the_order(order):
    values = [[1.0], [0.5], [0.5], [3.0]]
    found = tuning.choose([TRIED[i] for i in order], [values[i] for i in order])
    assert found.choice == {"lr": 0.001}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: tuning.Range(0.0, 1.0),
        lambda: tuning.Range(1.0, 0.1),
        lambda: tuning.Range(1.0, math.inf),
        lambda: tuning.candidates(LR, {"lr": 0.1}, 0),
        lambda: tuning.candidates({}, {}, 3),
        lambda: tuning.candidates(LR, {"lr": 0.0}, 3),
        lambda: tuning.choose(TRIED, [[1.0]]),
        lambda: tuning.choose([], []),
    ],
)
def test_what_cannot_be_tuned_is_refused(wrong):
    with pytest.raises(UsageError):
        wrong()
