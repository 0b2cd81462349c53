"""All that is wrong with a config, collected: nothing stops at the first mistake."""

from collections.abc import Iterator

from lossbench.errors import ConfigError, LossbenchError, Place, Problem


class Problems:
    """The problems found so far, in the order of the text when they are raised."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note a problem."""
        problem = Problem(place, message, hint)
        if problem not in self._found:
            self._found.append(problem)

    def add_error(self, place: Place, error: LossbenchError) -> None:
        """Note an error of another part as a problem of the place that caused it."""
        self.add(place, error.message, error.hint)

    def raise_any(self) -> None:
        """Raise ConfigError with all of them, if there are any: first the file's, by line."""
        if self._found:
            raise ConfigError(sorted(self._found, key=_order))


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    place = problem.place
    return (place.argument is not None, str(place.file), place.line or 0, place.column or 0)
