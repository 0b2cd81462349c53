"""Tests and intervals against brute force, scipy and second derivations."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.analysis import statistics

finite = st.floats(-1e3, 1e3)
some = arrays(np.float64, st.integers(1, 9), elements=finite)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def brute_force(differences: np.ndarray) -> float:
    """Add up every one of the 2^n flips."""
    observed = abs(differences.sum())
    slack = 1e-10 * np.abs(differences).sum()
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return float(np.mean(np.array(sums) >= observed - slack))


# --- the sign-flip test ------------------------------------------------------------------------


@given(some)
def test_sign_flip_counts_what_brute_force_counts(differences):
    assert statistics.sign_flip(differences) == pytest.approx(brute_force(differences), abs=1e-12)


@given(arrays(np.float64, st.integers(1, 9), elements=st.integers(-3, 3).map(float)))
def test_sign_flip_counts_ties_as_brute_force_does(differences):
    assert statistics.sign_flip(differences) == brute_force(differences)


@pytest.mark.parametrize("count", [2, 5, 8, 11])
def test_sign_flip_agrees_with_scipy(count):
    values = np.random.default_rng(count).normal(0.5, 1, count)
    expected = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert statistics.sign_flip(values) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_of_ranks_is_wilcoxons_exact_test():
    values = np.random.default_rng(3).normal(0.4, 1, 14)
    expected = scipy.stats.wilcoxon(values, method="exact").pvalue
    found = statistics.sign_flip(statistics.signed_ranks(values))
    assert found == pytest.approx(expected, abs=1e-12)


def test_sign_flip_at_the_largest_exact_size_agrees_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(0.4, 1, 20)
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    assert statistics.sign_flip(values) == pytest.approx(2 * scipy.stats.norm.sf(z), abs=0.01)


def test_random_flips_agree_with_all_flips_and_repeat():
    values = np.random.default_rng(5).normal(0.35, 1, 21)  # one more than is counted exactly
    half = len(values) // 2
    left = statistics._flipped_sums(values[:half])
    right = statistics._flipped_sums(values[half:])
    exact = np.mean([(np.abs(right + part) >= abs(values.sum())).mean() for part in left])
    found = statistics.sign_flip(values, seed=1)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / statistics.FLIPS))
    assert found == statistics.sign_flip(values, seed=1)
    assert found != statistics.sign_flip(values, seed=2)
    assert found == statistics.sign_flip(values, seed=np.random.default_rng(1))


@pytest.mark.parametrize("count", [24, 77, 1000])
def test_random_flips_agree_with_the_normal_approximation(count):
    """Sums of many signs are nearly normal: a second derivation where no brute force reaches."""
    values = np.random.default_rng(count).normal(1.5 / np.sqrt(count), 1, count)
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    expected = 2 * scipy.stats.norm.sf(z)
    assert 0.01 < expected < 0.5  # else this would say little
    noise = 4 * np.sqrt(expected / statistics.FLIPS)
    assert statistics.sign_flip(values) == pytest.approx(expected, abs=noise + 0.3 / count)


def test_random_flips_do_not_mind_how_they_are_cut_into_blocks(monkeypatch):
    values = np.random.default_rng(2).normal(0.1, 1, 301)
    whole = statistics.sign_flip(values)
    monkeypatch.setattr(statistics, "_BLOCK", 38 * 999)  # some flips at a time, and a rest
    assert statistics.sign_flip(values) == whole


@given(arrays(np.float64, st.integers(21, 60), elements=st.floats(0.01, 1)), st.floats(0.05, 1))
@settings(max_examples=30)
def test_flips_are_spared_only_where_none_would_count(magnitudes, share):
    magnitudes = np.sort(magnitudes)
    threshold = share * magnitudes.sum()
    highest = statistics._highest_share(magnitudes, threshold)
    rng = np.random.default_rng(0)
    found = statistics._random_beyond(magnitudes, threshold, rng) / statistics.FLIPS
    assert found <= highest + 5 * np.sqrt(highest / statistics.FLIPS) + 1e-9
    if statistics.FLIPS * highest < 1e-3:
        assert found == 0


def test_a_clear_difference_of_many_seeds_needs_no_flips(monkeypatch):
    values = np.random.default_rng(1).normal(1, 1, 2000)
    found = statistics.sign_flip(values)
    monkeypatch.setattr(statistics, "_NEVER", 0.0)
    assert statistics.sign_flip(values) == found == 1 / (1 + statistics.FLIPS)


def test_random_flips_never_say_impossible():
    assert statistics.sign_flip(np.ones(60)) == 1 / (1 + statistics.FLIPS)


@pytest.mark.parametrize("seeds", [1, 2, 5, 6, 20])
def test_the_smallest_p_is_reached_where_all_agree(seeds):
    everyone_better = np.linspace(1, 2, seeds)
    assert statistics.sign_flip(everyone_better) == statistics.smallest_p(seeds) == 2 ** (1 - seeds)


@given(some, st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_sign_flip_does_not_mind_order_scale_or_who_is_first(differences, factor, random):
    found = statistics.sign_flip(differences)
    shuffled = differences.tolist()
    random.shuffle(shuffled)
    assert statistics.sign_flip(shuffled) == found
    assert statistics.sign_flip(-differences) == found
    # Powers of two scale without rounding.
    assert statistics.sign_flip(differences * 2.0 ** round(math.log2(factor))) == found


def test_random_flips_do_not_mind_the_order():
    values = np.random.default_rng(0).normal(0.2, 1, 50)
    shuffled = np.random.default_rng(1).permutation(values)
    assert statistics.sign_flip(values) == statistics.sign_flip(shuffled)


@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_identical_contenders_never_differ(count):
    assert statistics.sign_flip(np.zeros(count)) == 1.0


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_sign_flip_refuses_what_is_not_finite(wrong):
    with pytest.raises(ValueError, match="finite"):
        statistics.sign_flip([1.0, wrong])


@given(some)
def test_midranks_are_scipys(values):
    np.testing.assert_array_equal(statistics.midranks(values), scipy.stats.rankdata(values))


def test_failures_have_the_largest_rank_and_share_it():
    ranks = statistics.signed_ranks([0.5, -np.inf, 0.0, np.inf, -0.1])
    assert ranks.tolist() == [3, -4.5, 0, 4.5, -2]


# --- Holm --------------------------------------------------------------------------------------


@given(p_values)
def test_holm_is_the_closure_of_bonferroni(values):
    """A second derivation: the largest Bonferroni p over all sets that hold the hypothesis."""
    count = len(values)
    subsets = [
        subset
        for size in range(1, count + 1)
        for subset in itertools.combinations(range(count), size)
    ]
    expected = [
        max(
            min(1.0, len(subset) * min(values[index] for index in subset))
            for subset in subsets
            if place in subset
        )
        for place in range(count)
    ]
    np.testing.assert_allclose(statistics.holm(values), expected, rtol=1e-12)


@given(p_values, st.randoms(use_true_random=False))
def test_holm_does_not_mind_the_order(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    shuffled = statistics.holm([values[place] for place in order])
    np.testing.assert_array_equal(shuffled, statistics.holm(values)[order])


def test_holm_of_nothing_is_nothing():
    assert len(statistics.holm([])) == 0


# --- intervals and effects ---------------------------------------------------------------------


@given(arrays(np.float64, st.integers(2, 9), elements=finite), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_mean_interval_is_scipys(values, level):
    found = statistics.mean_interval(values, level=level)
    spread = scipy.stats.sem(values)
    if values.min() == values.max():
        assert found.low == found.high == found.estimate
        return
    if spread < 1e-100:
        return  # the squares of such deviations are no longer numbers
    low, high = scipy.stats.t.interval(level, len(values) - 1, values.mean(), spread)
    scale = np.abs(values).max()
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9 * scale)


@given(arrays(np.float64, st.integers(2, 9), elements=st.floats(-10, 10)), st.floats(-10, 10))
def test_adding_a_constant_shifts_the_interval_and_nothing_else(values, constant):
    before, after = statistics.mean_interval(values), statistics.mean_interval(values + constant)
    np.testing.assert_allclose(
        [after.estimate, after.low, after.high],
        np.array([before.estimate, before.low, before.high]) + constant,
        atol=1e-9,
    )


def test_one_value_has_no_interval():
    found = statistics.mean_interval([3.0])
    assert found.estimate == 3.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(statistics.mean_interval([]).estimate)


@given(
    arrays(np.float64, st.integers(2, 12), elements=st.floats(-5, 5).map(lambda x: round(x, 3))),
    st.floats(0.01, 5),
)
def test_a_tie_is_an_interval_within_the_margin(values, margin):
    interval = statistics.mean_interval(values)
    within, beyond = statistics.tie_test(values, margin)
    edges = [abs(abs(end) - margin) for end in (interval.low, interval.high)]
    if min(edges) < 1e-9:
        return  # on the edge rounding decides
    assert (within <= 0.05) == (-margin < interval.low and interval.high < margin)
    assert (beyond <= 0.05) == (interval.low > margin or interval.high < -margin)


def test_nothing_ties_with_one_seed():
    assert statistics.tie_test([0.0], 1.0) == (1.0, 1.0)


@given(arrays(np.float64, st.integers(3, 20), elements=finite))
def test_skewness_is_scipys(values):
    if np.std(values) < 1e-3:
        return
    expected = scipy.stats.skew(values, bias=False)
    assert statistics.skewness(values) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_last_bits_of_equal_ratios_are_no_spread():
    seeds = np.arange(8)
    ratios = statistics.log_ratios(1 + seeds / 50, 2 * (1 + seeds / 50))
    assert len(set(ratios.tolist())) > 1
    assert statistics.cohens_d(ratios) == -math.inf
    assert math.isnan(statistics.skewness(ratios))


def test_strong_skewness_is_told_from_chance():
    rng = np.random.default_rng(0)
    assert statistics.strongly_skewed(np.exp(rng.normal(0, 1.5, 40)))
    normal = [statistics.strongly_skewed(rng.normal(size=10)) for _ in range(400)]
    assert np.mean(normal) < 0.1
    assert not statistics.strongly_skewed([1.0, 1.0, 1.0])
    assert not statistics.strongly_skewed([])


def test_effect_sizes():
    assert statistics.cohens_d([1.0, 2.0, 3.0]) == pytest.approx(2.0)
    assert statistics.cohens_d([2.0, 2.0]) == math.inf
    assert statistics.cohens_d([-2.0, -2.0]) == -math.inf
    assert math.isnan(statistics.cohens_d([0.0, 0.0]))
    assert math.isnan(statistics.cohens_d([1.0]))


@given(
    arrays(np.float64, st.integers(1, 8), elements=st.integers(-2, 2).map(float)),
    arrays(np.float64, st.integers(1, 8), elements=st.integers(-2, 2).map(float)),
)
def test_common_language_is_mann_whitneys_u(first, second):
    expected = scipy.stats.mannwhitneyu(second, first).statistic / (len(first) * len(second))
    assert statistics.common_language(first, second) == pytest.approx(expected)


def test_common_language_takes_failures():
    assert statistics.common_language([1.0, np.inf], [2.0, np.inf]) == (1 + 1 + 0 + 0.5) / 4


@pytest.mark.parametrize(("wins", "losses"), [(0, 5), (5, 0), (3, 7), (19, 1)])
def test_the_chance_to_win_has_the_exact_binomial_interval(wins, losses):
    found = statistics.win_probability(wins, 0, losses)
    expected = scipy.stats.binomtest(wins, wins + losses).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_ties_count_half_and_nothing_is_known_without_seeds():
    assert statistics.win_probability(1, 2, 1).estimate == 0.5
    nothing = statistics.win_probability(0, 0, 0)
    assert (nothing.low, nothing.high) == (0, 1)


def test_the_bootstrap_repeats_and_describes():
    values = np.random.default_rng(0).normal(size=200)
    first, second = (
        statistics.bootstrap_interval(values, np.mean, rng=np.random.default_rng(7))
        for _ in range(2)
    )
    assert first == second
    student = statistics.mean_interval(values)
    assert (first.low, first.high) == pytest.approx((student.low, student.high), abs=0.02)


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300))
def test_log_ratios_lose_neither_tiny_nor_huge_values(a, b):
    found = statistics.log_ratios(np.array([a]), np.array([b]))[0]
    assert found == pytest.approx(math.log(a) - math.log(b), abs=1e-9)


# --- how many seeds ----------------------------------------------------------------------------


@pytest.mark.parametrize(("claims", "seeds"), [(1, 6), (2, 7), (4, 8), (10, 9)])
def test_the_fewest_seeds(claims, seeds):
    assert statistics.fewest_seeds(claims) == seeds
    assert claims * statistics.smallest_p(seeds) <= 0.05 < claims * statistics.smallest_p(seeds - 1)


def test_smallest_attainable_p():
    assert statistics.smallest_p(5) == 0.0625
    assert statistics.smallest_p(6) == 0.03125
    assert statistics.smallest_p(0) == statistics.smallest_p(1) == 1


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("claims", [1, 4])
def test_seeds_to_decide_have_the_power_they_promise(effect, claims):
    def power(seeds: int) -> float:
        bound = scipy.stats.t.ppf(1 - 0.05 / claims / 2, seeds - 1)
        return float(scipy.stats.nct.sf(bound, seeds - 1, effect * np.sqrt(seeds)))

    seeds = statistics.seeds_to_decide(effect, claims=claims)
    assert seeds is not None
    assert power(seeds) >= 0.8 > power(seeds - 1)


def test_seeds_to_decide_at_the_ends():
    assert statistics.seeds_to_decide(math.inf) == statistics.seeds_to_decide(1e6) == 6
    assert statistics.seeds_to_decide(-math.inf, claims=4) == 8
    assert statistics.seeds_to_decide(0.01) is None
    assert statistics.seeds_to_decide(0.0) is None
    assert statistics.seeds_to_decide(math.nan) is None
    assert statistics.seeds_to_decide(0.5) == statistics.seeds_to_decide(-0.5) == 34


@settings(max_examples=30)
@given(st.floats(0.1, 20), st.floats(1.01, 3))
def test_a_larger_effect_needs_no_more_seeds(effect, factor):
    small, large = (statistics.seeds_to_decide(effect * f) for f in (1, factor))
    assert large is not None
    assert small is None or large <= small
