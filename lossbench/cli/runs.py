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
    """List all runs and comparisons, the newest last."""
    from lossbench.rundir import comparisons
    from lossbench.rundir.runs import overview

    found, compared = overview(runs_dir), comparisons.overview(runs_dir)

    def show(console: "Console") -> None:
        from lossbench.views.comparison import show_overview as show_comparisons
        from lossbench.views.runs import show_overview

        if found:
            show_overview(console, found)
        if compared:
            show_comparisons(console, compared, below=bool(found))

    document = {"runs_dir": runs_dir, "runs": found, "comparisons": compared}
    output.result(document, show)
    if not found and not compared:
        output.note(f"no runs in {runs_dir} yet: lossbench train CONFIG makes one")


@command(runs_app, "show")
def show_run(output: Output, run: RunArgument, runs_dir: RunsDir = RUNS_DIR) -> None:
    """Show all that is known of a run or a comparison."""
    from lossbench.rundir import comparisons, runs
    from lossbench.rundir.directory import RunDirectory

    found = comparisons.find_any(runs_dir, run)
    if isinstance(found, RunDirectory):
        record = runs.show(str(found.path), runs_dir)
    else:
        record = comparisons.show(found)

    def print_run(console: "Console") -> None:
        if isinstance(found, RunDirectory):
            from lossbench.views.runs import show_record
        else:
            from lossbench.views.comparison import show_record

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
    """Remove runs and comparisons at once, without asking; all of them, or none."""
    from lossbench.rundir.comparisons import remove

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
    """Export metrics or trials as CSV, or all there is as JSON."""
    from lossbench.rundir import comparisons
    from lossbench.rundir.directory import RunDirectory
    from lossbench.rundir.runs import export as export_run

    default = "json" if output.json else "csv"
    ending = default if file is None else file.suffix.removeprefix(".").lower() or default
    chosen = form or ending
    if chosen not in EXPORT_FORMATS:
        raise UsageError(f"there is no format '{chosen}'", hint=suggest(chosen, EXPORT_FORMATS))
    found = comparisons.find_any(runs_dir, run)
    if isinstance(found, RunDirectory):
        text = export_run(str(found.path), chosen, runs_dir=runs_dir)
    else:
        text = comparisons.export(found, chosen)
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
