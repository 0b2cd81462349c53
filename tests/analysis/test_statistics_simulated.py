"""What intervals cover and how often tests cry wolf, counted over thousands of comparisons."""

import numpy as np
import pytest

from lossbench.analysis import statistics
from lossbench.analysis.compare import compare
from lossbench.analysis.paired import compare_pairs
from lossbench.analysis.table import Table

REPETITIONS = 10_000


def coverage(draw, truth, count):
    hits = 0
    for _ in range(REPETITIONS):
        found = statistics.mean_interval(draw(count))
        hits += found.low <= truth <= found.high
    return hits / REPETITIONS


@pytest.mark.parametrize("count", [3, 5, 10])
def test_a_95_percent_interval_covers_normal_differences(count):
    rng = np.random.default_rng(count)
    assert 0.93 <= coverage(lambda n: rng.normal(0.3, 2.0, n), 0.3, count) <= 0.97


# Recorded, not promised: 200 000 repetitions with scipy gave 0.924, 0.916, 0.921 at sigma 0.5 and
# 0.839, 0.822, 0.839 at sigma 1. Raw lognormal values are skewed, and the interval covers less than
# it says, at ten of them no more than at three. Log ratios of lognormal losses are normal: there it
# holds (the test below).
LOGNORMAL = {0.5: (0.90, 0.94), 1.0: (0.80, 0.86)}


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("sigma", LOGNORMAL)
def test_what_the_interval_covers_of_raw_lognormal_values(count, sigma):
    rng = np.random.default_rng(count)
    low, high = LOGNORMAL[sigma]
    truth = np.exp(sigma**2 / 2)
    found = coverage(lambda n: np.exp(rng.normal(0, sigma, n)), truth, count)
    assert low <= found <= high


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_factor_between_lognormal_losses_is_covered(count):
    rng = np.random.default_rng(10 + count)
    hits, repetitions = 0, 1500
    for _ in range(repetitions):
        shared = rng.normal(0, 1, count)  # what a seed has in common for both contenders
        first = np.exp(shared + rng.normal(np.log(2), 0.5, count))
        second = np.exp(shared + rng.normal(0, 0.5, count))
        size = compare_pairs(("A", "B"), first, second, scale="ratio").size
        assert size is not None
        hits += size.low <= 2 <= size.high
    assert 0.93 <= hits / repetitions <= 0.97


BOOTSTRAP = {3: 0.74, 5: 0.83, 10: 0.89}


@pytest.mark.parametrize("count", BOOTSTRAP)
def test_the_percentile_bootstrap_covers_less_than_it_says(count):
    """The reason why it decides nothing."""
    rng = np.random.default_rng(count)
    hits, repetitions = 0, 600
    for _ in range(repetitions):
        found = statistics.bootstrap_interval(
            rng.normal(size=count), np.mean, rng=rng, resamples=500
        )
        hits += found.low <= 0 <= found.high
    assert hits / repetitions == pytest.approx(BOOTSTRAP[count], abs=0.05)


@pytest.mark.parametrize("count", [6, 10, 20])
@pytest.mark.parametrize("kind", ["normal", "lognormal losses", "heavy tails"])
def test_one_config_under_two_names_is_called_different_in_5_percent(count, kind):
    rng = np.random.default_rng(count)
    draw = {
        "normal": lambda: rng.normal(1, 0.1, count),
        "lognormal losses": lambda: np.exp(rng.normal(0, 1, count)),
        "heavy tails": lambda: rng.standard_cauchy(count),
    }[kind]
    repetitions = 2000
    alarms = sum(statistics.sign_flip(draw() - draw()) <= 0.05 for _ in range(repetitions))
    # The exact level is the largest multiple of 2^(1-n) up to 0.05; allow 4 standard errors.
    level = np.floor(0.05 * 2 ** (count - 1)) / 2 ** (count - 1)
    assert alarms / repetitions == pytest.approx(level, abs=4 * np.sqrt(0.05 * 0.95 / repetitions))


def test_the_level_holds_with_failures():
    """Each trial of both diverges with the same chance: no contender is worse."""
    rng = np.random.default_rng(2)
    alarms, repetitions = 0, 1500
    for _ in range(repetitions):
        values = rng.normal(size=(2, 12))
        values[rng.random((2, 12)) < 0.3] = np.inf
        alarms += compare_pairs(("A", "B"), *values).p <= 0.05
    assert 0.03 <= alarms / repetitions <= 0.065


def test_a_family_of_claims_keeps_its_level():
    """Four equal contenders, three claims: a false verdict in at most 5 % of comparisons."""
    rng = np.random.default_rng(4)
    claims = [f"{name} below D on validation/loss" for name in "ABC"]
    alarms, repetitions = 0, 250
    for _ in range(repetitions):
        table = Table.from_values({name: np.exp(rng.normal(size=9)).tolist() for name in "ABCD"})
        alarms += any(v.outcome != "not decided" for v in compare(table, claims=claims).verdicts)
    assert alarms / repetitions <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def test_a_difference_is_found_with_the_seeds_that_were_said_to_be_needed():
    rng = np.random.default_rng(6)
    seeds = statistics.seeds_to_decide(0.8)
    assert seeds is not None
    found = [statistics.sign_flip(rng.normal(0.8, 1, seeds)) <= 0.05 for _ in range(600)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
