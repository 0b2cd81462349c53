"""From a table of trials to what can be said about its contenders: ranks, sizes, verdicts."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from lossbench.analysis.cautions import cautions
from lossbench.analysis.claims import Claim, parse_all, quoted
from lossbench.analysis.paired import Pair, compare_pairs
from lossbench.analysis.profiles import Profile, profile
from lossbench.analysis.standings import Standing, standing
from lossbench.analysis.statistics import ALPHA, holm
from lossbench.analysis.table import END, Scale, Table
from lossbench.analysis.times import compare_times, times_to
from lossbench.analysis.verdicts import (
    Verdict,
    at_floor,
    failures_text,
    floor_level,
    judge,
)
from lossbench.analysis.wording import order_sentence, speed_sentence
from lossbench.errors import UnknownNameError, UsageError
from lossbench.lazy import np
from lossbench.rundir.records import plain


@dataclass(frozen=True)
class Separation:
    """Two contenders on one problem, and whether the trials tell them apart.

    basis:    what was compared: the metric at the end, or, where both reach the floor, how fast.
    adjusted: p-value after Holm's adjustment over all pairs of the problem.
    better:   the name of the better one, where they are separated.
    """

    problem: str
    pair: Pair
    basis: Literal["value", "speed"]
    adjusted: float
    better: str | None
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Everything that a table, a picture or a report says about a comparison, as plain data.

    standings:   a contender on a problem each, best first within a problem.
    separations: all pairs of contenders by problem; empty where they cannot be ranked.
    reference:   the contender that the pairwise table is held against.
    profile:     over several problems, else none.
    sentences:   the verdicts in words; without claims, everyone against the reference.
    """

    metric: str
    lower_is_better: bool
    scale: Scale
    alpha: float
    contenders: tuple[str, ...]
    problems: tuple[str, ...]
    seeds: int
    standings: tuple[Standing, ...]
    separations: tuple[Separation, ...]
    reference: str
    verdicts: tuple[Verdict, ...]
    profile: Profile | None
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def all_hold(self) -> bool:
        """Whether every claim is borne out."""
        return all(verdict.holds for verdict in self.verdicts)

    def against(self, reference: str, problem: str | None = None) -> tuple[Separation, ...]:
        """Return the pairs of a contender, each seen as the other one against it."""
        if reference not in self.contenders:
            raise UnknownNameError("contender", reference, map(quoted, self.contenders))
        chosen = [item for item in self.separations if problem in (None, item.problem)]
        return _against(chosen, reference)

    def record(self) -> dict[str, Any]:
        """Return it as what JSON knows; a number that is not finite becomes null."""
        found = asdict(self)
        for verdict, told in zip(self.verdicts, found["verdicts"], strict=True):
            told["label"] = verdict.label
        for place, told in zip(self.standings, found["standings"], strict=True):
            for kind in ("diverged", "stalled", "failed"):
                told[kind]["typical"] = getattr(place, kind).typical
        if self.profile is not None:
            found["profile"]["scores"] = self.profile.scores
        return dict(plain(found))


def default_metric(table: Table) -> str:
    """Return what contenders are compared on where nobody says: their loss if they share it.

    Validation data come first, the training loss last.
    """
    if not table.metrics:
        raise UsageError("no metric was recorded: there is nothing to compare")
    shared = len({contender.loss for contender in table.contenders}) <= 1

    def preference(name: str) -> tuple[bool, bool, bool]:
        described = table.metrics[name]
        return (
            described.is_loss and not shared,
            not name.startswith("validation/"),
            shared and not described.is_loss,
        )

    return min(table.metrics, key=preference)


def compare(
    table: Table,
    *,
    metric: str | None = None,
    claims: Sequence[Claim | str] = (),
    target: Mapping[str, float] | None = None,
    reference: str | None = None,
    alpha: float = ALPHA,
    seed: int | Any = 0,
) -> Comparison:
    """Compare the contenders of a table on a metric at the end of their training.

    claims:    as text or parsed; all of them are judged together.
    target:    metric -> value whose time of arrival is told.
    reference: the contender to hold the others against; the best by default.
    seed:      of the random flips above 20 seeds.

    Raises UsageError for what is not in the table, ConfigError for claims that do not parse.
    """
    metric = default_metric(table) if metric is None else metric
    parsed = _parsed(table, claims)
    verdicts = judge(table, parsed, alpha=alpha, seed=seed)
    standings, separations = list[Standing](), list[Separation]()
    for problem in table.problems:
        here = [
            standing(
                table, name, problem, metric, target or {},
                at_floor=at_floor(table, [name], metric, problem),
            )
            for name in table.names
        ]  # fmt: skip
        apart = _separate(table, here, metric, problem, alpha, seed)
        standings += _ranked(here, apart, table, metric)
        separations += apart
    profiled = _profile(table, standings, metric) if _rankable(table, metric) else None
    if reference is None:
        reference = _leader(table, standings, profiled)
    compared = _against(separations, table.find(reference).name)
    return Comparison(
        metric=metric,
        lower_is_better=table.metric(metric).lower_is_better,
        scale=table.scale(metric),
        alpha=alpha,
        contenders=table.names,
        problems=table.problems,
        seeds=len(set(table.seed.tolist())),
        standings=tuple(standings),
        separations=tuple(separations),
        reference=reference,
        verdicts=verdicts,
        profile=profiled,
        sentences=_sentences(table, verdicts, compared),
        warnings=_warnings(table, metric, standings, separations, len(parsed), alpha),
    )


def _sentences(
    table: Table, verdicts: Sequence[Verdict], compared: Sequence[Separation]
) -> tuple[str, ...]:
    """Return what was found in words: of each claim, else of each pair, with its problem."""
    if verdicts:
        return tuple(verdict.sentence for verdict in verdicts)
    if len(table.problems) == 1:
        return tuple(item.sentence for item in compared)
    return tuple(f"{item.problem}: {item.sentence}" for item in compared)


def _rankable(table: Table, metric: str) -> bool:
    """Tell whether a metric orders the contenders: a loss does where all are trained on it."""
    losses = {contender.loss for contender in table.contenders}
    return not table.metric(metric).is_loss or len(losses) <= 1


def _against(separations: Sequence[Separation], reference: str) -> tuple[Separation, ...]:
    """Return the pairs of a contender, each seen as the other one against it."""
    found = []
    for item in separations:
        if item.pair.second == reference:
            found.append(item)
        elif item.pair.first == reference:
            found.append(replace(item, pair=item.pair.swapped()))
    return tuple(found)


def _warnings(
    table: Table,
    metric: str,
    standings: Sequence[Standing],
    separations: Sequence[Separation],
    claims: int,
    alpha: float,
) -> tuple[str, ...]:
    """Return what must be said besides."""
    floors = {
        problem: [item.contender for item in standings if item.problem == problem and item.at_floor]
        for problem in table.problems
    }
    pairs = [item.pair for item in separations]
    return cautions(table, metric, claims=claims, pairs=pairs, at_floor=floors, alpha=alpha)


def _parsed(table: Table, claims: Sequence[Claim | str]) -> list[Claim]:
    """Read the claims that are text, all their problems at once."""
    texts = [claim for claim in claims if isinstance(claim, str)]
    read = iter(
        parse_all(
            texts,
            contenders=table.names,
            metrics=tuple(table.metrics),
            losses={item.name: item.loss for item in table.contenders},
        )
    )
    return [next(read) if isinstance(claim, str) else claim for claim in claims]


def _separate(
    table: Table,
    standings: Sequence[Standing],
    metric: str,
    problem: str,
    alpha: float,
    seed: int | Any,
) -> list[Separation]:
    """Compare every two contenders that have trials; none where the metric orders nobody."""
    if not _rankable(table, metric):
        return []
    described, values = table.metric(metric), table.values(metric)
    floor = described.floors.get(problem)
    found: list[tuple[Pair, Literal["value", "speed"], str]] = []
    for one, other in itertools.combinations([item for item in standings if item.trials], 2):
        names = one.contender, other.contender
        first, second = table.pairs(*names, problem)
        if one.at_floor and other.at_floor and floor is not None and metric in table.traces:
            level = floor_level(floor, lower_is_better=described.lower_is_better)
            pair = compare_times(table, names, metric, level, problem=problem, seed=seed)
            medians = _median(table, metric, level, first), _median(table, metric, level, second)
            found.append((pair, "speed", speed_sentence(pair, "the floor", "steps", medians)))
            continue
        pair = compare_pairs(
            names, values[first], values[second], scale=table.scale(metric), seed=seed
        )
        told = [
            *failures_text(table, names[0], first, values),
            *failures_text(table, names[1], second, values),
        ]
        found.append((pair, "value", order_sentence(pair, END, failures=told)))
    adjusted = holm([pair.p for pair, _, _ in found])
    separated = []
    for (pair, basis, sentence), p in zip(found, adjusted.tolist(), strict=True):
        towards = -1 if basis == "speed" or described.lower_is_better else 1
        better = None
        if p <= alpha and pair.direction != 0:
            better = pair.first if pair.direction == towards else pair.second
        separated.append(Separation(problem, pair, basis, p, better, sentence))
    return separated


def _median(table: Table, metric: str, level: float, rows: Any) -> float:
    return float(np.median(times_to(table, metric, level).reached[rows]))


def _ranked(
    standings: Sequence[Standing],
    separations: Sequence[Separation],
    table: Table,
    metric: str,
) -> list[Standing]:
    """Give ranks and sort; ties of the order are broken by the name, never by the position."""
    beats = {item.contender: 0 for item in standings}
    beaten = dict(beats)
    for separation in separations:
        if separation.better is not None:
            pair = separation.pair
            beats[separation.better] += 1
            beaten[pair.second if separation.better == pair.first else pair.first] += 1
    present = sum(item.trials > 0 for item in standings)
    placed = [
        replace(item, rank=1 + beaten[item.contender], rank_to=present - beats[item.contender])
        if _rankable(table, metric) and item.trials
        else item
        for item in standings
    ]
    sign = 1 if table.metric(metric).lower_is_better else -1

    def place(item: Standing) -> tuple[Any, ...]:
        cost, middle = sign * item.final.median, sign * item.final.interval.estimate
        return (
            item.trials == 0,
            item.rank or 0,
            math.inf if math.isnan(cost) else cost,
            math.inf if math.isnan(middle) else middle,
            item.contender,
        )

    return sorted(placed, key=place)


def _profile(table: Table, standings: Sequence[Standing], metric: str) -> Profile | None:
    """Return the profile over several problems: of the steps to the target, else of the values.

    Only problems on which every contender has trials; none where a cost cannot be told.
    """
    if len(table.problems) < 2:
        return None
    costs: dict[str, list[float]] = {name: [] for name in table.names}
    for problem in table.problems:
        here = {item.contender: item for item in standings if item.problem == problem}
        if not all(item.trials for item in here.values()):
            continue
        for name in table.names:
            item = here[name]
            costs[name].append(
                item.targets[0].median.get("steps", math.nan) if item.targets else item.final.median
            )
    columns = list(costs.values())
    by_target = bool(standings[0].targets)
    if not columns or not columns[0]:
        return None
    if not by_target and table.scale(metric) != "ratio":
        return None  # a ratio of accuracies or of values around zero orders nothing
    return profile(costs)


def _leader(table: Table, standings: Sequence[Standing], profiled: Profile | None) -> str:
    """Return the best contender: by the profile over several problems, else the first in order."""
    if profiled is not None:
        return min(profiled.ratios, key=lambda name: (-profiled.score(name), name))
    places: dict[str, int] = dict.fromkeys(table.names, 0)
    for problem in table.problems:
        here = [item.contender for item in standings if item.problem == problem]
        for place, name in enumerate(here):
            places[name] += place
    return min(places, key=lambda name: (places[name], name))
