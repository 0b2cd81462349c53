"""A whole comparison: ranks with ties, failures, warnings, and its plain data."""

import json
import math

import numpy as np
import pytest

from lossbench.analysis.compare import compare, default_metric
from lossbench.analysis.table import Contender, Metric, Table, Trial
from lossbench.analysis.traces import Traces
from lossbench.analysis.wording import listed, significant
from lossbench.errors import ConfigError, UnknownNameError, UsageError

LOSS, ACCURACY = "validation/loss", "validation/accuracy"
NAN = math.nan


def finals(seeds: int = 10, **factors: float) -> dict[str, np.ndarray]:
    """Losses around a factor, with what a seed has in common for all."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.3, seeds)
    return {
        name: factor * np.exp(shared + rng.normal(0, 0.1, seeds))
        for name, factor in factors.items()
    }


def ranks(comparison) -> dict[str, tuple[int, int]]:
    return {item.contender: (item.rank, item.rank_to) for item in comparison.standings}


def curves(rows: dict[str, list[list[float]]], **more) -> Table:
    """A table of curves at steps 10, 20, ..."""
    trials = [Trial(name, seed) for name, found in rows.items() for seed in range(len(found))]
    values = [curve for found in rows.values() for curve in found]
    steps = 10 * (1 + np.arange(len(values[0])))
    metric = Metric(LOSS, **more)
    return Table.from_trials(trials, list(rows), [metric], {LOSS: Traces(steps, values, steps / 5)})


# --- ranks -------------------------------------------------------------------------------------


def test_contenders_that_are_not_separated_share_a_rank():
    found = compare(Table.from_values(finals(A=1, B=1, C=5, D=25)))
    assert ranks(found) == {"A": (1, 2), "B": (1, 2), "C": (3, 3), "D": (4, 4)}
    assert [item.contender for item in found.standings][2:] == ["C", "D"]
    assert found.reference in ("A", "B")


def test_the_order_of_contenders_and_trials_changes_nothing():
    values = finals(A=1, B=1, C=5)
    table = Table.from_values(values)
    forward = compare(table)
    backward = compare(
        Table.from_values(
            {name: values[name][::-1] for name in reversed(values)}, seeds=range(9, -1, -1)
        )
    )
    assert ranks(forward) == ranks(backward)
    assert forward.reference == backward.reference
    assert [item.contender for item in forward.standings] == [
        item.contender for item in backward.standings
    ]
    for one, other in zip(forward.standings, backward.standings, strict=True):
        assert one.final.interval.low == pytest.approx(other.final.interval.low)


def test_more_is_better_is_ranked_the_other_way():
    rng = np.random.default_rng(1)
    values = {"A": 0.8 + rng.random(8) / 100, "B": 0.9 + rng.random(8) / 100}
    found = compare(Table.from_values(values, Metric(ACCURACY, lower_is_better=False)))
    assert ranks(found) == {"A": (2, 2), "B": (1, 1)}
    assert found.separations[0].better == "B"


def test_who_diverges_everywhere_ranks_last_and_is_counted():
    values = {**finals(A=1, B=30), "C": np.full(10, NAN)}
    found = compare(Table.from_values(values))
    assert ranks(found) == {"A": (1, 1), "B": (2, 2), "C": (3, 3)}
    last = found.standings[-1]
    assert (last.diverged.trials, last.final.finite, last.final.median) == (10, 0, math.inf)
    assert any("C failed in every trial (10)" in warning for warning in found.warnings)
    assert found.record()["standings"][-1]["final"]["median"] is None


def test_where_failures_began_is_told():
    trials = [
        Trial("A", 0, status="diverged", failed_at=30, final={LOSS: 9.0}),
        Trial("A", 1, status="diverged", failed_at=10),
        Trial("A", 2, status="stalled", failed_at=5, final={LOSS: 2.3}),
        Trial("A", 3, status="failed"),
        Trial("A", 4, status="missing"),
        Trial("A", 5, final={LOSS: 1.0}),
    ]
    found = compare(Table.from_trials(trials, "A", [LOSS])).standings[0]
    assert (found.trials, found.missing) == (5, 1)
    assert (found.diverged.trials, found.diverged.steps, found.diverged.typical) == (
        2,
        (10, 30),
        20,
    )
    assert (found.stalled.trials, found.stalled.steps) == (1, (5,))
    assert (found.failed.trials, found.failed.typical) == (1, None)
    assert found.final.finite == 2  # a stalled trial keeps its value


def test_summaries():
    found = compare(Table.from_values({"A": [1.0, 4.0, NAN], "B": [2.0, 2.0, 2.0]}))
    summary = next(item for item in found.standings if item.contender == "A").final
    assert (summary.mean, summary.median, summary.lowest, summary.highest) == (2.5, 4.0, 1.0, 4.0)
    assert summary.interval.estimate == pytest.approx(2.0)  # the geometric mean
    assert summary.interval.low > 0


def test_the_table_against_a_reference():
    found = compare(Table.from_values(finals(A=1, B=2, C=4)), reference="B")
    seen = {item.pair.first: item for item in found.against("B")}
    assert set(seen) == {"A", "C"}
    assert seen["A"].pair.size.estimate == pytest.approx(0.5, rel=0.2)
    assert seen["C"].pair.size.estimate == pytest.approx(2.0, rel=0.2)
    assert found.sentences == tuple(item.sentence for item in found.against("B"))
    with pytest.raises(UnknownNameError):
        found.against("Z")
    with pytest.raises(UnknownNameError):
        compare(Table.from_values(finals(A=1)), reference="Z")


# --- claims, targets, floors -------------------------------------------------------------------


def test_claims_are_parsed_and_judged():
    found = compare(Table.from_values(finals(A=1, B=5)), claims=[f"A below B on {LOSS}"])
    assert found.all_hold
    assert found.sentences == (found.verdicts[0].sentence,)
    assert not compare(
        Table.from_values(finals(A=1, B=5)), claims=[f"B below A on {LOSS}"]
    ).all_hold
    with pytest.raises(ConfigError, match="did you mean"):
        compare(Table.from_values(finals(Adam=1, SGD=5)), claims=[f"Adma below SGD on {LOSS}"])


def test_targets_are_censored_not_dropped():
    table = curves({"A": [[3, 2, 1], [3, 2, 1]], "B": [[3, 3, 3], [3, 2, 1.5]]})
    found = compare(table, target={LOSS: 2.0})
    a, b = sorted(found.standings, key=lambda item: item.contender)
    assert (a.targets[0].reached, a.targets[0].median["steps"]) == (2, 20)
    assert (b.targets[0].reached, b.targets[0].censored) == (1, 1)
    assert b.targets[0].median["steps"] == math.inf
    assert a.targets[0].median["epochs"] == 4
    assert "seconds" not in a.targets[0].median
    assert a.area is not None
    assert a.area.mean == 2.0
    assert a.best is not None
    assert a.best.mean == 1.0


def test_at_the_floor_speed_separates():
    rng = np.random.default_rng(0)
    seeds = 8
    fast = [[1, 0.1, 0.1, 0.1 + rng.random() / 1000] for _ in range(seeds)]
    slow = [[1, 0.9, 0.8, 0.1 + rng.random() / 1000] for _ in range(seeds)]
    never = [[1, 0.9, 0.8, 0.7] for _ in range(seeds)]
    table = curves({"fast": fast, "slow": slow, "never": never}, floors={"": 0.1})
    found = compare(table)
    assert ranks(found) == {"fast": (1, 1), "slow": (2, 2), "never": (3, 3)}
    basis = {(item.pair.first, item.pair.second): item.basis for item in found.separations}
    assert basis[("fast", "slow")] == "speed"
    assert basis[("fast", "never")] == "value"
    assert [item.at_floor for item in found.standings] == [True, True, False]
    assert any("fast and slow reach the floor" in warning for warning in found.warnings)


def test_several_problems_have_a_profile():
    trials = [
        Trial(name, seed, problem, final={LOSS: factor * (1 + seed / 100)})
        for problem, factors in {"p": {"A": 1, "B": 2}, "q": {"A": 1, "B": 8}}.items()
        for name, factor in factors.items()
        for seed in range(6)
    ]
    found = compare(Table.from_trials(trials, "AB", [LOSS]))
    assert found.profile is not None
    assert found.profile.scores == pytest.approx({"A": 1.0, "B": 1 / 3})
    assert found.reference == "A"
    assert len(found.against("A")) == 2
    assert len(found.against("A", "q")) == 1
    assert [item.problem for item in found.standings] == ["p", "p", "q", "q"]
    assert found.record()["profile"]["scores"]["A"] == 1.0


# --- different losses --------------------------------------------------------------------------


def two_losses() -> Table:
    trials = [
        Trial(name, seed, final={LOSS: value, ACCURACY: value / 10 + seed / 1000})
        for name, value in (("mse", 1.0), ("mae", 9.0))
        for seed in range(6)
    ]
    contenders = [Contender("mse", loss="mse"), Contender("mae", loss="mae")]
    metrics = [Metric(LOSS), Metric(ACCURACY, lower_is_better=False)]
    return Table.from_trials(trials, contenders, metrics)


def test_contenders_with_different_losses_are_ranked_on_a_metric():
    assert default_metric(two_losses()) == ACCURACY
    assert ranks(compare(two_losses())) == {"mse": (2, 2), "mae": (1, 1)}


def test_contenders_with_different_losses_are_not_ranked_on_a_loss():
    found = compare(two_losses(), metric=LOSS)
    assert found.separations == ()
    assert {item.rank for item in found.standings} == {None}
    assert any("different losses" in warning for warning in found.warnings)
    with pytest.raises(ConfigError, match="different losses"):
        compare(two_losses(), claims=[f"mse below mae on {LOSS}"])


def test_the_metric_that_is_compared_by_default():
    metrics = ["train/loss", "validation/mae", LOSS]
    assert default_metric(Table.from_trials([], "AB", metrics)) == LOSS
    assert default_metric(Table.from_trials([], "AB", metrics[:2])) == "validation/mae"
    assert default_metric(Table.from_trials([], "AB", metrics[:1])) == "train/loss"
    with pytest.raises(UsageError, match="no metric"):
        default_metric(Table.from_trials([], "AB", []))


# --- warnings ----------------------------------------------------------------------------------


def warned(table: Table, **more) -> str:
    return "\n".join(compare(table, **more).warnings)


def test_few_seeds_are_warned_of():
    assert "1 shared seed: nothing can be decided, at least 6" in warned(
        Table.from_values({"A": [1.0], "B": [2.0]})
    )
    assert "0 shared seeds" in warned(Table.from_values({"A": [], "B": []}))
    assert "5 seeds cannot rank 2 contenders: at least 6" in warned(
        Table.from_values(finals(5, A=1, B=2))
    )
    claims = [f"A below B on {LOSS}"] * 4
    assert "7 seeds cannot decide 4 claims: at least 8" in warned(
        Table.from_values(finals(7, A=1, B=2)), claims=claims
    )
    assert warned(Table.from_values(finals(8, A=1, B=2)), claims=claims) == ""


def described(*contenders: Contender) -> Table:
    trials = [
        Trial(item.name, seed, final={LOSS: (1 + place) * (1 + seed / 50)})
        for place, item in enumerate(contenders)
        for seed in range(8)
    ]
    return Table.from_trials(trials, contenders, [LOSS])


def test_one_shared_learning_rate_is_warned_of():
    one = described(Contender("A", rate=0.05), Contender("B", rate=0.05))
    assert "all contenders ran at one learning rate (0.050)" in warned(one)
    assert warned(described(Contender("A", rate=0.05), Contender("B", rate=0.1))) == ""
    tuned = described(Contender("A", rate=0.05, tuned=True), Contender("B", rate=0.05, tuned=True))
    assert warned(tuned) == ""


def test_what_differs_besides_is_warned_of():
    table = described(
        Contender("A", data="x", steps=100), Contender("B", data="y", steps=200, rate_at_edge=True)
    )
    text = warned(table)
    assert "different data" in text
    assert "100 and 200 steps" in text
    assert "learning rate of B lies at the edge" in text


def test_skewed_differences_are_reported():
    values = {"A": [1.0] * 12, "B": [1.01] * 10 + [1.02, 90.0]}
    assert "skewed differences" in warned(Table.from_values(values))


def test_missing_trials_and_unequal_seeds_are_warned_of():
    trials = [Trial("A", seed, final={LOSS: 1.0 + seed}) for seed in range(8)]
    trials += [Trial("B", seed, final={LOSS: 2.0 + seed}) for seed in range(8)]
    trials += [Trial("C", seed, final={LOSS: 3.0 + seed}) for seed in range(7)]
    trials += [Trial("C", 7, status="missing")]
    text = warned(Table.from_trials(trials, "ABC", [LOSS]))
    assert "1 trial of 24 not trained yet" in text
    assert "some pairs share 7 only" in text


# --- plain data --------------------------------------------------------------------------------


def test_the_record_is_strict_json():
    values = {**finals(4, A=1), "B": [NAN] * 4, "C": [1.0] * 4}
    found = compare(Table.from_values(values), claims=[f"A below C on {LOSS}"])
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["verdicts"][0]["label"] == "not decided at 4 seeds"
    assert record["metric"] == LOSS
    assert {item["contender"] for item in record["standings"]} == {"A", "B", "C"}


def test_an_empty_table_is_compared_to_nothing():
    found = compare(Table.from_values({"A": [], "B": []}))
    assert {item.rank for item in found.standings} == {None}
    json.dumps(found.record(), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.14, "3.1"), (4.0, "4.0"), (340, "340"), (12.3, "12"), (0.0214, "0.021"), (9.96, "10"),
        (0.0996, "0.10"), (2.1e-7, "2.1e-07"), (-0.5, "-0.50"), (0, "0"), (math.inf, "infinity"),
        (123456.7, "123457"), (1e9, "1.0e+09"), (math.nan, "unknown"),
    ],
)  # fmt: skip
def test_numbers_in_sentences(value, text):
    assert significant(value) == text


def test_lists_in_sentences():
    assert [listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
