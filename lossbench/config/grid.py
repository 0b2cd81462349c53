"""Axes to contenders and problems: the grid that they span, or pairs where they are zipped."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from lossbench.config.annotations import show
from lossbench.config.axes import Axis
from lossbench.config.overrides import put
from lossbench.config.problems import Problems
from lossbench.config.yaml import Node
from lossbench.errors import suggest


@dataclass(frozen=True)
class Setting:
    """One way to set some of the axes: its name, and each axis's label by key."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Grid:
    """All contenders and all problems.

    Axes that go in step are one group, every other axis is a group of its own. A group with an
    axis of the data makes problems (`zip: [dataset, loss]`: each with a loss that fits it), the
    others make contenders.
    """

    axes: tuple[Axis, ...]
    zipped: tuple[str, ...] = ()

    def groups(self, *, of_data: bool) -> list[list[Axis]]:
        """Return the groups that make problems, or those that make contenders."""
        groups: list[list[Axis]] = []
        together = [axis for axis in self.axes if axis.key in self.zipped]
        for axis in self.axes:
            if axis.key not in self.zipped:
                groups.append([axis])
            elif axis is together[0]:
                groups.append(together)
        return [group for group in groups if any(axis.of_data for axis in group) == of_data]

    def size(self) -> int:
        """Return the number of pairs of a contender and a problem, without making them."""
        groups = [*self.groups(of_data=True), *self.groups(of_data=False)]
        return prod(len(group[0].values) for group in groups)

    def settings(self, *, of_data: bool) -> list[Setting]:
        """Return all problems or all contenders; where nothing varies, one without a name."""
        groups = self.groups(of_data=of_data)
        order = {axis.key: index for index, axis in enumerate(self.axes)}
        # A problem is named by its data alone.
        named = {axis.key for group in groups for axis in group if axis.of_data == of_data}
        options = [
            [dict(zip([a.key for a in group], labels, strict=True)) for labels in _in_step(group)]
            for group in groups
        ]
        found = []
        for chosen in itertools.product(*options):
            labels = {key: label for part in chosen for key, label in part.items()}
            keys = sorted(named, key=order.__getitem__)
            found.append(Setting(", ".join(labels[key] for key in keys), labels))
        return found

    def laid_over(self, base: Node, labels: Mapping[str, str], problems: Problems) -> Node:
        """Return the config of one contender on one problem.

        Whole blocks come first: an axis may set a knob of a block that another one replaces.
        """
        for axis in sorted(self.axes, key=lambda axis: len(axis.path)):
            base = put(base, axis.path, axis.values[labels[axis.key]], problems)
        return base


def _in_step(group: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    """Yield the labels that go together."""
    return zip(*(axis.values for axis in group), strict=True)


def read_zip(node: Node | None, axes: Sequence[Axis], problems: Problems) -> tuple[str, ...]:
    """Return the keys of the axes that go in step: all of them for `true`, none for `false`."""
    if node is None or node.value is None or node.value is False:
        return ()
    keys = [axis.key for axis in axes]
    chosen = keys if node.value is True else _named(node, keys, problems)
    if chosen is None:
        return ()
    together = [axis for axis in axes if axis.key in chosen]
    if len(together) < 2:
        problems.add(node.place, "zip pairs at least two axes that vary")
        return ()
    if len({len(axis.values) for axis in together}) > 1:
        lengths = ", ".join(f"{axis.key} has {len(axis.values)}" for axis in together)
        hint = "give them as many values each, or leave zip out for a grid"
        problems.add(node.place, f"zip pairs axes of the same length: {lengths}", hint)
        return ()
    return tuple(axis.key for axis in together)


def _named(node: Node, keys: Sequence[str], problems: Problems) -> list[str] | None:
    if node.items is None:
        message = f"zip must be true or a list of keys that vary, got {show(node.plain())}"
        problems.add(node.place, message)
        return None
    unknown = [item for item in node.items if item.value not in keys]
    for item in unknown:
        hint = suggest(str(item.value), keys) if keys else None
        problems.add(item.place, f"zip: {show(item.plain())} does not vary", hint)
    return None if unknown else [str(item.value) for item in node.items]


def refuse_shared_names(grid: Grid, settings: Sequence[Setting], problems: Problems) -> None:
    """Note contenders, or problems, of one name."""
    seen: set[str] = set()
    for setting in settings:
        if setting.name in seen and setting.labels:
            key = next(iter(setting.labels))
            of_data = any(axis.of_data and axis.key in setting.labels for axis in grid.axes)
            what = "problems" if of_data else "contenders"
            problems.add(
                next(axis.place for axis in grid.axes if axis.key == key),
                f"two {what} have one name: '{setting.name}'",
                f"give the values of '{key}' labels: '{key}: {{LABEL: VALUE}}'",
            )
            return
        seen.add(setting.name)
