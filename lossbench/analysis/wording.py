"""What numbers say, as sentences of plain English."""

import math
from collections.abc import Sequence

from lossbench.analysis.paired import Pair
from lossbench.analysis.statistics import Interval
from lossbench.analysis.table import Moment
from lossbench.errors import listed

_PLAIN = (1e-4, 1e6)  # outside of these an exponent reads better


def significant(value: float, digits: int = 2) -> str:
    """Return a number with so many digits that mean something: 4.0, 0.021, 340, 2.1e-07."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
    if value == 0:
        return "0"
    if not _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return f"{value:.{digits - 1}e}"
    # The exponent after rounding: 9.96 becomes 10, which has one decimal less.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def count_of(number: int, noun: str) -> str:
    """Return 1 seed, 2 seeds."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_text(size: Interval, scale: str) -> str:
    """Return "by a factor of 3.1 (2.4 to 4.0)", or "by 0.021 (0.015 to 0.027)"."""
    low, high = (significant(end) for end in (size.low, size.high))
    known = not math.isnan(size.low)
    span = f" ({low} to {high})" if known else " (one seed has no interval)"
    return f"by {'a factor of ' if scale == 'ratio' else ''}{significant(size.estimate)}{span}"


def lean(pair: Pair) -> int:
    """Return -1 where the first of a pair lies lower in what was measured, 1 higher, 0 neither."""
    if pair.test == "differences" and pair.size is not None:
        neutral = 1.0 if pair.scale == "ratio" else 0.0
        return (pair.size.estimate > neutral) - (pair.size.estimate < neutral)
    if pair.shift == 0:
        return pair.direction
    return (pair.higher > pair.lower) - (pair.higher < pair.lower)


def _size_of(pair: Pair, towards: int) -> str:
    """Return the size in the words of the direction: a factor above 1, a positive difference."""
    if pair.size is None:
        return ""
    if towards > 0:
        return size_text(pair.size, pair.scale)
    if pair.scale == "ratio":
        return size_text(pair.size.map(lambda value: 1 / value), pair.scale)
    return size_text(pair.size.map(lambda value: -value), pair.scale)


def order_sentence(
    pair: Pair, moment: Moment, *, noun: str = "seed", failures: Sequence[str] = ()
) -> str:
    """Say who lies lower, on how many seeds, and by how much."""
    how = {"end": "ends", "best": "at its best is", "step": "is"}[moment.kind]
    when = f" at step {moment.step}" if moment.kind == "step" else ""
    towards = lean(pair)
    if towards == 0:
        if pair.seeds == 0:
            text = f"{pair.first} and {pair.second} cannot be compared{when}"
        elif pair.ties == pair.seeds:
            text = f"{pair.first} {how} equal to {pair.second}{when} on {_all(pair, noun)}"
        else:
            text = (
                f"{pair.first} {how} neither lower nor higher than {pair.second}{when}: "
                f"lower on {pair.lower}, higher on {pair.higher} of {count_of(pair.seeds, noun)}"
            )
    else:
        word, won = ("lower", pair.lower) if towards < 0 else ("higher", pair.higher)
        text = (
            f"{pair.first} {how} {word} than {pair.second}{when} "
            f"on {won} of {count_of(pair.seeds, noun)}{_measured(pair, towards)}"
        )
    return text + _aside(failures)


def _all(pair: Pair, noun: str) -> str:
    """Return all 5 seeds, or the one seed that there is."""
    return f"all {pair.seeds} {noun}s" if pair.seeds > 1 else f"the only {noun}"


def _measured(pair: Pair, towards: int) -> str:
    """Return the size, and on which pairs it was measured where not on all."""
    if pair.size is None:
        return ""
    if pair.measured == pair.seeds:
        return f", {_size_of(pair, towards)}"
    neutral = 1.0 if pair.scale == "ratio" else 0.0
    apart = 1 if pair.size.estimate >= neutral else -1
    word = "higher" if apart > 0 else "lower"
    return f"; where both have a value ({pair.measured}) it is {word} {_size_of(pair, apart)}"


def speed_sentence(
    pair: Pair,
    target: str,
    unit: str,
    medians: tuple[float, float],
    *,
    noun: str = "seed",
) -> str:
    """Say who reaches a target first, on how many seeds, and how often it is never reached."""
    if pair.seeds == 0:
        return f"{pair.first} and {pair.second} cannot be compared"
    if pair.unmeasured == (pair.seeds, pair.seeds):
        return f"neither {pair.first} nor {pair.second} ever reaches {target}"
    towards = lean(pair)
    word, won = ("more", pair.higher) if towards > 0 else ("fewer", pair.lower)
    typical = [significant(value, 3) if math.isfinite(value) else "never" for value in medians]
    text = (
        f"{pair.first} reaches {target} in {word} {unit} than {pair.second} on {won} of "
        f"{count_of(pair.seeds, noun)} (median {typical[0]} against {typical[1]})"
    )
    never = [
        f"{name} never on {count}"
        for name, count in zip((pair.first, pair.second), pair.unmeasured, strict=True)
        if count
    ]
    return text + (f"; {listed(never)}" if never else "")


def tie_sentence(
    pair: Pair, margin: str, *, noun: str = "seed", failures: Sequence[str] = ()
) -> str:
    """Say how far apart two contenders end, against the margin of a claimed tie."""
    if pair.size is None:
        apart = "have no value to compare"
    elif pair.scale == "ratio":
        apart = f"differ {size_text(pair.size, pair.scale)}"
    else:
        low, high = significant(pair.size.low), significant(pair.size.high)
        apart = f"differ by {significant(pair.size.estimate)} ({low} to {high})"
    return (
        f"{pair.first} and {pair.second} {apart} on {count_of(pair.seeds, noun)}, "
        f"the margin is {margin}{_aside(failures)}"
    )


def _aside(parts: Sequence[str]) -> str:
    return f" ({listed(parts)})" if parts else ""
