"""Tests, intervals and effect sizes for paired differences; pure functions of arrays.

Convention: two-sided p-values, intervals of level 0.95. What is random takes a seed or a generator,
so that the same command gives the same number. The tests never see an infinite value: failures
enter as ranks (`signed_ranks`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.curves import Array
from lossbench.lazy import LazyModule, np

# scipy.special alone: scipy.stats takes ten times as long to import.
special = LazyModule("scipy.special")

ALPHA = 0.05
LEVEL = 0.95
EXACT_UP_TO = 20
"""Up to so many differences every flip is counted (2^20); above, FLIPS random ones."""
FLIPS = 100_000
MOST_SEEDS = 1000
POWER = 0.8
_TIE = 1e-10  # sums of the same numbers in another order differ by rounding: they are ties
_ROUNDING = 1e-13  # relative to the values
_BLOCK = 1 << 20  # random bytes, of eight signs each, held at a time
_NEVER = 1e-12
"""Random flips are spared where the chance that one of them counts lies below this."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the range that holds the truth in a share `level` of repetitions."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    def map(self, function: Callable[[float], float]) -> "Interval":
        """Carry the interval through a monotone function."""
        ends = function(self.low), function(self.high)
        return Interval(function(self.estimate), min(ends), max(ends), self.level)


# --- the test that decides ---------------------------------------------------------------------


def sign_flip(differences: Sequence[float] | Array, *, seed: int | Any = 0) -> float:
    """Return how often random signs would make the sum of the differences as extreme as it is.

    Formula:   p = share of all s in {-1, 1}^n with |sum_i s_i d_i| >= |sum_i d_i|
    Note:      if two contenders are interchangeable, every difference could as well have had the
               other sign; nothing else is assumed, normality least of all. Up to EXACT_UP_TO
               differences that are not zero, all flips are counted: the sums of two halves, one of
               them sorted, so 2^(n/2) searches instead of 2^n sums. Above, FLIPS seeded flips and
               the observed one. The order of the differences does not matter.
    Errors:    ValueError for a difference that is not finite.
    Reference: Fisher, The Design of Experiments, 1935; Phipson and Smyth, Permutation P-values
               Should Never Be Zero, 2010; Hoeffding, Probability Inequalities for Sums of Bounded
               Random Variables, 1963.
    """
    differences = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(differences).all():
        raise ValueError("the sign-flip test takes finite differences: rank the others first")
    magnitudes = np.sort(np.abs(differences[differences != 0]))
    if len(magnitudes) == 0:
        return 1.0
    largest = magnitudes[-1]
    magnitudes = magnitudes / largest
    observed = abs(math.fsum((differences / largest).tolist()))
    threshold = observed - _TIE * math.fsum(magnitudes.tolist())
    if threshold <= 0:
        return 1.0
    if len(magnitudes) <= EXACT_UP_TO:
        half = len(magnitudes) // 2
        left, right = _flipped_sums(magnitudes[:half]), np.sort(_flipped_sums(magnitudes[half:]))
        # The sums lie symmetrically about zero: those below -threshold are as many.
        beyond = len(right) - np.searchsorted(right, threshold - left)
        return float(2 * int(beyond.sum()) / 2 ** len(magnitudes))
    if FLIPS * _highest_share(magnitudes, threshold) < _NEVER:
        return 1 / (1 + FLIPS)
    return (1 + _random_beyond(magnitudes, threshold, np.random.default_rng(seed))) / (1 + FLIPS)


def _highest_share(magnitudes: Array, threshold: float) -> float:
    """Return what the share of all flips that are as extreme cannot exceed (Hoeffding)."""
    return 2 * math.exp(-(threshold**2) / (2 * float(magnitudes @ magnitudes)))


def _flipped_sums(magnitudes: Array) -> Array:
    """Return the sums under every choice of signs."""
    sums = np.zeros(1)
    for magnitude in magnitudes:
        sums = np.concatenate((sums + magnitude, sums - magnitude))
    return sums


def _random_beyond(magnitudes: Array, threshold: float, rng: Any) -> int:
    """Return how many of FLIPS random flips are as extreme as the observed sum.

    Each byte drawn is the signs of eight differences, and finds their sum in a table of 256.
    """
    columns = -(-len(magnitudes) // 8)
    padded = np.zeros(8 * columns)
    padded[: len(magnitudes)] = magnitudes
    signs = 1.0 - 2.0 * (np.arange(256) >> np.arange(8)[:, None] & 1)
    tables = padded.reshape(columns, 8) @ signs
    # The generator makes four bytes at a time: what it draws does not depend on the blocks then.
    rows = 4 * max(1, _BLOCK // (4 * columns))
    beyond = 0
    for start in range(0, FLIPS, rows):
        count = min(rows, FLIPS - start)
        sums = np.zeros(count)
        drawn = rng.integers(0, 256, size=(count, columns), dtype=np.uint8)
        for table, byte in zip(tables, np.ascontiguousarray(drawn.T), strict=True):
            sums += table[byte]
        beyond += int((np.abs(sums) >= threshold).sum())
    return beyond


def midranks(values: Sequence[float] | Array) -> Array:
    """Return the rank of each value from 1; equal values share the middle of their ranks."""
    _, inverse, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()]


def signed_ranks(differences: Sequence[float] | Array) -> Array:
    """Return the rank of each difference's size with its sign; zeros stay zero.

    Infinite differences (one of a pair failed) are the largest and share their rank, so that a
    failure counts as the worst result and no mean becomes infinite. A zero (a tie, or both failed)
    takes up a rank and speaks for nobody.

    Reference: Pratt, Remarks on Zeros and Ties in the Wilcoxon Signed Rank Procedures, 1959;
               Lachin, Worst-Rank Score Analysis with Informatively Missing Observations in
               Clinical Trials, 1999.
    """
    differences = np.asarray(differences, dtype=np.float64)
    return np.sign(differences) * midranks(np.abs(differences))


def holm(p_values: Sequence[float] | Array) -> Array:
    """Raise p-values so that all of them together give a false alarm with their level only.

    Formula:   the i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_(j))
    Reference: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted


# --- how large, and how sure -------------------------------------------------------------------


def mean_interval(values: Sequence[float] | Array, *, level: float = LEVEL) -> Interval:
    """Return the mean with Student's t interval; its ends are NaN below two values.

    Formula:   mean +- t(1 - (1 - level) / 2, n - 1) s / sqrt(n)
    Reference: Student, The Probable Error of a Mean, 1908.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if count < 2:
        return Interval(float(values[0]) if count else math.nan, math.nan, math.nan, level)
    mean = float(values.mean())
    reach = float(special.stdtrit(count - 1, (1 + level) / 2) * deviation(values)) / count**0.5
    return Interval(mean, mean - reach, mean + reach, level)


def deviation(values: Array) -> float:
    """Return the standard deviation (n - 1), exactly zero where the values differ by rounding only.

    Otherwise the last bits of equal ratios would become a spread, and a skewness.
    """
    if len(values) < 2:
        return math.nan
    if values.max() - values.min() <= _ROUNDING * np.abs(values).max():
        return 0.0
    return float(np.std(values, ddof=1))


def tie_test(differences: Sequence[float] | Array, margin: float) -> tuple[float, float]:
    """Return two p-values: one small where the mean lies within the margin, one where beyond it.

    Both are such that a value of at most 0.05 says: the 95 % t interval lies wholly within
    +-margin (two one-sided tests), or wholly beyond it.

    Reference: Schuirmann, A Comparison of the Two One-Sided Tests Procedure and the Power Approach
               for Assessing the Equivalence of Average Bioavailability, 1987.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < 2:
        return 1.0, 1.0
    mean, spread = float(differences.mean()), deviation(differences) / len(differences) ** 0.5
    if spread == 0:
        return (0.0, 1.0) if abs(mean) <= margin else (1.0, 0.0)

    def below(bound: float) -> float:
        """Return how sure it is that the mean lies below the bound, as a one-sided p-value."""
        return float(special.stdtr(len(differences) - 1, (mean - bound) / spread))

    within = max(below(margin), 1 - below(-margin))
    beyond = min(1 - below(margin), below(-margin))
    return min(1.0, 2 * within), min(1.0, 2 * beyond)


def log_ratios(first: Array, second: Array) -> Array:
    """Return log(first / second), formed so that neither tiny nor huge values are lost."""
    return np.log(first) - np.log(second)


def bootstrap_interval(
    values: Sequence[float] | Array,
    statistic: Callable[..., Any],
    *,
    rng: Any,
    level: float = LEVEL,
    resamples: int = 10_000,
) -> Interval:
    """Return the percentile bootstrap of a statistic: a description, it decides nothing.

    `statistic` takes an array and `axis`, like numpy.median. At 3, 5 and 10 values such a nominal
    95 % interval of a mean covers the truth in 74, 83 and 89 % of repetitions only.

    Reference: Efron, Bootstrap Methods: Another Look at the Jackknife, 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    drawn = values[rng.integers(0, len(values), size=(resamples, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values, axis=0)), float(low), float(high), level)


def skewness(values: Sequence[float] | Array) -> float:
    """Return the adjusted Fisher-Pearson skewness G1; NaN below three values or without spread.

    Reference: Joanes and Gill, Comparing Measures of Sample Skewness and Kurtosis, 1998.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if count < 3 or deviation(values) == 0:
        return math.nan
    centred = (values - values.mean()) / np.std(values)
    return float(np.mean(centred**3) * math.sqrt(count * (count - 1)) / (count - 2))


def strongly_skewed(values: Sequence[float] | Array) -> bool:
    """Tell whether G1 is above 1 in size and above twice its standard error under normality."""
    count = len(values)
    found = skewness(values)
    if math.isnan(found):
        return False
    error = math.sqrt(6 * count * (count - 1) / ((count - 2) * (count + 1) * (count + 3)))
    return abs(found) > max(1.0, 2 * error)


def cohens_d(differences: Sequence[float] | Array) -> float:
    """Return the mean of the paired differences over their standard deviation.

    NaN below two differences or where all are zero, infinite where all are the same.
    """
    differences = np.asarray(differences, dtype=np.float64)
    spread = deviation(differences)
    mean = float(differences.mean()) if len(differences) else math.nan
    if spread == 0:
        return math.copysign(math.inf, mean) if mean != 0 else math.nan
    return mean / spread


def common_language(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return the chance that a value of the first lies below one of the second; ties count half.

    All values of one against all of the other, seeds unpaired; infinite values (failures) are fine.

    Reference: McGraw and Wong, A Common Language Effect Size Statistic, 1992; Vargha and Delaney,
               A Critique and Improvement of the CL Common Language Effect Size Statistics, 2000.
    """
    first = np.asarray(first, dtype=np.float64)
    second = np.sort(np.asarray(second, dtype=np.float64))
    if len(first) == 0 or len(second) == 0:
        return math.nan
    above = len(second) - np.searchsorted(second, first, side="right")
    equal = len(second) - above - np.searchsorted(second, first, side="left")
    return float((above + equal / 2).mean() / len(second))


def win_probability(wins: float, ties: float, losses: float, *, level: float = LEVEL) -> Interval:
    """Return the chance to win on a new seed with its exact binomial interval; ties count half.

    Reference: Clopper and Pearson, The Use of Confidence or Fiducial Limits Illustrated in the
               Case of the Binomial, 1934.
    """
    count, won = wins + ties + losses, wins + ties / 2
    if count == 0:
        return Interval(math.nan, 0.0, 1.0, level)
    tail = (1 - level) / 2
    low = float(special.betaincinv(won, count - won + 1, tail)) if won > 0 else 0.0
    high = float(special.betaincinv(won + 1, count - won, 1 - tail)) if won < count else 1.0
    return Interval(won / count, low, high, level)


# --- how many seeds ----------------------------------------------------------------------------


def smallest_p(seeds: int) -> float:
    """Return the smallest two-sided p that the sign-flip test can give: 2^(1 - n)."""
    return min(1.0, 2.0 ** (1 - seeds))


def fewest_seeds(claims: int = 1, *, alpha: float = ALPHA) -> int:
    """Return the fewest seeds with which the clearest of so many claims can be decided at all."""
    seeds = 2
    while max(1, claims) * smallest_p(seeds) > alpha:
        seeds += 1
    return seeds


def seeds_to_decide(
    effect: float, *, claims: int = 1, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """Return how many seeds would decide a difference of so many standard deviations.

    With so many the t test at alpha / claims finds it with probability `power`; none where more
    than MOST_SEEDS would be needed, or where there is no difference. An estimate: it takes the
    effect seen so far for the true one.
    """
    effect = abs(effect)
    fewest = fewest_seeds(claims, alpha=alpha)
    if math.isnan(effect) or effect == 0:
        return None

    def enough(seeds: int) -> bool:
        bound = float(special.stdtrit(seeds - 1, 1 - alpha / max(1, claims) / 2))
        shift = effect * seeds**0.5
        # Far out the noncentral t distribution overflows; there is nothing left to compute either.
        return shift > bound + 30 or 1 - float(special.nctdtr(seeds - 1, shift, bound)) >= power

    if not enough(MOST_SEEDS):
        return None
    low, high = fewest - 1, MOST_SEEDS  # power grows with the seeds: bisect
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
