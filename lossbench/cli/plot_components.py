"""The commands that draw activations, losses and schedules."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import command, plot_app
from lossbench.cli.output import Output, write_output
from lossbench.errors import UsageError

if TYPE_CHECKING:
    from lossbench.evaluate.curves import Curve, Matrix
    from lossbench.registry import Entry

MOST_LINES = 12
"""Lines in one pair of axes that can still be told apart."""

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Which; without: all.", show_default=False),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A .png, .svg or .pdf file.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="KNOB=VALUE; VALUE,VALUE,... draws a family of curves."),
]
Together = Annotated[bool, typer.Option("--together", help="All in one pair of axes.")]


@command(plot_app, "activations")
def plot_activations(
    output: Output,
    names: Names = None,
    file: OutputFile = None,
    settings: Settings = None,
    together: Together = False,
) -> None:
    """Draw activations with their derivatives; softmax and its like as Jacobians."""
    from lossbench.evaluate.curves import activation_curve, activation_matrix

    def curve(entry: Any, params: Any, label: str) -> "Curve | Matrix":
        draw = activation_curve if entry.facts.elementwise else activation_matrix
        return draw(entry, params, label)

    _draw(output, "activation", names or [], file, settings or [], together, curve)


@command(plot_app, "losses")
def plot_losses(
    output: Output,
    names: Names = None,
    file: OutputFile = None,
    settings: Settings = None,
    together: Together = False,
) -> None:
    """Draw losses with their gradients against the residual, the margin or the probability."""
    from lossbench.evaluate.curves import loss_curve

    _draw(output, "loss", names or [], file, settings or [], together, loss_curve)


@command(plot_app, "schedules")
def plot_schedules(
    output: Output,
    names: Names = None,
    file: OutputFile = None,
    settings: Settings = None,
    together: Together = False,
    steps: Annotated[int, typer.Option(help="The length of the run.", min=2)] = 100,
) -> None:
    """Draw the learning rate over a run."""
    from lossbench.evaluate.curves import schedule_curve

    def curve(entry: Any, params: Any, label: str) -> "Curve | Matrix":
        return schedule_curve(entry, params, label, steps)

    _draw(output, "schedule", names or [], file, settings or [], together, curve)


def _draw(
    output: Output,
    kind: str,
    names: list[str],
    file: Path | None,
    settings: list[str],
    together: bool,
    curve: "Callable[[Any, Any, str], Curve | Matrix]",
) -> None:
    """Draw some components of a kind, or all that can be drawn."""
    from lossbench.evaluate.curves import Matrix
    from lossbench.views.component_figures import family, gallery
    from lossbench.views.draw import encode, format_of

    several = "losses" if kind == "loss" else f"{kind}s"
    path = file or Path(f"{several}.png")
    ending = format_of(path)
    entries = _entries(kind, names)
    variations = _variations(settings)
    if (settings or together) and not names:
        raise UsageError(f"which {several}?", hint=f"lossbench plot {several} NAME ...")
    drawn: list[tuple[Curve | Matrix, str]] = []
    left: list[str] = []
    for entry in entries:
        for params, words in variations:
            label = ", ".join(filter(None, (entry.name if len(entries) > 1 else "", words)))
            try:
                found = curve(entry, params, label or entry.name)
            except UsageError as error:
                if names:
                    raise
                left.append(error.message)
                continue
            drawn.append((found, entry.doc.sections.get("Formula", "")))
    if not drawn:
        raise UsageError(f"no {kind} can be drawn so")
    one = len(entries) == 1 or together
    if one and len(drawn) > MOST_LINES:
        raise UsageError(
            f"{len(drawn)} lines in one pair of axes cannot be told apart",
            hint=f"at most {MOST_LINES}, or without --together",
        )
    if together and any(isinstance(found, Matrix) for found, _ in drawn):
        raise UsageError("a Jacobian has no place beside curves", hint="leave out --together")
    if one:
        title = entries[0].name if len(entries) == 1 else ""
        formula = drawn[0][1] if len(entries) == 1 else ""
        figure = family([found for found, _ in drawn], title, _one_line(formula))
    else:
        figure = gallery(drawn, "")
    write_output(path, encode(figure, ending))
    document = {"written": path, "kind": kind, "panels": len(figure.panels), "left_out": left}
    output.text(str(path), document)
    if left:
        output.note(f"{len(left)} cannot be drawn along one number (-v: which, and why)")
    for reason in left:
        output.detail(reason)


def _one_line(formula: str) -> str:
    return " ".join(formula.split())


def _entries(kind: str, names: list[str]) -> "list[Entry[Any]]":
    from lossbench import plugins
    from lossbench.registry import registry_of

    if not names:
        return list(registry_of(kind).values())
    return [
        plugins.load(name, kind, Path.cwd())
        if plugins.is_reference(name)
        else registry_of(kind).find(name)
        for name in names
    ]


def _variations(settings: list[str]) -> list[tuple[dict[str, Any], str]]:
    """Return each combination of the values that are to be drawn, with its name."""
    from lossbench.config.yaml import resolve

    choices: list[list[tuple[str, Any]]] = []
    for text in settings:
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise UsageError(
                f"argument '{text}': write KNOB=VALUE or KNOB=VALUE,VALUE,...",
                hint="--set gamma=0,1,2",
            )
        choices.append([(name.strip(), resolve(value.strip())) for value in values.split(",")])
    several = [pairs[0][0] for pairs in choices if len(pairs) > 1]
    return [
        (dict(chosen), ", ".join(f"{name} = {value}" for name, value in chosen if name in several))
        for chosen in itertools.product(*choices)
    ]
