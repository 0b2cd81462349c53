"""Every error that lossbench raises on purpose, and the exit code it ends with.

An error says what was given, what would be valid, the nearest valid name, and the place. The
command line prints it without a traceback (`--debug` shows one) and exits with `exit_code`:

    0  done                               3  some trials of a comparison failed
    1  a run failed or diverged           4  something needed is missing (an extra, or data offline)
    2  wrong usage or config              130, 143  interrupted (saved first)
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class LossbenchError(Exception):
    """The root of the family; `hint` is a second line that says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Give the message, and below it the hint."""
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(LossbenchError):
    """What the user asked for cannot be done as it was written."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing bears; says the nearest valid ones."""

    def __init__(self, kind: str, given: str, valid: Iterable[str]) -> None:
        self.kind, self.given, self.valid = kind, given, tuple(valid)
        super().__init__(f"there is no {kind} '{given}'", hint=suggest(given, self.valid))


class DataError(UsageError):
    """Data that cannot be read or used: the message names the file and the line where known."""


class RunError(UsageError):
    """A run that cannot be found, read or continued."""


class TrainingError(LossbenchError):
    """Training started and could not be brought to its end."""


class DivergedError(TrainingError):
    """The loss became infinite or not a number."""


class StorageError(LossbenchError):
    """The disk refused: full, or taken away while a run was writing."""


class MissingError(LossbenchError):
    """Something needed is not there: an optional package, or data while offline."""

    exit_code = 4


class InterruptedRunError(LossbenchError):
    """SIGINT or SIGTERM arrived; the run was saved first."""

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Place:
    """Where in the user's text something stands: a line of a file, or an argument.

    Lines and columns count from 1. `argument` is the command-line argument as it was typed.
    """

    file: Path | None = None
    line: int | None = None
    column: int | None = None
    argument: str | None = None

    def __str__(self) -> str:
        """Give `file:line:column`, or the argument."""
        if self.argument is not None:
            return f"argument '{self.argument}'"
        return ":".join(
            str(part) for part in (self.file, self.line, self.column) if part is not None
        )


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config: where, what, and what would be right."""

    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        """Give `place: message`, and below it the hint."""
        line = f"{self.place}: {self.message}" if str(self.place) else self.message
        return line if self.hint is None else f"{line}\n  {self.hint}"


class ConfigError(UsageError):
    """All that is wrong with a config, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


LISTED = 40
"""How many valid names an error lists where none is near: a wall of them helps nobody."""


ALIKE = 0.8
"""From here on two names differ by a slip of the finger: `hubber` and `huber`."""


def nearest(given: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """Return the valid names that look most like the one given, best first, none if none does.

    Where none looks alike as a whole, those that begin with it as a word do: `cosine` means
    `cosine_annealing`, and not `chained`.
    """
    folded = given.lower()
    by_folded = {name.lower(): name for name in valid}
    matches = difflib.get_close_matches(folded, by_folded, n=count, cutoff=0.6)
    begun = sorted((name for name in by_folded if name.startswith(f"{folded}_")), key=len)
    if begun and not any(_ratio(folded, match) >= ALIKE for match in matches):
        matches = begun[:count]
    return [by_folded[match] for match in matches]


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def suggest(given: str, valid: Iterable[str]) -> str:
    """Return 'did you mean a or b?', or the list of what is valid where nothing is near."""
    valid = sorted(valid)
    close = nearest(given, valid)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not valid:
        return "nothing is valid here"
    more = f" and {len(valid) - LISTED} more" if len(valid) > LISTED else ""
    return f"valid: {', '.join(valid[:LISTED])}{more}"


def listed(names: Iterable[str]) -> str:
    """Return 'a, b and c', nothing for none."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
