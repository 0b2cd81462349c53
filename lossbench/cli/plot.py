"""The command that draws runs, and the drawing that `train` does at its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import command, plot_app
from lossbench.cli.output import Output, write_output
from lossbench.cli.runs import RUNS_DIR, RunsDir
from lossbench.errors import RunError

if TYPE_CHECKING:
    from lossbench.rundir.runs import Run
    from lossbench.views.figures import Shown
    from lossbench.views.shapes import Figure

CURVES = "curves"
"""The name of a run's own picture in its plots/, without the ending."""


@command(plot_app, "runs")
def plot_runs(
    output: Output,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Ids, their beginnings, paths, or latest.", show_default=False
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .png, .svg or .pdf file. Else curves.png here.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:  # fmt: skip
    """Draw the curves of a run or a comparison, or of several runs over one another."""
    if len(runs) == 1:
        from lossbench.rundir.comparisons import find_any
        from lossbench.rundir.directory import RunDirectory

        found = find_any(runs_dir, runs[0])
        if not isinstance(found, RunDirectory):
            from lossbench.cli.plot_comparison import draw_comparison

            draw_comparison(output, found, file=file)
            return
    path = file if file is not None else Path(f"{CURVES}.png")
    from lossbench.views.draw import encode, format_of

    ending = format_of(path)
    figure = figure_of(runs, runs_dir)
    write_output(path, encode(figure, ending))
    output.text(str(path), {"written": path, "runs": runs, "panels": len(figure.panels)})


def figure_of(references: Sequence[str | Path], runs_dir: Path) -> "Figure":
    """Read runs and arrange what is drawn of them.

    Raises RunError where a run has recorded nothing yet.
    """
    from lossbench.rundir.labels import labels
    from lossbench.rundir.runs import load
    from lossbench.views.figures import runs_figure

    found = [load(reference, runs_dir=runs_dir) for reference in references]
    for run in found:
        if not run.rows:
            raise RunError(f"run {run.id} has recorded nothing yet: there is nothing to draw")
    names = (
        [f"{found[0].record.get('name', '')} ({found[0].id})".strip()]
        if len(found) == 1
        else labels([run.config for run in found], [run.id for run in found])
    )
    return runs_figure([_shown(run, name) for run, name in zip(found, names, strict=True)])


def draw_into(directory: Path, output: Output) -> list[Path]:
    """Draw a run's curves into its own plots/; a picture that fails fails no run."""
    from lossbench.rundir.directory import RunDirectory
    from lossbench.views.draw import encode

    plots = RunDirectory(directory).plots
    written = []
    try:
        figure = figure_of([directory], directory.parent)
        for ending in ("png", "svg"):
            path = plots / f"{CURVES}.{ending}"
            write_output(path, encode(figure, ending))
            written.append(path)
    # The run is done and saved: whatever is wrong with its picture must not make it a failure.
    except Exception as error:
        if output.debug:
            raise
        output.warn(f"no picture: {error}")
    return written


def _shown(run: "Run", label: str) -> "Shown":
    from lossbench.analysis.curves import curves
    from lossbench.views.figures import Shown

    config = run.config
    lower = _directions(config)
    return Shown(
        label=label,
        curves=curves(run.rows),
        loss=str((config.get("loss") or {}).get("name", "")).rpartition(":")[2],
        best_step=_best_step(run),
        lower_is_better=lower,
        test=run.summary.get("test", {}),
    )


def _directions(config: dict[str, Any]) -> dict[str, bool | None]:
    """Return of the loss and of every metric of a config whether lower is better."""
    from lossbench.registry import metric

    names = [block.get("name", "") for block in config.get("metrics") or ()]
    known = {name: metric[name].facts.lower_is_better for name in names if name in metric}
    return {"loss": True, **known}


def _best_step(run: "Run") -> int | None:
    """Return where the kept weights are from, where validation data chose them."""
    chosen = any(name.startswith("validation/") for name in run.summary.get("final", {}))
    step = run.summary.get("best_step")
    return int(step) if chosen and step else None
