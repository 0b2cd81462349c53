"""The commands about configs: init, validate, schema."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from lossbench.config.trials import is_comparison
    from lossbench.config.write import dump

    document: dict[str, Any] = {"valid": True, "config": config}
    if config.is_file() and is_comparison(config):
        document |= _comparison_record(config, overrides or ())
        told = f"{config}: valid, {document['trials']} trials"
    else:
        spec = load(config, overrides or ()).spec
        document |= {"name": spec.name, "resolved": dump(spec)}
        told = f"{config}: valid"

    def say_valid(console: "Console") -> None:
        from lossbench.views.console import say

        say(console, told)
        if output.verbose:
            say(console, document["resolved"].rstrip())

    output.result(document, say_valid)


def _comparison_record(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Check a comparison in full, its claims included."""
    from lossbench.analysis.claims import parse_all
    from lossbench.config.trials import claim_facts, dump_comparison, load_comparison

    loaded = load_comparison(config, overrides)
    parse_all(loaded.spec.claims, **claim_facts(loaded))
    return {
        "name": loaded.spec.name,
        "trials": len(loaded.spec.trials),
        "contenders": list(loaded.spec.contenders),
        "resolved": dump_comparison(loaded.spec),
    }


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
