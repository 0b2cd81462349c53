"""Checks in words: what was expected, and what came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lossbench.views.console import Column, say, table


def show_checks(console: Console, checks: Sequence[Mapping[str, Any]]) -> None:
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
