"""The command that holds lossbench to what it says."""

from typing import Annotated

import typer

from lossbench.cli.app import CATALOGUE, app, command
from lossbench.cli.output import Output
from lossbench.errors import UnknownNameError

SUBJECTS = ("problems",)
"""What can be checked."""


@command(app, "check", panel=CATALOGUE)
def check(
    output: Output,
    subject: Annotated[str, typer.Argument(help="problems: those with known answers.")],
) -> int:
    """Hold the optimizers against closed forms.

    The exit code is 1 where a check fails.
    """
    if subject not in SUBJECTS:
        raise UnknownNameError("thing to check", subject, SUBJECTS)
    from lossbench.checks.problems import check_problems
    from lossbench.views.checks import show_checks

    checks = check_problems()
    for made in checks:
        output.detail(f"{made.name}: {made.claim}")
    failed = sum(not made.passed for made in checks)
    records = [made.record() for made in checks]
    document = {"subject": subject, "passed": not failed, "checks": records}
    output.result(document, lambda console: show_checks(console, records))
    if failed:
        output.warn(f"{failed} of {len(checks)} checks failed")
    else:
        output.note(f"{len(checks)} checks passed")
    return 1 if failed else 0
