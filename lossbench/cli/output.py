"""Where a command's words go: the result to stdout, everything else to stderr."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.errors import ConfigError, LossbenchError, Problem

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Output:
    """The options that every command has, and the printing that obeys them.

    With `json`, stdout receives one strict JSON document and nothing else. `arguments` is what was
    typed behind the program's name.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The command as it was typed, for the run's record."""
        return ["lossbench", *self.arguments]

    def result(self, document: Any, show: "Callable[[Console], object]") -> None:
        """Print a command's result: the document with `--json`, else what `show` prints."""
        if self.json:
            print_json(document)
            return
        from lossbench.views.console import open_console

        show(open_console())

    def text(self, text: str, document: Any) -> None:
        """Print a result that is a text of its own (CSV, YAML) exactly as it is."""
        if self.json:
            print_json(document)
        else:
            sys.stdout.write(text if text.endswith("\n") else f"{text}\n")

    def note(self, text: str) -> None:
        """Say something on stderr, unless asked to be quiet."""
        if not self.quiet:
            self._say(text, "dim")

    def command_line(self, text: str) -> None:
        """Show on stderr what to type: never folded, so that it can be copied."""
        if not self.quiet:
            from lossbench.views.console import open_console, say

            say(open_console(stderr=True), text, "dim")

    def warn(self, text: str) -> None:
        """Say on stderr what should not be missed."""
        if not self.quiet:
            self._say(text, "yellow")

    def detail(self, text: str) -> None:
        """Say on stderr what only `-v` wants to know."""
        if self.verbose and not self.quiet:
            self._say(text, "dim")

    def _say(self, text: str, style: str) -> None:
        from lossbench.views.console import open_console, prose

        prose(open_console(stderr=True), text, style)


def print_json(document: Any) -> None:
    """Print a document as strict JSON on stdout."""
    from lossbench.rundir.records import json_text

    sys.stdout.write(json_text(document))


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user named, whole or not at all; a device or a pipe is written into.

    Raises StorageError.
    """
    from lossbench.rundir import storage

    if path.exists() and not path.is_file():
        with storage.storing(path):
            path.write_bytes(content)
        return
    with storage.storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # What the user linked stays a link: the file behind it is replaced.
    storage.replace(path.resolve(), content)


def error_record(error: LossbenchError) -> dict[str, Any]:
    """Return an error as a JSON document's content; a config's problems with their places."""
    record: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, ConfigError):
        record["problems"] = [_problem_record(problem) for problem in error.problems]
    return {"error": record}


def _problem_record(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "argument": place.argument,
        "message": problem.message,
        "hint": problem.hint,
    }
