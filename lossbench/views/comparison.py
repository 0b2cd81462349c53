"""Comparisons in words: what is about to be done, who stands where, what was claimed and found.

Everything is read from plain records: the outlook of a session, and summary.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lossbench.analysis.claims import quoted
from lossbench.views.console import (
    Column,
    clean,
    duration,
    facts,
    flatten,
    heading,
    number,
    plain,
    prose,
    say,
    size,
    table,
)
from lossbench.views.runs import moment

OUTCOME_STYLES: Mapping[str, str] = {"supported": "green", "tied": "green", "refuted": "red"}

FAILURES = ("diverged", "failed", "stalled", "missing")

MOST_SENTENCES = 20
"""More than these nobody reads: the table says the same."""

FEW_SECONDS = 3
"""Estimates below this are mostly start-up: nobody plans by them."""


ROUND = (1, 2, 3, 5, 10, 15, 20, 30)
"""Of estimates no other numbers are told: they would look more certain than they are."""


# --- before -----------------------------------------------------------------------------------


def opening(outlook: Mapping[str, Any]) -> str:
    """Say how many trials there are, in how many groups, and about how long they take."""
    contenders, problems = len(outlook["contenders"]), len(outlook["problems"])
    factors = [_count(contenders, "contender")]
    if problems > 1:
        factors.append(_count(problems, "problem"))
    factors.append(_count(outlook["seeds"], "seed"))
    trials = contenders * problems * outlook["seeds"]
    parts = [f"{' x '.join(factors)} = {_count(trials, 'trial')}"]
    if outlook["tune"]:
        keys = ", ".join(outlook["tune"])
        doing = f"{_count(outlook['trials'], 'trial')} that search {keys}"
        parts.append(f"after {doing}" if outlook["stage"] == "search" else f"{keys} tuned")
    parts.append(f"{_groups(outlook)}, {_how_long(outlook)}")
    return clean(f"{outlook['name']}: {'; '.join(parts)}")


def _groups(outlook: Mapping[str, Any]) -> str:
    fused = sum(plan["step"] == "fused" for plan in outlook["plans"])
    pieces, groups = len(outlook["plans"]), outlook["groups"]
    if fused == pieces:
        return f"in {groups} fused group{'' if groups == 1 else 's'}"
    if not fused:
        return f"in {_count(groups, 'group')}, trained one by one"
    return f"in {_count(groups, 'group')}, {fused} of {_count(pieces, 'piece')} fused"


def _how_long(outlook: Mapping[str, Any]) -> str:
    workers, seconds = outlook["workers"], outlook["seconds"]
    spread = seconds / max(1, min(workers, outlook["pieces"]))
    time = "a few seconds" if spread < FEW_SECONDS else f"about {coarse(spread)}"
    return f"{time} with {workers} workers" if workers > 1 else time


def coarse(seconds: float) -> str:
    """Return an estimate, which is right to a factor of 2, as 5 s, 20 s, 3 min, 2 h."""
    unit, name = (1, "s") if seconds < 45 else (60, "min") if seconds < 45 * 60 else (3600, "h")
    count = seconds / unit
    if count > max(ROUND):
        return f"{count:.0f} {name}"
    return f"{min(ROUND, key=lambda step: abs(step - count))} {name}"


def show_plan(console: Console, outlook: Mapping[str, Any]) -> None:
    """Print the plan of a comparison: what `--dry-run` is asked for."""
    prose(console, opening(outlook), "bold")
    say(console, "")
    told = {
        "contenders": [quoted(name) for name in outlook["contenders"]],
        "problems": outlook["problems"],
        "seeds": outlook["seeds"],
        "tuned": outlook["tune"],
        "groups": outlook["groups"],
        "workers": outlook["workers"],
        "time": _how_long(outlook),
        "curves": size(outlook["bytes"]),
    }
    facts(console, {name: plain(value) for name, value in told.items()})
    say(console, "")
    columns = (
        Column("piece", "right"), Column("trials", "right"), Column("step"), Column("because"),
    )  # fmt: skip
    plans = outlook["plans"]
    rows = [(place, p["trials"], p["step"], p["reason"]) for place, p in enumerate(plans)]
    table(console, columns, rows)


# --- after ------------------------------------------------------------------------------------


def show_outcome(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the standings, the verdicts and what a reader must know besides."""
    show_standings(console, summary)
    _show_verdicts(console, summary)
    if summary["warnings"]:
        say(console, "")
        for warning in summary["warnings"]:
            prose(console, f"note: {warning}", "yellow")


def show_standings(console: Console, summary: Mapping[str, Any]) -> None:
    """Print a row for each contender on each problem, the best first."""
    standings = summary["standings"]
    several = len(summary["problems"]) > 1
    targets = [item["targets"][0] for item in standings if item["targets"]]
    tuned = {(found["contender"], found["problem"]): found for found in summary.get("tuned") or ()}
    better = "lower" if summary["lower_is_better"] else "higher"
    prose(console, f"{summary['metric']} at the end ({better} is better, 95 % intervals)", "bold")
    columns = [
        Column("contender", style="cyan", least=14),
        *([Column("problem")] if several else []),
        Column("rank", "right", keep=True),
        Column("n", "right", keep=True),
        Column("final", "right", keep=True),
        Column("interval", "right", keep=True),
        Column("best", "right", keep=True, optional=True),
        *([Column(_target_title(targets[0]), "right", least=14)] if targets else []),
        *([Column("tuned", least=14), Column("untuned", "right", least=12)] if tuned else []),
        *([Column("failures", least=12)] if any(map(_failures, standings)) else []),
    ]
    shown = {column.title for column in columns}
    rows = [
        [
            cell
            for title, cell in _cells(item, tuned, targets).items()
            if title in shown
        ]
        for item in standings
    ]  # fmt: skip
    table(console, columns, rows)


def _cells(
    item: Mapping[str, Any],
    tuned: Mapping[tuple[str, str], Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """Return what is told of a contender, by the column, in the columns' order."""
    final, best = item["final"], item["best"]
    found = tuned.get((item["contender"], item["problem"]))
    cells = {
        "contender": str(item["contender"]),
        "problem": str(item["problem"]),
        "rank": _rank(item),
        "n": str(item["trials"]),
        "final": _estimate(final),
        "interval": _interval(final),
        "best": _estimate(best) if best else "",
    }
    if targets:
        own = item["targets"]
        cells[_target_title(targets[0])] = _reached(own[0]) if own else ""
    return cells | {
        "tuned": _settings(found["chosen"]) if found else "",
        "untuned": _untuned(found) if found else "",
        "failures": _failures(item),
    }


def _target_title(target: Mapping[str, Any]) -> str:
    return f"steps to {target['metric']} {number(target['value'])}"


def _reached(target: Mapping[str, Any]) -> str:
    """Return the median steps to the target, and how many got there where not all did."""
    median = target["median"].get("steps")
    if not target["reached"]:
        return "never"
    text = "half never" if median is None else number(median)
    return text if not target["censored"] else f"{text} ({target['reached']}/{target['trials']})"


def _rank(item: Mapping[str, Any]) -> str:
    first, last = item["rank"], item["rank_to"]
    if first is None:
        return "-"
    return str(first) if first == last else f"{first}-{last}"


def _estimate(summary: Mapping[str, Any]) -> str:
    estimate = summary["interval"]["estimate"]
    return "none" if not summary["finite"] or estimate is None else number(estimate)


def _interval(summary: Mapping[str, Any]) -> str:
    low, high = summary["interval"]["low"], summary["interval"]["high"]
    if not summary["finite"] or low is None or high is None:
        return ""
    return f"{number(low, 3)} to {number(high, 3)}"


def _settings(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{key.rpartition('.')[2]}={number(value, 3)}" for key, value in values.items()
    )


def _untuned(found: Mapping[str, Any]) -> str:
    """Return what a contender comes to with its default: its own column beside the tuned value."""
    if found["chosen"] == found["default"]:
        return "the same"
    median = found.get("default_median")
    value = "none" if median is None else number(median)
    return f"{value} ({_settings(found['default'])})"


def _failures(item: Mapping[str, Any]) -> str:
    """Count the trials that came to grief, by how."""
    counts = {kind: item[kind] if kind == "missing" else item[kind]["trials"] for kind in FAILURES}
    typical = item["diverged"].get("typical")
    told = [f"{count} {kind}" for kind, count in counts.items() if count]
    if counts["diverged"] and typical is not None:
        told[0] += f" (step {number(typical)})"
    return ", ".join(told)


def _show_verdicts(console: Console, summary: Mapping[str, Any]) -> None:
    verdicts, sentences = summary["verdicts"], summary["sentences"]
    if verdicts:
        say(console, "")
        heading(console, "Claims")
        for verdict in verdicts:
            style = OUTCOME_STYLES.get(verdict["outcome"], "yellow")
            if not verdict["holds"] and style == "green":
                style = "red"  # a tie refutes whoever claimed a difference
            prose(console, f"{verdict['label']}: {verdict['sentence']}", style)
            prose(console, f"  claimed: {verdict['claim']}", "dim")
    elif sentences:
        say(console, "")
        heading(console, f"Against {clean(summary['reference'])}, the best")
        for sentence in _told(summary)[:MOST_SENTENCES]:
            prose(console, sentence)
        if len(sentences) > MOST_SENTENCES:
            say(console, f"and {len(sentences) - MOST_SENTENCES} more in summary.json", "dim")


def _told(summary: Mapping[str, Any]) -> list[str]:
    """Return the pairs with the reference in words, each with its problem where there are some."""
    reference, several = summary["reference"], len(summary["problems"]) > 1
    found = [
        item
        for item in summary["separations"]
        if reference in (item["pair"]["first"], item["pair"]["second"])
    ]
    return [
        f"{item['problem']}: {item['sentence']}" if several else item["sentence"] for item in found
    ]


def show_ending(console: Console, document: Mapping[str, Any]) -> None:
    """Print what a comparison came to, and where it lies."""
    show_outcome(console, document["summary"])
    say(console, "")
    told = {"time": duration(document["seconds"]), "comparison": document["comparison"]}
    facts(console, told)


def show_record(console: Console, record: Mapping[str, Any], *, everything: bool) -> None:
    """Print what is known of a comparison; the whole record where asked for."""
    heading(console, f"{record.get('name', '')}  {record.get('id', '')}".strip())
    first = ("path", "status", "reason", "started", "seconds", "trials", "seeds", "command")
    told = {key: record[key] for key in first if record.get(key) not in (None, "", [])}
    if "command" in told:
        told["command"] = " ".join(told["command"])
    if "seconds" in told:
        told["time"] = duration(told.pop("seconds"))
    if "started" in told:
        told["started"] = moment(told["started"])
    told["size"] = size(record.get("bytes", 0))
    facts(console, flatten(told))
    if record.get("summary"):
        say(console, "")
        show_outcome(console, record["summary"])
    if everything:
        rest = {k: v for k, v in record.items() if k not in (*first, "summary", "bytes")}
        say(console, "")
        heading(console, "Record")
        facts(console, flatten(rest))


def _count(amount: int, noun: str) -> str:
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def show_overview(
    console: Console, comparisons: Sequence[Mapping[str, Any]], *, below: bool = False
) -> None:
    """Print a line for each comparison; `below` a table of runs."""
    if below:
        say(console, "")
    columns = (
        Column("comparison", style="cyan"), Column("name"), Column("status"), Column("started"),
        Column("time", "right"), Column("trials", "right"), Column("result"),
    )  # fmt: skip
    table(console, columns, [_overview_row(found) for found in comparisons])


def _overview_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    seconds, leader = found.get("seconds"), found.get("leader")
    result = f"{leader} first of {found['contenders']} on {found['metric']}" if leader else ""
    return (
        str(found["id"]),
        str(found.get("name") or ""),
        str(found.get("status") or ""),
        moment(found.get("started")),
        duration(seconds) if seconds is not None else "",
        str(found.get("trials") or ""),
        str(found.get("reason") or result),
    )
