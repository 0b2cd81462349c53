"""Who is how often how close to the best, over several problems: performance profiles.

Formula:   r[s, p] = cost[s, p] / min over s of cost[s, p];
           profile(s, tau) = share of problems with r[s, p] <= tau;
           score(s) = 1 / (T - 1) times the integral of profile(s, tau) over tau from 1 to T
Reference: Dolan and More, Benchmarking Optimization Software with Performance Profiles, 2002;
           Dahl et al., Benchmarking Neural Network Training Algorithms, 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lossbench.analysis.curves import Array
from lossbench.errors import UsageError
from lossbench.lazy import np

FARTHEST = 4.0
"""A problem solved at more than so many times the best cost counts as not solved."""


@dataclass(frozen=True)
class Profile:
    """Each contender's ratios to the best, sorted; a problem that it did not solve is infinite.

    `farthest` is T of the score: the largest ratio that is looked at.
    """

    ratios: Mapping[str, tuple[float, ...]]
    farthest: float

    def at(self, name: str, tau: float) -> float:
        """Return the share of problems that a contender solves within tau times the best cost."""
        ratios = self.ratios[name]
        return sum(ratio <= tau for ratio in ratios) / len(ratios)

    def steps(self, name: str) -> tuple[tuple[float, float], ...]:
        """Return the corners (tau, share) of a contender's curve, from 1 to the farthest ratio."""
        inside = sorted({ratio for ratio in self.ratios[name] if ratio <= self.farthest})
        corners = dict.fromkeys([1.0, *inside, self.farthest])
        return tuple((tau, self.at(name, tau)) for tau in corners)

    def score(self, name: str) -> float:
        """Return the area under a contender's profile, 1 for the best on every problem.

        Exact: a step at ratio r covers the part T - r of the range, so the area is a mean.
        """
        parts = [max(0.0, self.farthest - ratio) for ratio in self.ratios[name]]
        return sum(parts) / len(parts) / (self.farthest - 1)

    @property
    def scores(self) -> dict[str, float]:
        """Every contender's score."""
        return {name: self.score(name) for name in self.ratios}


def profile(costs: Mapping[str, Sequence[float] | Array], *, farthest: float = FARTHEST) -> Profile:
    """Return the performance profile of costs per contender, one per problem in the same order.

    A cost is a time or a loss: not negative, lower is better, infinite where the problem was not
    solved. A cost of zero is matched by zero only. Raises UsageError.
    """
    if farthest <= 1:
        raise UsageError(f"a profile needs a largest ratio above 1, not {farthest:g}")
    table = np.array([np.asarray(column, dtype=np.float64) for column in costs.values()])
    if table.ndim != 2 or table.size == 0:
        raise UsageError("a profile needs contenders with a cost for every problem")
    if np.isnan(table).any() or (table < 0).any():
        raise UsageError("a cost is a number from 0 to infinity")
    best = table.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(table == best, 1.0, table / best)
    ratios = np.where(np.isinf(table), np.inf, ratios)
    sorted_ratios = np.sort(ratios, axis=1).tolist()
    return Profile(dict(zip(costs, map(tuple, sorted_ratios), strict=True)), farthest)
