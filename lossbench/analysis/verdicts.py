"""What becomes of a claim: supported, refuted, tied, or not decided at n seeds.

The sign-flip test decides who lies lower or arrives first; two one-sided t tests decide a tie. All
p-values of a comparison's claims are adjusted together by Holm's method, so that the chance of any
false verdict is at most alpha, however many claims there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lossbench.analysis.claims import Claim, OrderClaim, SpeedClaim, TieClaim, written
from lossbench.analysis.curves import Array
from lossbench.analysis.paired import Pair, compare_pairs, differences
from lossbench.analysis.statistics import (
    ALPHA,
    MOST_SEEDS,
    deviation,
    fewest_seeds,
    holm,
    seeds_to_decide,
    tie_test,
)
from lossbench.analysis.table import FAILURES, Table
from lossbench.analysis.times import compare_times, times_to
from lossbench.analysis.wording import (
    count_of,
    order_sentence,
    speed_sentence,
    tie_sentence,
)
from lossbench.errors import UsageError
from lossbench.lazy import np

Outcome = Literal["supported", "refuted", "tied", "not decided"]

AT_FLOOR = 0.05
"""A value within this share of a problem's floor has reached it: nothing is left to be gained."""


@dataclass(frozen=True)
class Verdict:
    """What the trials say about one claim.

    outcome:      "tied" is what supports a claimed tie; a claim that one lies lower or higher fails
                  on it (both reached the floor, or they differ by less than the margin claimed).
    holds:        whether the claim is borne out: what `--strict` asks.
    p, adjusted:  p-value before and after Holm's adjustment over all claims.
    seeds:        pairs of trials.
    seeds_needed: how many would probably decide it; none where it is decided, or where more than
                  MOST_SEEDS would be needed, or where nothing can be said.
    sentence:     all this in plain English.
    """

    claim: str
    outcome: Outcome
    holds: bool
    p: float
    adjusted: float
    seeds: int
    seeds_needed: int | None
    sentence: str
    pair: Pair

    @property
    def label(self) -> str:
        """Return the outcome as it is printed: "not decided at 5 seeds"."""
        if self.outcome == "not decided":
            return f"not decided at {count_of(self.seeds, 'seed')}"
        return self.outcome


@dataclass(frozen=True)
class _Evidence:
    """What was found for a claim before the others are looked at.

    verdict: the outcome, should the p-value survive the adjustment; `certain` needs no p-value.
    effect:  distance to what would decide it, in standard deviations.
    """

    pair: Pair
    p: float
    verdict: Outcome
    effect: float
    sentence: str
    certain: bool = False
    obstacle: str = ""


def judge(
    table: Table, claims: Sequence[Claim], *, alpha: float = ALPHA, seed: int | Any = 0
) -> tuple[Verdict, ...]:
    """Decide claims about the trials of a table, all of them together."""
    found = [_weigh(table, claim, seed) for claim in claims]
    adjusted = holm([evidence.p for evidence in found])
    return tuple(
        _conclude(claim, evidence, float(p), len(claims), alpha)
        for claim, evidence, p in zip(claims, found, adjusted, strict=True)
    )


def _weigh(table: Table, claim: Claim, seed: int | Any) -> _Evidence:
    if table.metric(claim.metric).is_loss:
        losses = [table.find(name).loss for name in (claim.first, claim.second)]
        if losses[0] != losses[1]:
            raise UsageError(
                f"'{claim.first}' and '{claim.second}' are trained on different losses: "
                f"'{claim.metric}' does not compare them",
                hint="claim it on a metric",
            )
    if isinstance(claim, OrderClaim):
        return _weigh_order(table, claim, seed)
    return (
        _weigh_tie(table, claim, seed)
        if isinstance(claim, TieClaim)
        else _weigh_speed(table, claim, seed)
    )


def _noun(table: Table) -> str:
    return "seed" if len(table.problems) == 1 else "pair"


# --- below, above ------------------------------------------------------------------------------


def _weigh_order(table: Table, claim: OrderClaim, seed: int | Any) -> _Evidence:
    names = claim.first, claim.second
    values = table.values(claim.metric, claim.moment)
    first, second = table.pairs(*names)
    towards = -1 if claim.relation == "below" else 1
    margin = claim.margin
    pair = compare_pairs(
        names,
        values[first],
        values[second],
        scale=table.scale(claim.metric) if margin is None else "difference",
        shift=0.0 if margin is None else towards * margin,
        seed=seed,
    )
    sentence = order_sentence(
        pair,
        claim.moment,
        noun=_noun(table),
        failures=[
            *failures_text(table, claim.first, first, values),
            *failures_text(table, claim.second, second, values),
        ],
    )
    if margin is None and claim.moment.kind != "step" and at_floor(table, names, claim.metric):
        sentence += "; both reach the floor: tied there, their speed may tell them apart"
        return _Evidence(pair, pair.p, "tied", pair.effect, sentence, certain=True)
    outcome: Outcome = "supported" if pair.direction == towards else "refuted"
    if outcome == "refuted" and margin is not None and _inside(pair, margin):
        outcome, sentence = "tied", f"{sentence}: less than {written(margin)} apart"
    return _Evidence(pair, pair.p, outcome, pair.effect, sentence)


def _inside(pair: Pair, margin: float) -> bool:
    """Tell whether the whole interval lies within the margin, with nothing failed."""
    size = pair.size
    return (
        pair.measured == pair.seeds
        and size is not None
        and (-margin <= size.low and size.high <= margin)
    )


def at_floor(table: Table, names: Sequence[str], metric: str, problem: str | None = None) -> bool:
    """Tell whether the typical trial of each contender ends at the problem's known floor."""
    described = table.metric(metric)
    if not described.floors:
        return False
    values = table.values(metric)
    problems = table.problems if problem is None else (problem,)
    for name in names:
        for place in problems:
            floor, rows = described.floors.get(place), table.rows(name, place)
            if floor is None or len(rows) == 0:
                return False
            level = floor_level(floor, lower_is_better=described.lower_is_better)
            typical = median(values[rows])
            if not (typical <= level if described.lower_is_better else typical >= level):
                return False
    return True


def floor_level(floor: float, *, lower_is_better: bool = True) -> float:
    """Return the value from which on the floor counts as reached."""
    return floor + AT_FLOOR * abs(floor) * (1 if lower_is_better else -1)


def median(values: Array) -> float:
    """Return the median of values of which some may be infinite in one direction."""
    return float(np.median(values)) if len(values) else math.nan


def failures_text(table: Table, name: str, rows: Array, values: Array) -> list[str]:
    """Say how many of a contender's trials have no value and why, in at most one phrase."""
    lost = rows[~np.isfinite(values[rows])]
    if len(lost) == 0:
        return []
    counts: dict[str, int] = {}
    for row in lost.tolist():
        status = table.status[row]
        reason = status if status in FAILURES else "has no finite value"
        counts[reason] = counts.get(reason, 0) + 1
    told = [f"{reason} on {counts[reason]}" for reason in sorted(counts)]
    return [f"{name} {' and '.join(told)} of {len(rows)}"]


# --- ties --------------------------------------------------------------------------------------


def _weigh_tie(table: Table, claim: TieClaim, seed: int | Any) -> _Evidence:
    names = claim.first, claim.second
    values = table.values(claim.metric)
    first, second = table.pairs(*names)
    a, b = values[first], values[second]
    both = np.isfinite(a) & np.isfinite(b)
    positive = bool((a[both] > 0).all() and (b[both] > 0).all())
    as_ratio = claim.percent and positive
    pair = compare_pairs(names, a, b, scale="ratio" if as_ratio else "difference", seed=seed)
    told = written(claim.margin) + (" %" if claim.percent else "")
    sentence = tie_sentence(
        pair,
        told,
        noun=_noun(table),
        failures=[
            *failures_text(table, claim.first, first, values),
            *failures_text(table, claim.second, second, values),
        ],
    )
    if claim.percent and not positive:
        obstacle = "a share of a value that is not positive says nothing: give the margin in units"
        return _Evidence(pair, 1.0, "not decided", math.nan, sentence, obstacle=obstacle)
    if (np.isinf(a) != np.isinf(b)).any():
        # One failed where the other did not: no tie, though ranks may still tell them apart.
        return _Evidence(pair, pair.p, "refuted", pair.effect, sentence)
    margin = math.log1p(claim.margin / 100) if as_ratio else claim.margin
    found = differences(a[both], b[both], pair.scale)
    within, beyond = tie_test(found, margin)
    spread = deviation(found)
    room = abs(margin - abs(float(found.mean()))) if len(found) else math.nan
    effect = room / spread if spread > 0 else math.inf
    outcome: Outcome = "tied" if within <= beyond else "refuted"
    return _Evidence(pair, min(within, beyond), outcome, effect, sentence)


# --- speed -------------------------------------------------------------------------------------


def _weigh_speed(table: Table, claim: SpeedClaim, seed: int | Any) -> _Evidence:
    names = claim.first, claim.second
    pair = compare_times(table, names, claim.metric, claim.value, claim.unit, seed=seed)
    reached = times_to(table, claim.metric, claim.value, claim.unit).reached
    first, second = table.pairs(*names)
    sentence = speed_sentence(
        pair,
        f"{claim.metric} {written(claim.value)}",
        claim.unit,
        (median(reached[first]), median(reached[second])),
        noun=_noun(table),
    )
    outcome: Outcome = "supported" if pair.direction < 0 else "refuted"
    return _Evidence(pair, pair.p, outcome, pair.effect, sentence)


# --- the verdict -------------------------------------------------------------------------------


def _conclude(
    claim: Claim, evidence: _Evidence, adjusted: float, claims: int, alpha: float
) -> Verdict:
    pair = evidence.pair
    decided = evidence.certain or (adjusted <= alpha and evidence.verdict != "not decided")
    outcome: Outcome = evidence.verdict if decided else "not decided"
    needed, why = None, ""
    if not decided:
        needed, why = _what_it_takes(evidence, claims, alpha, ranks=not isinstance(claim, TieClaim))
    return Verdict(
        claim=str(claim),
        outcome=outcome,
        holds=outcome == ("tied" if isinstance(claim, TieClaim) else "supported"),
        p=evidence.p,
        adjusted=adjusted,
        seeds=pair.seeds,
        seeds_needed=needed,
        sentence=f"{evidence.sentence}: {why}" if why else evidence.sentence,
        pair=pair,
    )


def _what_it_takes(
    evidence: _Evidence, claims: int, alpha: float, *, ranks: bool
) -> tuple[int | None, str]:
    """Return how many seeds would decide a claim, and say why these did not."""
    seeds = evidence.pair.seeds
    if evidence.obstacle:
        return None, evidence.obstacle
    fewest = fewest_seeds(claims, alpha=alpha) if ranks else 2
    if seeds < 2:
        return fewest, (
            f"{count_of(seeds, 'seed')} decides nothing, at least {fewest} are needed"
            if seeds
            else f"they share no seed and nothing can be decided, at least {fewest} are needed"
        )
    estimate = seeds_to_decide(evidence.effect, claims=claims, alpha=alpha)
    if estimate is None:
        return None, (
            f"not decided at {seeds} seeds, more than {MOST_SEEDS} would be needed"
            if evidence.pair.ties < seeds
            else f"not decided at {seeds} seeds, there is no difference to decide"
        )
    needed = max(estimate, seeds + 1)
    if seeds < fewest:
        several = f"{claims} claims" if claims > 1 else "a claim"
        return needed, f"{seeds} seeds cannot decide {several}, about {needed} would"
    return needed, f"not decided at {seeds} seeds, about {needed} would decide it"
