"""Checks in words: what was expected, and what came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lossbench.views.console import Column, say, table
from lossbench.views.fits import plural

Record = Mapping[str, Any]


# --- contracts --------------------------------------------------------------------------------


def show_findings(console: Console, findings: Sequence[Record], *, verbose: bool) -> None:
    """Print one line for a component, and one more for each promise that it does not keep."""
    first = findings[0]
    failed = [finding for finding in findings if finding["verdict"] == "failed"]
    passed = sum(finding["verdict"] == "passed" for finding in findings)
    verdict = f"{len(failed)} broken" if failed else "ok"
    line = f"{verdict:9} {first['kind']:10} {first['name']:30} {passed} kept"
    say(console, f"{line}, {_skipped(findings)}".rstrip(", "), "red" if failed else "")
    for finding in findings:
        if finding["verdict"] == "failed":
            say(console, f"          {finding['contract']}: {finding['words']}", "red")
        elif finding["words"].startswith("advice") or verbose:
            words = finding["words"] or finding["verdict"]
            say(console, f"          {finding['contract']}: {words}", "dim")


def _skipped(findings: Sequence[Record]) -> str:
    count = sum(finding["verdict"] == "skipped" for finding in findings)
    return f"{count} do not apply" if count else ""


def counts(findings: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Count components and how their contracts came out, by kind."""
    rows: dict[str, dict[str, int]] = {}
    for finding in findings:
        empty = {"components": 0, "passed": 0, "failed": 0, "skipped": 0}
        rows.setdefault(finding["kind"], empty)[finding["verdict"]] += 1
    for kind, row in rows.items():
        row["components"] = len({f["name"] for f in findings if f["kind"] == kind})
    return rows


def show_counts(console: Console, rows: Mapping[str, Mapping[str, int]]) -> None:
    """Print the table by kind."""
    columns = (
        Column("kind", style="cyan", keep=True),
        *(Column(title, "right") for title in ("components", "passed", "failed", "do not apply")),
    )
    words = ("components", "passed", "failed", "skipped")
    table(
        console,
        columns,
        [(plural(kind), *(row[word] for word in words)) for kind, row in rows.items()],
    )


# --- expected numbers -------------------------------------------------------------------------


def show_cases(
    console: Console,
    cases: Sequence[Record],
    by_kind: Mapping[str, Mapping[str, int]],
    *,
    verbose: bool,
) -> None:
    """Print what failed and what was skipped, with the reason, then the table by kind."""
    for case in cases:
        if case["verdict"] == "passed" and not verbose:
            continue
        style = {"failed": "red", "skipped": "dim"}.get(case["verdict"], "")
        words = f": {case['words']}" if case["words"] else ""
        say(console, f"{case['verdict']:8} {case['id']} ({case['component']}){words}", style)
        if case["got"] is not None:
            say(console, f"         got      {_short(case['got'])}", style)
            say(console, f"         expected {_short(case['expected'])}", style)
    verdicts = ("passed", "failed", "skipped")
    columns = (
        Column("kind", style="cyan", keep=True),
        *(Column(verdict, "right") for verdict in verdicts),
    )
    rows = [(plural(kind), *map(row.__getitem__, verdicts)) for kind, row in by_kind.items()]
    table(console, columns, rows)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:116]} ..."


# --- problems ---------------------------------------------------------------------------------


def show_checks(console: Console, checks: Sequence[Record]) -> None:
    """Print a line for each check, then the claims of those that failed."""
    columns = (Column(""), Column("check", style="cyan"), Column("expected"), Column("found"))
    rows = [
        ("ok" if check["passed"] else "FAILED", check["name"], check["expected"], check["found"])
        for check in checks
    ]
    table(console, columns, rows)
    for check in checks:
        if not check["passed"]:
            say(console, f"{check['name']}: {check['claim']}", "red")
