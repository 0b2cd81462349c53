"""The command that writes a template of a component of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.app import CATALOGUE, app, command
from lossbench.cli.output import Output, write_output
from lossbench.errors import UsageError


def complete_template(incomplete: str) -> list[str]:
    """Return the kinds of template that a half-typed word may become."""
    from lossbench.plugins.templates import kinds

    return [kind for kind in kinds() if kind.startswith(incomplete)]


@command(app, "new", panel=CATALOGUE)
def new(
    output: Output,
    kind: Annotated[
        str,
        typer.Argument(
            help="loss, activation, optimizer, network, dataset, metric, schedule, distance",
            autocompletion=complete_template,
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The Python file to write: my_loss.py.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write a template of a component of your own, with a config."""
    from lossbench.plugins.templates import template

    written = template(kind, file)
    there = [path for path in written if path.exists()]
    if there and not force:
        raise UsageError(
            f"{' and '.join(map(str, there))} {'is' if len(there) == 1 else 'are'} already there",
            hint=f"another name, or: lossbench new {kind} {file} --force",
        )
    for path, text in written.items():
        write_output(path, text.encode())
    output.text("\n".join(map(str, written)), {"kind": kind, "written": list(written)})
    output.note(
        f"next: lossbench check {file}"
        + "".join(f"; lossbench train {path}" for path in written if path.suffix == ".yaml")
    )
