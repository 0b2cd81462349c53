"""The commands about runs that were made: runs ls, show, diff, rm; export."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import RUNS, app, command, group, runs_app
from lossbench.cli.output import Output, write_output
from lossbench.errors import UsageError, suggest

if TYPE_CHECKING:
    from rich.console import Console

RUNS_DIR = Path("runs")
EXPORT_FORMATS = ("csv", "json")


def complete_run(incomplete: str) -> list[str]:
    """Return the runs here that a half-typed id may become."""
    from lossbench.rundir.finding import all_runs

    names = ["latest", *(run.id for run in all_runs(RUNS_DIR))]
    return [name for name in names if name.startswith(incomplete)]


RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where runs lie.")]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="An id, its beginning, a path, or latest.",
        show_default=False,
        autocompletion=complete_run,
    ),
]


@group(runs_app)
def runs(output: Output, invoked: str | None = None) -> int | None:
    """List, show, compare and remove runs."""
    return list_runs(output) if invoked is None else None


@command(runs_app, "ls")
def list_runs(output: Output, runs_dir: RunsDir = RUNS_DIR) -> None:
    """List all runs, the newest last."""
    from lossbench.rundir.runs import overview

    found = overview(runs_dir)

    def show(console: "Console") -> None:
        from lossbench.views.runs import show_overview

        show_overview(console, found)

    output.result({"runs_dir": runs_dir, "runs": found}, show if found else _nothing)
    if not found:
        output.note(f"no runs in {runs_dir} yet: lossbench train CONFIG makes one")


def _nothing(console: "Console") -> None:
    """Print no table where there is nothing to show."""


@command(runs_app, "show")
def show_run(output: Output, run: RunArgument, runs_dir: RunsDir = RUNS_DIR) -> None:
    """Show all that is known of a run."""
    from lossbench.rundir.runs import show

    record = show(run, runs_dir)

    def print_run(console: "Console") -> None:
        from lossbench.views.runs import show_record

        show_record(console, record, everything=output.verbose)

    output.result(record, print_run)


@command(runs_app, "diff")
def diff(
    output: Output,
    left: RunArgument,
    right: RunArgument,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Compare two runs: what differs in their configs, and how far their results differ."""
    from lossbench.rundir.runs import compare

    record = compare(left, right, runs_dir)

    def print_diff(console: "Console") -> None:
        from lossbench.views.runs import show_comparison

        show_comparison(console, record)

    output.result(record, print_diff)


@command(runs_app, "rm")
def remove(
    output: Output,
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Ids, their beginnings, or paths.", show_default=False
        ),
    ],
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Remove runs at once, without asking; nothing is removed unless all of them are found."""
    from lossbench.rundir.runs import remove

    removed = remove(run, runs_dir)
    output.text("\n".join(removed), {"removed": removed})


@command(app, "export", panel=RUNS)
def export(
    output: Output,
    run: RunArgument,
    form: Annotated[
        str | None, typer.Option("--format", help="csv (the metrics) or json (all of the run).")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file; its ending says the format. Else stdout."),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Export the metrics as CSV, or the whole run as JSON."""
    from lossbench.rundir.runs import export as export_run

    default = "json" if output.json else "csv"
    ending = default if file is None else file.suffix.removeprefix(".").lower() or default
    chosen = form or ending
    if chosen not in EXPORT_FORMATS:
        raise UsageError(f"there is no format '{chosen}'", hint=suggest(chosen, EXPORT_FORMATS))
    text = export_run(run, chosen, runs_dir=runs_dir)
    if file is not None:
        write_output(file, text.encode())
        output.text(str(file), {"written": file, "format": chosen})
        return
    output.text(text, _as_document(text, chosen))


def _as_document(text: str, form: str) -> Mapping[str, Any]:
    """Return an exported text as a JSON document: the very one, or one that holds the CSV."""
    if form == "json":
        import json

        return dict(json.loads(text))
    return {"format": form, "text": text}
