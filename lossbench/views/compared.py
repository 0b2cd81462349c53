"""A comparison as its pictures need it, and the words that all of them share.

A contender has the same colour, dashes and marker in every picture, by its place in the comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.analysis.table import Metric, Table
from lossbench.views.shapes import Level

MOST_PANELS = 6
"""More panels than these do not fit a page."""


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison as its pictures need it; `summary` is what summary.json says of it."""

    name: str
    table: Table
    summary: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The metric on which the contenders are compared."""
        return str(self.summary["metric"])

    @property
    def several_problems(self) -> bool:
        """Whether a panel must say which problem it shows."""
        return len(self.table.problems) > 1

    def hue(self, contender: str) -> int:
        """Return the number whose colour a contender bears."""
        return self.table.names.index(contender)

    def standings(self, problem: str) -> list[Mapping[str, Any]]:
        """Return the contenders on a problem, the best first."""
        return [item for item in self.summary["standings"] if item["problem"] == problem]

    def title(self, problem: str) -> str:
        """Return what a panel about a problem is called."""
        return problem if self.several_problems else ""


def floor_level(metric: Metric, problem: str, *, logarithmic: bool, upright: bool = False) -> Any:
    """Return the best that can be expected as a level, where it is known and can be drawn."""
    value = metric.floors.get(problem)
    if value is None or (logarithmic and value <= 0):
        return ()
    return (Level(value, "floor", upright),)


def label(told: Compared, contender: str, problem: str | None = None, gap: str = " ") -> str:
    """Return a contender's name, and how many of its trials were lost."""
    found = [
        item
        for item in told.summary["standings"]
        if item["contender"] == contender and problem in (None, item["problem"])
    ]
    trials = sum(item["trials"] for item in found)
    lost = sum(item["diverged"]["trials"] + item["failed"]["trials"] for item in found)
    stalled = sum(item["stalled"]["trials"] for item in found)
    told_of = [f"{lost} diverged"] if lost else []
    told_of += [f"{stalled} stalled"] if stalled else []
    if not told_of:
        return contender
    return f"{contender}{gap}({', '.join(told_of)} of {trials})"


def metric_words(told: Compared, name: str) -> str:
    """Return a metric as an axis says it: training loss (mse), validation accuracy."""
    split, _, metric = name.partition("/")
    words = f"{'training' if split == 'train' else split} {metric.replace('_', ' ')}"
    losses = {contender.loss.partition("(")[0] for contender in told.table.contenders}
    if metric == "loss" and len(losses) == 1 and (loss := losses.pop()):
        return f"{words} ({loss.rpartition(':')[2].replace('_', ' ')})"
    return words


def floats(values: Any) -> tuple[float, ...]:
    """Return an array as plain numbers: figures hold nothing else."""
    return tuple(float(value) for value in values)
