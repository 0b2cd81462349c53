"""A grid to trials: every contender read as a run's config is, then given its seeds."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from lossbench.config.anchor import anchored
from lossbench.config.comparison import Cell, Trial
from lossbench.config.grid import Grid, refuse_shared_names
from lossbench.config.problems import Problems
from lossbench.config.read import Known, read_run
from lossbench.config.spec import RunSpec, TrainSpec
from lossbench.config.write import plain
from lossbench.config.yaml import Node
from lossbench.errors import Place, Problem

MOST_PROBLEMS = 100
"""After so many problems the remaining contenders are not looked at."""


def read_cells(base: Node, grid: Grid, name: str, problems: Problems) -> list[Cell]:
    """Return every contender on every problem; none where something is wrong with one of them."""
    of_data, contenders = grid.settings(of_data=True), grid.settings(of_data=False)
    for settings in (of_data, contenders):
        refuse_shared_names(grid, settings, problems)
    cells, mistakes = [], Mistakes()
    known: Known = {}
    for problem in of_data:
        for contender in contenders:
            labels = {**problem.labels, **contender.labels}
            found = Problems()  # of its own: whether a block is good must not depend on others
            spec = read_run(grid.laid_over(base, labels, found), name, found, known)
            mistakes.take(found, ", ".join(filter(None, (contender.name, problem.name))))
            if len(mistakes) >= MOST_PROBLEMS:
                break
            if spec is not None:
                names = (contender.name or spec.name, problem.name or spec.dataset.name)
                cells.append(Cell(*names, labels, spec))
    mistakes.tell(problems, own_places(grid))
    return [] if len(cells) < len(of_data) * len(contenders) else cells


class Mistakes:
    """What is wrong with the contenders, each mistake once.

    A mistake of the base is one of all contenders, though each may word it in its own way ("unknown
    key 'lr' in optimizer (adam)"). So of one place no more is told than one contender has there.
    """

    def __init__(self) -> None:
        self._told: dict[Place, list[Problem]] = {}
        self._names: dict[Place, list[str]] = {}
        self._read = 0

    def __len__(self) -> int:
        return sum(map(len, self._told.values()))

    def take(self, found: Iterable[Problem], name: str) -> None:
        """Take in what is wrong with one contender."""
        self._read += 1
        at: dict[Place, list[Problem]] = {}
        for problem in found:
            at.setdefault(problem.place, []).append(problem)
        for place, here in at.items():
            told = self._told.setdefault(place, [])
            known = {problem.message: index for index, problem in enumerate(told)}
            room = len(here) - len(told)
            for problem in here:
                index = known.get(problem.message)
                if index is None and room > 0:
                    told.append(problem)
                    room -= 1
                elif index is not None and "did you mean" in (problem.hint or ""):
                    told[index] = problem  # a name that is near tells more than all that are valid
            self._names.setdefault(place, []).append(name)

    def tell(self, problems: Problems, own: Collection[Place]) -> None:
        """Note each mistake; where only some contenders have it, the first of them is named.

        Those in a contender's own values (`own` places) need no name: their place says whose.
        """
        for place, told in self._told.items():
            names, whose = self._names[place], ""
            if place not in own and len(names) < self._read:
                others = f" and {len(names) - 1} more" if len(names) > 1 else ""
                whose = f" (in '{names[0]}'{others})"
            for problem in told:
                problems.add(place, problem.message + whose, problem.hint)


def own_places(grid: Grid) -> set[Place]:
    """Return the places in the values of the axes: what stands there is a contender's own."""
    nodes = [node for axis in grid.axes for value in axis.values.values() for node in value.walk()]
    places = {place for node in nodes for place in (node.place, node.key)}
    return places - {axis.place for axis in grid.axes}


def trials(
    cells: Sequence[Cell], axes: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]
) -> Iterator[Trial]:
    """Yield the trials, numbered from 0: the same run for every seed, but for its seed."""
    seeded: dict[TrainSpec, list[TrainSpec]] = {}
    number = 0
    for cell in cells:
        values = MappingProxyType({key: axes[key][cell.labels[key]] for key in axes})
        if cell.spec.train not in seeded:
            seeded[cell.spec.train] = [replace(cell.spec.train, seed=seed) for seed in seeds]
        for train in seeded[cell.spec.train]:
            spec = replace(cell.spec, train=train)
            yield Trial(number, cell.contender, cell.problem, train.seed, values, spec)
            number += 1


# --- what is written down of it ---------------------------------------------------------------


def plain_axes(grid: Grid, cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Return the axes as plain values: key -> label -> value, with absolute paths."""
    found: dict[str, dict[str, Any]] = {}
    for axis in grid.axes:
        having: dict[str, RunSpec] = {}
        for cell in cells:
            having.setdefault(cell.labels[axis.key], cell.spec)
        found[axis.key] = {
            label: anchored(node, axis.path, having[label]).plain()
            for label, node in axis.values.items()
        }
    return found


def plain_base(base: Node, grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the config that the axes are laid over, as plain values with absolute paths.

    A block that no axis touches is complete, so that it means the same when a default changes; one
    that an axis touches stays as it was given, for what it means depends on the axis.
    """
    touched = {axis.path[0] for axis in grid.axes}
    first = cells[0].spec
    complete = plain(first)
    found = {}
    for field in fields(RunSpec):
        part = getattr(first, field.name)
        alike = all(getattr(cell.spec, field.name) == part for cell in cells)
        if field.name not in touched and alike:
            found[field.name] = complete[field.name]
        elif field.name in (base.mapping or {}):
            node = (base.mapping or {})[field.name]
            found[field.name] = anchored(node, (field.name,), first).plain()
    return found
