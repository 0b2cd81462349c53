"""What becomes of claims: who decides, how failures count, what the sentence says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lossbench.analysis import statistics
from lossbench.analysis.claims import parse
from lossbench.analysis.paired import compare_pairs
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.traces import Traces
from lossbench.analysis.verdicts import judge
from lossbench.errors import UsageError

LOSS = "validation/loss"
NAN = math.nan


def factor_table(factor: float, seeds: int, *, spread: float = 0.3, **metric) -> Table:
    """SGD's losses, and Adam's that are smaller by about the factor."""
    rng = np.random.default_rng(seeds)
    sgd = np.exp(rng.normal(0, 0.5, seeds))
    adam = sgd / factor * np.exp(rng.normal(0, spread, seeds))
    return Table.from_values({"Adam": adam, "SGD": sgd}, Metric(LOSS, **metric))


def verdict(table: Table, *texts: str):
    return judge(table, [parse(text) for text in texts])[0]


# --- below and above ---------------------------------------------------------------------------


def test_a_clear_claim_is_supported_and_its_opposite_refuted():
    table = factor_table(3, 20)
    supported = verdict(table, f"Adam below SGD on {LOSS}")
    assert (supported.outcome, supported.holds) == ("supported", True)
    assert supported.p == 2**-19
    refuted = verdict(table, f"Adam above SGD on {LOSS}")
    assert (refuted.outcome, refuted.holds) == ("refuted", False)
    assert verdict(table, f"SGD above Adam on {LOSS}").outcome == "supported"
    assert supported.sentence.startswith("Adam ends lower than SGD on 20 of 20 seeds, by a factor")
    assert refuted.sentence == supported.sentence


def test_the_sentence_tells_the_geometric_mean_and_its_interval():
    table = Table.from_values({"Adam": [1.0, 1.0, 1.0, 1.0], "SGD": [2.0, 2.0, 8.0, 8.0]})
    logs = np.log([2, 2, 8, 8])
    reach = 3.1824463 * logs.std(ddof=1) / 2
    expected = np.exp([logs.mean(), logs.mean() - reach, logs.mean() + reach])
    found = verdict(table, f"SGD above Adam on {LOSS}")
    assert found.pair.size is not None
    size = found.pair.size
    assert (size.estimate, size.low, size.high) == pytest.approx(tuple(expected))
    assert found.sentence.startswith(
        "SGD ends higher than Adam on 4 of 4 seeds, by a factor of 4.0 (1.1 to 14)"
    )


def test_five_seeds_cannot_decide_and_six_can():
    five = verdict(factor_table(3, 5), f"Adam below SGD on {LOSS}")
    assert (five.outcome, five.label) == ("not decided", "not decided at 5 seeds")
    assert five.p == 0.0625
    assert five.seeds_needed == 6
    assert "5 seeds cannot decide a claim, about 6 would" in five.sentence
    assert verdict(factor_table(3, 6), f"Adam below SGD on {LOSS}").outcome == "supported"


def test_four_claims_need_eight_seeds():
    for seeds, outcome in ((7, "not decided"), (8, "supported")):
        rng = np.random.default_rng(0)
        values = {name: np.exp(rng.normal(0, 0.01, seeds)) for name in "ABCD"}
        values["E"] = 100 + rng.random(seeds)
        claims = [parse(f"{name} below E on {LOSS}") for name in "ABCD"]
        found = judge(Table.from_values(values), claims)
        assert {item.outcome for item in found} == {outcome}
        assert {item.adjusted for item in found} == {4 * 2 ** (1 - seeds)}
        if outcome == "not decided":
            assert {item.seeds_needed for item in found} == {8}
            assert "7 seeds cannot decide 4 claims, about 8 would" in found[0].sentence


@pytest.mark.parametrize("seeds", [0, 1])
def test_one_seed_or_none_decides_nothing(seeds):
    values = {"Adam": [1.0] * seeds, "SGD": [2.0] * seeds}
    found = verdict(Table.from_values(values), f"Adam below SGD on {LOSS}")
    assert found.outcome == "not decided"
    assert not found.holds
    assert found.seeds_needed == 6
    assert "at least 6 are needed" in found.sentence
    tie = verdict(Table.from_values(values), f"Adam ties SGD on {LOSS} within 5")
    assert tie.outcome == "not decided"


def test_seeds_needed_is_more_than_there_are_and_is_capped():
    weak = verdict(factor_table(1.05, 20), f"Adam below SGD on {LOSS}")
    assert weak.outcome == "not decided"
    assert weak.seeds_needed is not None
    assert weak.seeds_needed > 20
    assert f"about {weak.seeds_needed} would decide it" in weak.sentence
    none = verdict(
        Table.from_values({"A": [1.0, 2.0, 3.0, 4.0] * 5, "B": [1.01, 1.98, 3.03, 3.961] * 5}),
        f"A below B on {LOSS}",
    )
    assert none.seeds_needed is None
    assert "more than 1000 would be needed" in none.sentence


def test_identical_contenders_never_differ():
    table = Table.from_values({"A": [1.0, 2.0, 3.0] * 4, "B": [1.0, 2.0, 3.0] * 4})
    found = verdict(table, f"A below B on {LOSS}")
    assert (found.outcome, found.p, found.seeds_needed) == ("not decided", 1.0, None)
    assert found.sentence.startswith("A ends equal to B on all 12 seeds")
    assert verdict(table, f"A ties B on {LOSS} within 1e-9").outcome == "tied"


def test_a_metric_of_which_more_is_better_is_compared_by_differences():
    metric = Metric("validation/accuracy", lower_is_better=False)
    values = {"A": [0.9, 0.91, 0.92, 0.9, 0.91, 0.93], "B": [0.88, 0.9, 0.9, 0.87, 0.89, 0.9]}
    found = verdict(Table.from_values(values, metric), "A above B on validation/accuracy")
    assert found.outcome == "supported"
    assert found.sentence.startswith("A ends higher than B on 6 of 6 seeds, by 0.022 (0.014 to 0.0")


def test_a_margin_is_part_of_the_claim():
    table = Table.from_values(
        {"A": 1.0 + np.linspace(0, 0.01, 10), "B": 1.5 + np.linspace(0.01, 0, 10)}
    )
    assert verdict(table, f"A below B on {LOSS} by 0.4").outcome == "supported"
    assert verdict(table, f"B above A on {LOSS} by 0.4").outcome == "supported"
    # Lower indeed, but by less than the margin that the user stated: tied within it.
    tied = verdict(table, f"A below B on {LOSS} by 0.6")
    assert (tied.outcome, tied.holds) == ("tied", False)
    assert "less than 0.6 apart" in tied.sentence
    assert verdict(table, f"A above B on {LOSS} by 0.4").outcome == "refuted"


# --- failures ----------------------------------------------------------------------------------


def test_a_diverged_trial_is_a_loss_with_the_largest_rank():
    a = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    b = [1.01, 1.12, NAN, NAN, 1.43, 1.54, 1.65, 1.76]
    found = verdict(Table.from_values({"A": a, "B": b}), f"A below B on {LOSS}")
    assert found.outcome == "supported"
    assert found.pair.test == "ranks"
    assert (found.pair.lower, found.pair.unmeasured) == (8, (0, 2))
    assert found.p == 2**-7
    assert found.pair.measured == 6
    assert "B diverged on 2 of 8" in found.sentence
    assert "where both have a value (6)" in found.sentence


def test_divergence_outweighs_being_lower_where_it_converged():
    lower_but_fragile = [0.5] * 6 + [NAN] * 6
    found = verdict(
        Table.from_values({"A": lower_but_fragile, "B": [1.0] * 12}), f"A below B on {LOSS}"
    )
    assert found.pair.direction == 1
    assert found.outcome == "not decided"


def test_both_diverged_is_a_tie_of_the_pair_and_is_counted():
    values = {"A": [1.0, NAN, NAN], "B": [2.0, NAN, 3.0]}
    pair = verdict(Table.from_values(values), f"A below B on {LOSS}").pair
    assert (pair.seeds, pair.lower, pair.ties, pair.higher) == (3, 1, 1, 1)
    assert pair.unmeasured == (2, 1)


def test_all_diverged():
    table = Table.from_values({"A": [NAN] * 6, "B": [1.0] * 6})
    found = verdict(table, f"B below A on {LOSS}")
    assert found.outcome == "supported"
    assert found.pair.size is None
    assert "A diverged on 6 of 6" in found.sentence
    nobody = verdict(Table.from_values({"A": [NAN] * 6, "B": [NAN] * 6}), f"B below A on {LOSS}")
    assert (nobody.outcome, nobody.p) == ("not decided", 1.0)
    tie = verdict(
        Table.from_values({"A": [NAN] * 6, "B": [NAN] * 6}), f"B ties A on {LOSS} within 1"
    )
    assert tie.outcome == "not decided"


def test_a_failure_counts_against_more_is_better_too():
    metric = Metric("validation/accuracy", lower_is_better=False)
    values = {"A": [0.1] * 6, "B": [NAN] * 6}
    found = verdict(Table.from_values(values, metric), "A above B on validation/accuracy")
    assert found.outcome == "supported"


finals = arrays(
    np.float64, st.integers(2, 8), elements=st.floats(0.01, 100) | st.just(np.inf), unique=False
)


@given(finals, st.randoms(use_true_random=False), st.sampled_from(["ratio", "difference"]))
def test_swapping_and_shuffling_change_nothing(first, random, scale):
    second = first[::-1] * 1.5
    pair = compare_pairs(("A", "B"), first, second, scale=scale)
    back = compare_pairs(("B", "A"), second, first, scale=scale).swapped()
    order = list(range(len(first)))
    random.shuffle(order)
    shuffled = compare_pairs(("A", "B"), first[order], second[order], scale=scale)
    for other in (back, shuffled):
        assert (pair.p, pair.direction, pair.lower, pair.higher, pair.unmeasured) == (
            other.p, other.direction, other.lower, other.higher, other.unmeasured
        )  # fmt: skip
        assert (pair.size is None) == (other.size is None)
        if pair.size is not None:
            assert [pair.size.estimate, pair.size.low] == pytest.approx(
                [other.size.estimate, other.size.low], nan_ok=True, rel=1e-6, abs=1e-9
            )
        assert pair.effect == pytest.approx(other.effect, nan_ok=True, rel=1e-4)


@given(
    arrays(np.float64, 7, elements=st.floats(0.01, 100).map(lambda x: round(x, 3))),
    st.sampled_from([0.25, 2.0, 1024.0]),
)
def test_the_unit_of_a_positive_loss_does_not_matter(values, factor):
    other = np.roll(values, 1) + 0.01
    plain = compare_pairs(("A", "B"), values, other, scale="ratio")
    scaled = compare_pairs(("A", "B"), values * factor, other * factor, scale="ratio")
    assert plain.p == scaled.p
    assert plain.size is not None
    assert scaled.size is not None
    assert scaled.size.estimate == pytest.approx(plain.size.estimate)


@settings(max_examples=50)
@given(st.integers(-100, 100))
def test_adding_a_constant_does_not_change_a_difference(constant):
    a, b = np.array([1.0, 3, 2, 5, 4, 7]), np.array([2.0, 5, 1, 9, 9, 8])
    before = compare_pairs(("A", "B"), a, b)
    assert compare_pairs(("A", "B"), a + constant, b + constant).size == before.size


def test_ratios_of_what_is_not_positive_are_refused():
    with pytest.raises(UsageError, match="not positive"):
        compare_pairs(("A", "B"), np.array([1.0]), np.array([0.0]), scale="ratio")
    with pytest.raises(ValueError, match="NaN"):
        compare_pairs(("A", "B"), np.array([NAN]), np.array([0.0]))


# --- ties --------------------------------------------------------------------------------------


def test_a_tie_needs_the_interval_within_the_margin():
    rng = np.random.default_rng(0)
    base = 1 + rng.random(10)
    table = Table.from_values({"A": base, "B": base * np.exp(rng.normal(0, 0.005, 10))})
    tied = verdict(table, f"A ties B on {LOSS} within 2%")
    assert (tied.outcome, tied.holds) == ("tied", True)
    size = tied.pair.size
    assert size is not None
    assert 1 / 1.02 < size.low < size.high < 1.02
    narrow = verdict(table, f"A ties B on {LOSS} within 0.1%")
    assert narrow.outcome == "not decided"
    apart = verdict(factor_table(3, 10), f"Adam ties SGD on {LOSS} within 10%")
    assert (apart.outcome, apart.holds) == ("refuted", False)


def test_a_tie_in_units_of_the_metric():
    table = Table.from_values({"A": [1.0, 1.2, 1.1, 1.3], "B": [1.01, 1.19, 1.12, 1.3]})
    assert verdict(table, f"A ties B on {LOSS} within 0.1").outcome == "tied"
    assert "the margin is 0.1" in verdict(table, f"A ties B on {LOSS} within 0.1").sentence


def test_ties_are_adjusted_with_the_other_claims():
    """Alone the interval lies within the margin; among ten claims that is not sure enough."""
    rng = np.random.default_rng(0)
    values = {"A": 1 + rng.normal(0, 0.1, 8), "B": 1 + rng.normal(0, 0.1, 8)}
    table = Table.from_values(values)
    size = verdict(table, f"A ties B on {LOSS} within 1").pair.size
    assert size is not None
    margin = max(abs(size.low), abs(size.high)) * 1.01
    claim = f"A ties B on {LOSS} within {margin}"
    assert verdict(table, claim).outcome == "tied"
    assert verdict(table, *[claim] * 10).outcome == "not decided"


def test_a_failed_trial_is_no_tie():
    values = {"A": [1.0] * 8, "B": [1.0] * 7 + [NAN]}
    found = verdict(Table.from_values(values), f"A ties B on {LOSS} within 5%")
    assert found.outcome == "not decided"
    assert "B diverged on 1 of 8" in found.sentence


def test_a_share_of_nothing_is_refused_in_words():
    found = verdict(
        Table.from_values({"A": [0.0] * 6, "B": [0.0] * 6}), f"A ties B on {LOSS} within 5%"
    )
    assert found.outcome == "not decided"
    assert "give the margin in units" in found.sentence


# --- speed -------------------------------------------------------------------------------------


def speed_table(slow_reaches: bool = True, seeds: int = 7) -> Table:
    steps = np.arange(1, 11) * 10
    fast, slow = 1 / np.arange(1, 11), 2 / np.arange(1, 11)
    if not slow_reaches:
        slow = slow + 1
    trials = [Trial(name, seed) for name in ("Momentum", "SGD") for seed in range(seeds)]
    values = np.array([fast + seed / 1000 for seed in range(seeds)] + [slow] * seeds)
    return Table.from_trials(
        trials, ["Momentum", "SGD"], [LOSS], {LOSS: Traces(steps, values, steps / 50)}
    )


@pytest.mark.parametrize("unit", ["steps", "epochs", "gradients"])
def test_fewer_steps(unit):
    claim = f"Momentum reaches {LOSS} 0.26 in fewer {unit} than SGD"
    found = verdict(speed_table(), claim)
    assert found.outcome == "supported"
    assert found.pair.test == "ranks"
    assert f"in fewer {unit} than SGD on 7 of 7 seeds" in found.sentence
    opposite = verdict(speed_table(), f"SGD reaches {LOSS} 0.26 in fewer {unit} than Momentum")
    assert opposite.outcome == "refuted"


def test_who_never_arrives_is_counted():
    found = verdict(
        speed_table(slow_reaches=False), f"Momentum reaches {LOSS} 0.26 in fewer steps than SGD"
    )
    assert found.outcome == "supported"
    assert "(median 40.0 against never); SGD never on 7" in found.sentence
    nobody = verdict(speed_table(), f"Momentum reaches {LOSS} 0.001 in fewer steps than SGD")
    assert nobody.outcome == "not decided"
    assert nobody.sentence.startswith("neither Momentum nor SGD ever reaches")


# --- floors and different losses ---------------------------------------------------------------


def test_at_the_floor_contenders_are_tied():
    values = {"A": np.full(8, 0.1001), "B": np.full(8, 0.103)}
    table = Table.from_values(values, Metric(LOSS, floors={"": 0.1}))
    found = verdict(table, f"A below B on {LOSS}")
    assert (found.outcome, found.holds) == ("tied", False)
    assert "both reach the floor" in found.sentence
    assert verdict(Table.from_values(values), f"A below B on {LOSS}").outcome == "supported"


def test_different_losses_are_not_judged_on_a_loss():
    trials = [Trial(name, 0, final={LOSS: 1.0}) for name in "AB"]
    contenders = [Contender("A", loss="mse"), Contender("B", loss="mae")]
    table = Table.from_trials(trials, contenders, [LOSS])
    with pytest.raises(UsageError, match="different losses"):
        verdict(table, f"A below B on {LOSS}")


def test_the_verdict_repeats_and_takes_a_seed():
    table = factor_table(1.15, 40)
    claims = [parse(f"Adam below SGD on {LOSS}")]
    assert judge(table, claims, seed=1) == judge(table, claims, seed=1)
    one, two = (judge(table, claims, seed=seed)[0].p for seed in (1, 2))
    assert one == pytest.approx(two, abs=5 * math.sqrt(2 * one / statistics.FLIPS))  # their noise
    logs = statistics.log_ratios(
        table.values(LOSS)[table.rows("Adam")], table.values(LOSS)[table.rows("SGD")]
    )
    assert one == statistics.sign_flip(logs, seed=1)
