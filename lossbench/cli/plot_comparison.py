"""The commands that draw comparisons, and the drawing that `compare` does at its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lossbench.cli.app import command, plot_app
from lossbench.cli.output import Output, write_output
from lossbench.cli.runs import RUNS_DIR, RunsDir
from lossbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from lossbench.rundir.comparison import ComparisonDirectory
    from lossbench.session.comparing import ComparisonResult
    from lossbench.views.compared import Compared
    from lossbench.views.path_figures import Walk
    from lossbench.views.shapes import Figure

CURVES = "curves"
GRID = 160
"""Points along each side of a landscape."""

FEW_SEEDS = 3
"""Up to so many seeds all paths are drawn; of more, the first: a hundred paths are a tangle."""


def complete_comparison(incomplete: str) -> list[str]:
    """Return the comparisons here that a half-typed id may become."""
    from lossbench.rundir.comparison import all_comparisons

    names = ["latest", *(found.id for found in all_comparisons(RUNS_DIR))]
    return [name for name in names if name.startswith(incomplete)]


def complete_picture(incomplete: str) -> list[str]:
    """Return the pictures that a half-typed name may become."""
    from lossbench.views.comparison_figures import PICTURES

    return [name for name in PICTURES if name.startswith(incomplete)]


ComparisonArgument = Annotated[
    str,
    typer.Argument(
        metavar="COMPARISON",
        help="An id, its beginning, a path, or latest.",
        show_default=False,
        autocompletion=complete_comparison,
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="A .png, .svg or .pdf file. Else a .png here.", show_default=False
    ),
]


@command(plot_app, "comparison")
def plot_comparison(
    output: Output,
    comparison: ComparisonArgument,
    picture: Annotated[
        str,
        typer.Option(
            help="curves, curves-epochs, curves-seconds, finals, sensitivity or profiles.",
            autocompletion=complete_picture,
        ),
    ] = CURVES,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Of curves and finals: only this one, such as validation/accuracy."),
    ] = None,
    file: FileOption = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Draw a comparison: curves with bands, final values, sensitivity or profiles."""
    from lossbench.rundir.comparison import find_comparison

    directory = find_comparison(runs_dir, comparison)
    draw_comparison(output, directory, picture, metric, file)


def draw_comparison(
    output: Output,
    directory: "ComparisonDirectory",
    picture: str = CURVES,
    metrics: list[str] | None = None,
    file: Path | None = None,
) -> None:
    """Write one picture of a comparison. Raises UsageError where there is nothing to draw."""
    path = file if file is not None else Path(f"{picture}.png")
    from lossbench.views.draw import encode, format_of

    ending = format_of(path)
    figure = _figure(_compared(directory), picture, metrics)
    write_output(path, encode(figure, ending))
    document = {
        "written": path,
        "comparison": directory.id,
        "picture": picture,
        "panels": len(figure.panels),
    }
    output.text(str(path), document)


def _compared(directory: "ComparisonDirectory") -> "Compared":
    from lossbench.analysis.source import comparison_table
    from lossbench.views.compared import Compared

    # The summary is written last: asked for first, it says best what is missing.
    summary = directory.read_summary()
    name = directory.read_record().get("name", directory.path.parent.name)
    return Compared(str(name), comparison_table(directory), summary)


def _figure(told: "Compared", picture: str, metrics: list[str] | None) -> "Figure":
    from lossbench.views.comparison_figures import PICTURES, WITH_METRICS, pictures

    if picture not in PICTURES:
        raise UnknownNameError("picture", picture, PICTURES)
    for name in metrics or ():
        told.table.metric(name)
    if metrics and picture not in WITH_METRICS:
        raise UsageError(f"--metric is for {', '.join(WITH_METRICS)}, not for {picture}")
    draw = PICTURES[picture]
    figure = WITH_METRICS[picture](told, metrics) if metrics else draw(told)
    if figure is None:
        there_are = ", ".join(pictures(told))
        raise UsageError(
            f"'{told.name}' has nothing to draw in the picture '{picture}'",
            hint=f"it has {there_are}",
        )
    return figure


def draw_into(result: "ComparisonResult", name: str, output: Output) -> list[Path]:
    """Draw a comparison's pictures into its plots/; a picture that fails fails no comparison."""
    from lossbench.rundir.comparison import ComparisonDirectory
    from lossbench.views.compared import Compared
    from lossbench.views.comparison_figures import pictures
    from lossbench.views.draw import encode

    plots = ComparisonDirectory(result.path).plots
    written = []
    try:
        for picture, figure in pictures(Compared(name, result.table, result.summary)).items():
            for ending in ("png", "svg"):
                path = plots / f"{picture}.{ending}"
                write_output(path, encode(figure, ending))
                written.append(path)
    # The comparison is done and saved: what is wrong with a picture must not make it a failure.
    except Exception as error:
        if output.debug:
            raise
        output.warn(f"no picture: {error}")
    return written


# --- paths ------------------------------------------------------------------------------------


@command(plot_app, "paths")
def plot_paths(
    output: Output,
    comparison: ComparisonArgument,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many seeds to draw. Else all up to {FEW_SEEDS}, or one."),
    ] = None,
    file: FileOption = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Draw the paths of a comparison's trials over the contours of their problem."""
    path = file if file is not None else Path("paths.png")
    from lossbench.rundir.comparison import find_comparison
    from lossbench.views.draw import encode, format_of
    from lossbench.views.path_figures import paths_figure

    ending = format_of(path)
    directory = find_comparison(runs_dir, comparison)
    told = _compared(directory)
    count = len(set(told.table.seed.tolist()))
    shown = min(count, seeds if seeds is not None else count if count <= FEW_SEEDS else 1)
    walks = _walks(directory, told, shown)
    hues = {name: told.hue(name) for name in told.table.names}
    figure = paths_figure(told.name, walks, hues, (shown, count))
    write_output(path, encode(figure, ending))
    document = {"written": path, "comparison": directory.id, "panels": len(figure.panels)}
    output.text(str(path), document)


def _walks(directory: "ComparisonDirectory", told: "Compared", seeds: int) -> list["Walk"]:
    """Return the paths on every problem with the landscape that they cross."""
    import numpy as np

    from lossbench.analysis.paths import begun_at, frame, paths
    from lossbench.config.trials import load_comparison
    from lossbench.session.landscapes import landscape
    from lossbench.views.path_figures import Walk

    specs = {trial.problem: trial.spec for trial in load_comparison(directory.config).spec.firsts()}
    walks = []
    for problem in told.table.problems:
        ground = landscape(specs[problem])
        walked = [
            begun_at(path, ground.start(path.seed)) for path in paths(told.table, problem, seeds)
        ]
        sides = frame(walked, ground.minima)
        x, y = (np.linspace(low, high, GRID) for low, high in sides)
        walks.append(Walk(problem, x, y, ground.heights(x, y), ground.minima, walked))
    return walks
