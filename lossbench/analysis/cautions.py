"""What a reader of a comparison must know before believing it."""

from collections.abc import Mapping, Sequence

from lossbench.analysis.claims import quoted
from lossbench.analysis.paired import Pair
from lossbench.analysis.statistics import ALPHA, fewest_seeds
from lossbench.analysis.table import FAILURES, Table
from lossbench.analysis.wording import count_of, significant
from lossbench.errors import listed
from lossbench.lazy import np

_SKEWED_TOLD = 3  # pairs that are named


def cautions(
    table: Table,
    metric: str,
    *,
    claims: int,
    pairs: Sequence[Pair],
    at_floor: Mapping[str, Sequence[str]],
    alpha: float = ALPHA,
) -> tuple[str, ...]:
    """Return warnings, the gravest first; `at_floor` names contenders by problem.

    Without claims it is the pairs that are to be told apart.
    """
    return (
        *_too_few(table, claims, alpha),
        *_unequal(table, metric),
        *_failures(table),
        *_rates(table),
        *_floors(at_floor),
        *_skewed(pairs),
    )


def _too_few(table: Table, claims: int, alpha: float) -> list[str]:
    """Say what cannot be decided with these seeds, whatever they show."""
    trained = table.status != "missing"
    found = []
    if missing := int((~trained).sum()):
        found.append(f"{count_of(missing, 'trial')} of {len(table)} not trained yet")
    if len(table.names) < 2:
        return found
    counts = [
        len(table.pairs(first, second)[0])
        for place, first in enumerate(table.names)
        for second in table.names[place + 1 :]
    ]
    most = max(counts)
    fewest = fewest_seeds(claims or len(counts), alpha=alpha)
    if most < 2:
        found.append(
            f"{count_of(most, 'shared seed')}: nothing can be decided, "
            f"at least {fewest_seeds(alpha=alpha)} seeds are needed"
        )
    elif most < fewest:
        what = "decide" if claims else "rank"
        several = count_of(claims, "claim") if claims else f"{len(table.names)} contenders"
        found.append(f"{most} seeds cannot {what} {several}: at least {fewest} are needed")
    lonely = sum(len(table.rows(name)) > min(counts) for name in table.names)
    if lonely and min(counts) < most:
        found.append(f"not all contenders have the same seeds: some pairs share {min(counts)} only")
    return found


def _unequal(table: Table, metric: str) -> list[str]:
    """Say in what the contenders differ besides what is compared."""
    found = []
    if table.metric(metric).is_loss and len({item.loss for item in table.contenders}) > 1:
        found.append(
            f"the contenders are trained on different losses: '{metric}' does not rank them, "
            "compare them on a metric"
        )
    if len({item.data for item in table.contenders if item.data}) > 1:
        found.append("the contenders were trained on different data")
    steps = {item.steps for item in table.contenders if item.steps is not None}
    if len(steps) > 1:
        found.append(f"the contenders trained for {listed([str(n) for n in sorted(steps)])} steps")
    return found


def _failures(table: Table) -> list[str]:
    found = []
    for name in table.names:
        rows = table.rows(name)
        lost = np.isin(table.status[rows], sorted(FAILURES))
        if len(rows) and lost.all():
            found.append(f"{name} failed in every trial ({len(rows)})")
    return found


def _rates(table: Table) -> list[str]:
    """Say where learning rates decide instead of what is compared."""
    found = []
    rates = {item.rate for item in table.contenders}
    if len(table.contenders) > 1 and len(rates) == 1 and None not in rates:
        rate = rates.pop()
        if rate is not None and not any(item.tuned for item in table.contenders):
            found.append(
                f"all contenders ran at one learning rate ({significant(rate)}): at another one "
                "the order may be another; tune each"
            )
    found += [
        f"the best learning rate of {item.name} lies at the edge of the range that was searched"
        for item in table.contenders
        if item.rate_at_edge
    ]
    return found


def _floors(at_floor: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{listed([quoted(name) for name in names])} reach the floor"
        f"{f' of {problem}' if problem else ''}: tied at the end, separated by speed"
        for problem, names in at_floor.items()
        if len(names) > 1
    ]


def _skewed(pairs: Sequence[Pair]) -> list[str]:
    """Name the most skewed pairs."""
    skewed = sorted((pair for pair in pairs if pair.skewed), key=lambda pair: -abs(pair.skewness))
    if not skewed:
        return []
    told = [
        f"{quoted(pair.first)} and {quoted(pair.second)} ({significant(pair.skewness)})"
        for pair in skewed[:_SKEWED_TOLD]
    ]
    if len(skewed) > _SKEWED_TOLD:
        told.append(f"{len(skewed) - _SKEWED_TOLD} more")
    warning = f"strongly skewed differences (skewness): {listed(told)}; "
    return [warning + "their t intervals cover less than they say"]
