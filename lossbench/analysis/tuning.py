"""Which settings are tried for every contender, and which of them is chosen; pure functions.

One quasi-random list of points serves all contenders: each reads it relative to its own default, so
that nobody's default is nearer to the middle of its range than another's. The default itself is
always the first candidate.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lossbench.analysis.curves import Array
from lossbench.errors import UsageError
from lossbench.lazy import LazyModule, np

qmc = LazyModule("scipy.stats.qmc")

REFERENCE = 1e-3
"""The default for which a range is written down: Adam's. Another default shifts the range."""
SCRAMBLE = 20260101
"""Seed of the scrambled sequence: the same candidates in every comparison."""
FIRST_TUNING_SEED = 1_000_000
"""Tuning counts its seeds from here: they stay what they are when a comparison gets more seeds."""


@dataclass(frozen=True)
class Range:
    """Where one key is searched, evenly in its logarithm.

    With a `reference` the range is meant for a contender whose default is that value, and moves
    along with the default of others; without, it is the same range for all.
    """

    low: float = 1e-5
    high: float = 1.0
    reference: float | None = REFERENCE

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high < math.inf):
            raise UsageError(
                f"a range is searched from a positive number up to a larger one, "
                f"not from {self.low:g} to {self.high:g}"
            )

    def value(self, share: float, default: float) -> float:
        """Return the value at this share of the range, for a contender with this default."""
        low, high = math.log10(self.low), math.log10(self.high)
        shift = 0.0 if self.reference is None else math.log10(default / self.reference)
        return float(10 ** (low + share * (high - low) + shift))


Candidate = Mapping[str, float]
"""A value for every key that is searched."""


def points(dimensions: int, count: int, *, seed: int = SCRAMBLE) -> Array:
    """Return `count` points that fill the unit cube evenly; a shorter list begins a longer one.

    Reference: Sobol, On the Distribution of Points in a Cube, 1967; Owen, Scrambling Sobol' and
               Niederreiter-Xing Points, 1998.
    """
    if count == 0:
        return np.empty((0, dimensions))
    # Powers of two keep the sequence balanced; 2^6 at least, so that its beginning never changes.
    power = max(6, math.ceil(math.log2(count)))
    sampler = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    return sampler.random_base2(power)[:count]


def candidates(
    ranges: Mapping[str, Range],
    defaults: Mapping[str, float],
    trials: int,
    *,
    seed: int = SCRAMBLE,
) -> tuple[Candidate, ...]:
    """Return what is tried for a contender: its default, then trials - 1 points of the list."""
    if trials < 1:
        raise UsageError(f"tuning takes at least 1 trial, the default, not {trials}")
    if not ranges:
        raise UsageError("tuning needs a key to search")
    for key in ranges:
        if not defaults[key] > 0:
            raise UsageError(f"'{key}' is searched in its logarithm: its default must be positive")
    found: list[Candidate] = [{key: float(defaults[key]) for key in ranges}]
    found += [
        {
            key: area.value(share, defaults[key])
            for (key, area), share in zip(ranges.items(), shares, strict=True)
        }
        for shares in points(len(ranges), trials - 1, seed=seed).tolist()
    ]
    return tuple(found)


def tuning_seeds(final: Collection[int], count: int) -> tuple[int, ...]:
    """Return seeds for tuning, none of which the comparison itself uses."""
    taken, found, seed = set(final), list[int](), FIRST_TUNING_SEED
    while len(found) < count:
        if seed not in taken:
            found.append(seed)
        seed += 1
    return tuple(found)


@dataclass(frozen=True)
class Tuned:
    """What tuning came to for one contender.

    scores:  per candidate the median over the tuning seeds, infinitely bad where it diverged.
    chosen:  position of the best candidate; the default (0) where none is any good (`usable`).
    edges:   key -> the end of the range at which the choice lies: the best may lie beyond it.
    """

    candidates: tuple[Candidate, ...]
    scores: tuple[float, ...]
    chosen: int
    usable: bool
    edges: Mapping[str, Literal["low", "high"]]

    @property
    def choice(self) -> Candidate:
        """The candidate that was chosen."""
        return self.candidates[self.chosen]

    @property
    def default_score(self) -> float:
        """The score of the contender's default."""
        return self.scores[0]

    @property
    def score(self) -> float:
        """The score of the choice."""
        return self.scores[self.chosen]

    def sensitivity(self, key: str) -> tuple[tuple[float, float], ...]:
        """Return (value, score) of every candidate in order of the value: the telling picture."""
        pairs = zip(self.candidates, self.scores, strict=True)
        return tuple(sorted((candidate[key], score) for candidate, score in pairs))


def score(values: Sequence[float] | Array, *, lower_is_better: bool = True) -> float:
    """Return the median over the tuning seeds; a seed that diverged is infinitely bad."""
    worst = math.inf if lower_is_better else -math.inf
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return worst
    return float(np.median(np.where(np.isfinite(values), values, worst)))


def choose(
    tried: Sequence[Candidate],
    values: Sequence[Sequence[float]] | Array,
    *,
    lower_is_better: bool = True,
) -> Tuned:
    """Choose among candidates by values[candidate][seed], validation data at the end.

    Of equal scores the smaller rate wins (with several keys: the first key decides, then the
    next). An end of the range is the smallest or largest value that was tried.
    """
    if len(values) != len(tried) or not tried:
        raise UsageError(f"{len(tried)} candidates, but values of {len(values)}")
    scores = tuple(score(row, lower_is_better=lower_is_better) for row in values)
    costs = scores if lower_is_better else tuple(-value for value in scores)
    usable = min(costs) < math.inf
    chosen = (
        min(range(len(tried)), key=lambda place: (costs[place], *tried[place].values()))
        if usable
        else 0
    )
    edges: dict[str, Literal["low", "high"]] = {}
    for key, value in tried[chosen].items():
        column = [candidate[key] for candidate in tried]
        if usable and min(column) < max(column) and value in (min(column), max(column)):
            edges[key] = "low" if value == min(column) else "high"
    return Tuned(tuple(tried), scores, chosen, usable, edges)
