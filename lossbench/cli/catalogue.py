"""The commands that say what there is: list, show."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import CATALOGUE, app, command
from lossbench.cli.output import Output
from lossbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lossbench.registry import Entry


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds that a half-typed word may become."""
    from lossbench.views.catalogue import kinds_record

    return [kind for kind in kinds_record() if kind.startswith(incomplete)]


def complete_component(incomplete: str) -> list[str]:
    """Return the components that a half-typed word may become."""
    from lossbench.registry import KINDS

    names = {name for registry in KINDS.values() for name in registry}
    return sorted(name for name in names if name.startswith(incomplete))


@command(app, "list", panel=CATALOGUE)
def list_components(
    output: Output,
    kind: Annotated[
        str | None,
        typer.Argument(
            help="losses, activations, optimizers, ...; without: all kinds.",
            autocompletion=complete_kind,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Losses, metrics and data sets for this kind of target: class, real."),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Those whose name or description holds this text.")
    ] = None,
) -> None:
    """List the components that a config may name."""
    from lossbench.registry import KINDS, registry_of
    from lossbench.views import catalogue

    if kind is None and search is not None and target is None:
        found = [entry for one in KINDS for entry in catalogue.matching(one, None, search)]
        records = [catalogue.entry_record(entry) for entry in found] if output.json else []
        output.result(
            {"search": search, "components": records},
            lambda console: catalogue.show_found(console, found),
        )
        if not found:
            output.note(f"nothing holds '{search}'")
        return
    if kind is None and target is not None:
        raise UsageError("--target of which kind?", hint="lossbench list losses --target class")
    if kind is None:
        output.result({"kinds": catalogue.kinds_record()}, catalogue.show_kinds)
        output.note("lossbench list losses: all of a kind; lossbench show NAME: one of them")
        return
    try:
        registry = registry_of(kind)
    except UnknownNameError as error:
        plurals = list(catalogue.kinds_record())
        raise UnknownNameError("kind of component", kind, plurals) from error
    entries = catalogue.matching(registry.kind, target, search)
    records = [catalogue.entry_record(entry) for entry in entries] if output.json else []
    output.result(
        {"kind": registry.kind, "components": records},
        lambda console: catalogue.show_list(console, registry.kind, entries),
    )
    if not entries:
        output.note(f"none of the {len(registry)} {kind} fits")


@command(app, "show", panel=CATALOGUE)
def show(
    output: Output,
    name: Annotated[
        str,
        typer.Argument(
            help="A component's name, an alias, or torch's name.", autocompletion=complete_component
        ),
    ],
    kind: Annotated[
        str | None, typer.Option(help="Where several kinds have one of that name: which.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it in the terminal.")] = False,
) -> None:
    """Show a component: its formula, knobs, an example, its source."""
    from lossbench.views import catalogue

    entries = find_components(name, kind)

    def pages(console: "Console") -> None:
        for number, entry in enumerate(entries):
            if number:
                console.print()
            catalogue.show_entry(console, entry)
            if plot:
                _plot(console, entry, output)

    output.result(
        {"name": name, "components": [catalogue.entry_record(entry) for entry in entries]}, pages
    )
    if len(entries) > 1:
        kinds = " and ".join(entry.kind for entry in entries)
        output.note(f"{name} is the name of {len(entries)} components: {kinds}")


def _plot(console: "Console", entry: "Entry[Any]", output: Output) -> None:
    """Draw a component below its page, where it can be drawn along one number."""
    from lossbench.evaluate.curves import activation_curve, loss_curve, schedule_curve
    from lossbench.views.braille import show_plot

    draw = {"activation": activation_curve, "loss": loss_curve, "schedule": schedule_curve}
    if entry.kind not in draw:
        output.note(f"a {entry.kind} cannot be drawn")
        return
    try:
        found = draw[entry.kind](entry, {}, entry.name)
    except UsageError as error:
        output.note(f"no plot: {error.message}")
        return
    console.print()
    show_plot(console, found.x, found.value, found.x_label, found.value_label)


def find_components(name: str, kind: str | None = None) -> list["Entry[Any]"]:
    """Return the components that bear a name, of one kind or of all.

    Exact names come before other spellings. Raises UnknownNameError naming the nearest of all
    kinds.
    """
    from lossbench import plugins
    from lossbench.registry import KINDS, registry_of

    if plugins.is_reference(name) or name.endswith(".py"):
        if kind is None:
            raise UsageError(
                f"of which kind is '{name}'?", hint=f"lossbench show {name} --kind loss"
            )
        return [plugins.find(name, registry_of(kind).kind, Path.cwd())]
    registries = [registry_of(kind)] if kind is not None else list(KINDS.values())
    exact = [registry[name] for registry in registries if name in registry]
    if exact:
        return exact
    spelled = []
    for registry in registries:
        try:
            spelled.append(registry.find(name))
        except UnknownNameError:
            continue
    if spelled:
        return spelled
    what = registries[0].kind if kind is not None else "component"
    known = {known for registry in registries for known in registry}
    raise UnknownNameError(what, name, known)
