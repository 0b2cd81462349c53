"""Two contenders held against each other, seed by seed.

How a failure enters: a trial without a value (diverged, never reached the target) is worse than
every trial with one. As soon as one pair is decided by a failure, the sign-flip test works on
signed ranks, in which that pair has the largest rank; a pair in which both failed is a tie. The
size is then told by the pairs that both finished, and says so. Nothing is dropped, and no mean
becomes infinite.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from lossbench.analysis.curves import Array
from lossbench.analysis.statistics import (
    Interval,
    cohens_d,
    common_language,
    log_ratios,
    mean_interval,
    sign_flip,
    signed_ranks,
    skewness,
    strongly_skewed,
    win_probability,
)
from lossbench.analysis.table import Scale
from lossbench.errors import UsageError
from lossbench.lazy import np


@dataclass(frozen=True)
class Pair:
    """What the pairs of trials of two contenders say.

    seeds:         pairs of trials.
    lower, ties, higher: pairs in which the first lies below, level with and above the second.
    unmeasured:    trials of the first and of the second without a value.
    scale, size:   A / B (ratio of geometric means) or A - B with its t interval, over `measured`
                   pairs: those in which both have a value; none where no pair has.
    test:          what the signs were flipped of: the differences, or their signed ranks.
    p:             two-sided p-value of the sign-flip test, not adjusted.
    direction:     -1 where the first tends to lie lower, 1 higher, 0 neither.
    effect:        mean over standard deviation of what was tested (Cohen's d of paired values).
    chance:        probability that the first lies lower on a new seed.
    common_language: probability that a trial of the first lies lower than any of the second's.
    skewness:      of the differences; `skewed` where it is strong.
    shift:         the difference that was tested against (0: any).
    """

    first: str
    second: str
    seeds: int
    lower: int
    ties: int
    higher: int
    unmeasured: tuple[int, int]
    scale: Scale
    size: Interval | None
    measured: int
    test: Literal["differences", "ranks"]
    p: float
    direction: int
    effect: float
    chance: Interval
    common_language: float
    skewness: float
    skewed: bool
    shift: float = 0.0

    def swapped(self) -> "Pair":
        """Return the same comparison seen from the other side."""
        size = self.size and self.size.map(
            (lambda value: 1 / value) if self.scale == "ratio" else (lambda value: -value)
        )
        return Pair(
            first=self.second, second=self.first, seeds=self.seeds,
            lower=self.higher, ties=self.ties, higher=self.lower,
            unmeasured=(self.unmeasured[1], self.unmeasured[0]),
            scale=self.scale, size=size, measured=self.measured,
            test=self.test, p=self.p, direction=-self.direction, effect=-self.effect,
            chance=self.chance.map(lambda value: 1 - value),
            common_language=1 - self.common_language,
            skewness=-self.skewness, skewed=self.skewed, shift=-self.shift,
        )  # fmt: skip


def differences(first: Array, second: Array, scale: Scale) -> Array:
    """Return first - second, or log(first / second); +-inf where one failed, 0 where both did."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = log_ratios(first, second) if scale == "ratio" else first - second
    return np.where(np.isinf(first) & (first == second), 0.0, found)


def compare_pairs(
    names: tuple[str, str],
    first: Array,
    second: Array,
    *,
    scale: Scale = "difference",
    shift: float = 0.0,
    ranks: bool = False,
    unknown: Array | None = None,
    seed: int | Any = 0,
) -> Pair:
    """Compare paired values; an infinite one stands for a failure, in the direction that is worst.

    `shift` is what the difference is tested against (0: no difference); the size is not shifted.
    `ranks` tests ranks even where nothing failed. `unknown` marks pairs of which nobody can say
    who lies lower: they count as ties.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a value is a number or, for a failure, infinite; never NaN")
    finite = np.concatenate((first[np.isfinite(first)], second[np.isfinite(second)]))
    if scale == "ratio" and (finite <= 0).any():
        raise UsageError(
            f"'{names[0]}' and '{names[1]}' cannot be compared as ratios: "
            f"the value {finite.min():g} is not positive"
        )
    silent = np.zeros(len(first), dtype=bool) if unknown is None else np.asarray(unknown)
    found = np.where(silent, 0.0, differences(first, second, scale))
    both = np.isfinite(first) & np.isfinite(second) & ~silent
    size = mean_interval(found[both]) if both.any() else None
    tested = np.where(silent | (np.isinf(first) & (first == second)), 0.0, found - shift)
    ranked = ranks or not np.isfinite(tested).all()
    scores = signed_ranks(tested) if ranked else tested
    lower = int(((first < second) & ~silent).sum())
    higher = int(((first > second) & ~silent).sum())
    ties = len(first) - lower - higher
    return Pair(
        first=names[0],
        second=names[1],
        seeds=len(first),
        lower=lower,
        ties=ties,
        higher=higher,
        unmeasured=(int(np.isinf(first).sum()), int(np.isinf(second).sum())),
        scale=scale,
        size=size.map(math.exp) if size and scale == "ratio" else size,
        measured=int(both.sum()),
        test="ranks" if ranked else "differences",
        p=sign_flip(scores, seed=seed),
        direction=_direction(scores),
        effect=cohens_d(scores),
        chance=win_probability(lower, ties, higher),
        common_language=common_language(first, second),
        skewness=skewness(found[both]),
        skewed=strongly_skewed(found[both]),
        shift=shift,
    )


def _direction(scores: Array) -> int:
    """Return the sign of the sum; rounding is no direction."""
    total = math.fsum(scores.tolist())
    return 0 if abs(total) <= 1e-12 * math.fsum(np.abs(scores).tolist()) else int(np.sign(total))
