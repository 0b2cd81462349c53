"""The command that computes one component on the user's own numbers."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lossbench.cli.app import CATALOGUE, app, command
from lossbench.cli.catalogue import complete_component, find_components
from lossbench.cli.output import Output
from lossbench.errors import UsageError

EVALUATED = ("activation", "loss", "distance", "optimizer", "schedule")
"""Kinds that have a value on numbers alone."""


@command(app, "eval", panel=CATALOGUE)
def evaluate(
    output: Output,
    name: Annotated[
        str,
        typer.Argument(help="A component's name.", autocompletion=complete_component),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="Numbers as JSON, a .json or .npy file, or - for stdin; NAME=... where a "
            "component takes several. May be repeated.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The target, given as --input is.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="KNOB=VALUE; may be repeated.")
    ] = None,
    reduction: Annotated[
        str | None, typer.Option(help="none (the default), mean, sum, batchmean.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Where several kinds have one of that name: which.")
    ] = None,
    impl: Annotated[str, typer.Option(help="auto, formula or kernel.")] = "auto",
) -> None:
    """Compute a component on your own numbers, with its gradient.

    lossbench eval huber --input '[0.2, 3]' --target '[0, 0]' --set delta=0.5
    """
    from lossbench.evaluate.values import evaluate as compute
    from lossbench.views.values import show_value

    entries = find_components(name, kind)
    entries = [entry for entry in entries if entry.kind in EVALUATED] or entries
    if len(entries) > 1:
        kinds = [entry.kind for entry in entries]
        raise UsageError(
            f"{name} is the name of {len(entries)} components: {' and '.join(kinds)}",
            hint=f"say which: --kind {kinds[0]}",
        )
    given = _inputs(inputs or [])
    if target is not None:
        given["target"] = _numbers(target, "--target")
    if not given:
        raise UsageError(
            f"{entries[0].name} on which numbers?",
            hint=f"lossbench eval {name} --input '[1, 2, 3]'"
            + (" --target '[0, 0, 0]'" if "target" in entries[0].inputs else ""),
        )
    params = _params(settings or [])
    found = compute(_imported(entries[0], name), given, params, reduction=reduction, impl=impl)
    output.result(found.record(), lambda console: show_value(console, found.record()))
    for warning in found.warnings:
        output.warn(warning)


def _imported(entry: Any, name: str) -> Any:
    """Return a user's own component imported; a registered one as it is."""
    from lossbench import plugins

    if not plugins.is_reference(name):
        return entry
    return plugins.load(name, entry.kind, Path.cwd())


def _inputs(given: list[str]) -> dict[str, Any]:
    """Read every --input; a JSON object gives several at once."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        named = bool(equals) and name.strip().isidentifier()
        label = name.strip() if named else "input"
        value = _numbers(rest if named else text, f"--input {label}")
        if isinstance(value, dict) and not named:
            found |= value
        elif label in found:
            raise UsageError(f"--input gives {label} twice", hint="name them: --input x1='[...]'")
        else:
            found[label] = value
    return found


def _numbers(text: str, label: str) -> Any:
    """Read numbers: JSON as it is, from a file, or from stdin."""
    text = text.strip()
    if text == "-":
        return _json(sys.stdin.read(), f"{label} from stdin")
    if text[:1] in "[{" or _is_number(text):
        return _json(text, label)
    file = Path(text.removeprefix("@")).expanduser()
    if file.suffix == ".npy":
        return _npy(file)
    try:
        return _json(file.read_text(encoding="utf-8-sig"), str(file))
    except FileNotFoundError:
        raise UsageError(
            f"{label}: '{text}' is neither JSON nor a file", hint="JSON: '[1, 2, 3]'"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(text: str, label: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(
            f"{label} is no JSON{place}: {getattr(error, 'msg', 'too deep')}",
            hint="nested lists of numbers: [[1, 2], [3, 4]]",
        ) from None


def _npy(file: Path) -> Any:
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{file} is no array that NumPy can read: {error}") from None
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{file} holds {array.dtype}, not numbers")
    return array.tolist()


def _params(settings: list[str]) -> dict[str, Any]:
    """Read KNOB=VALUE as a config's override is read."""
    from lossbench.config.yaml import resolve

    found: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"argument '{text}': write KNOB=VALUE", hint="--set delta=0.5")
        stripped = value.strip()
        if stripped[:1] in "[{":
            found[name.strip()] = _json(stripped, f"argument '{text}'")
        else:
            found[name.strip()] = resolve(stripped)
    return found
