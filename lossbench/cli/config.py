"""The commands about configs: init, validate, schema."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lossbench.cli.app import CONFIG, app, command
from lossbench.cli.output import Output, print_json, write_output
from lossbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

OVERRIDES_HELP = "Changes to the config, such as optimizer.lr=1e-3 or loss=huber."


@command(app, "init", panel=CONFIG)
def init(
    output: Output,
    file: Annotated[Path, typer.Argument(help="Where to write it; - for stdout.")] = Path(
        "config.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented config to start from."""
    from lossbench.config.starter import starter

    text = starter()
    if str(file) == "-":
        output.text(text, {"written": None, "text": text})
        return
    if file.exists() and not force:
        raise UsageError(
            f"{file} is already there", hint=f"another name, or: lossbench init {file} --force"
        )
    write_output(file, text.encode())
    output.text(str(file), {"written": file})
    output.note(f"next: lossbench validate {file}; lossbench train {file}")


@command(app, "validate", panel=CONFIG)
def validate(
    output: Output,
    config: Annotated[Path, typer.Argument(help="A config file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help=OVERRIDES_HELP, show_default=False),
    ] = None,
) -> None:
    """Check a config in full; -v prints it with every default."""
    from lossbench.config.read import load
    from lossbench.config.write import dump

    spec = load(config, overrides or ()).spec
    resolved = dump(spec)

    def say_valid(console: "Console") -> None:
        from lossbench.views.console import say

        say(console, f"{config}: valid")
        if output.verbose:
            say(console, resolved.rstrip())

    document = {"valid": True, "config": config, "name": spec.name, "resolved": resolved}
    output.result(document, say_valid)


@command(app, "schema", panel=CONFIG)
def schema(
    output: Output,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a file instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of configs, for an editor."""
    from lossbench.config.schema import json_schema
    from lossbench.rundir.records import json_text

    document = json_schema()
    if file is None:
        print_json(document)
        return
    write_output(file, json_text(document).encode())
    output.text(str(file), {"written": file})
    sys.stdout.flush()
    output.note(f"first line of a config: # yaml-language-server: $schema={file}")
