"""What a comparison is: frozen values, complete, with every trial's run in it.

A trial is one contender on one problem with one seed. What varies under `dataset` makes problems;
everything else that varies makes contenders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossbench.config.spec import RunSpec
from lossbench.errors import Place


@dataclass(frozen=True)
class Trial:
    """One run of a comparison: `values` are the varied keys with their values, as written."""

    number: int
    contender: str
    problem: str
    seed: int
    values: Mapping[str, Any]
    spec: RunSpec


@dataclass(frozen=True)
class Cell:
    """One contender on one problem, whatever the seed; `labels` are those of the varied keys."""

    contender: str
    problem: str
    labels: Mapping[str, str]
    spec: RunSpec


@dataclass(frozen=True)
class Tune:
    """A knob that is searched for every contender before the comparison.

    low, high: the range; none for the usual one, relative to each contender's own value.
    trials:    values that are tried, the contender's own among them.
    seeds:     runs of each, none with a seed of the comparison itself.
    metric:    what decides, at the end, on validation data.
    """

    key: str
    low: float | None = None
    high: float | None = None
    trials: int = 16
    seeds: int = 3
    metric: str = "validation/loss"


@dataclass(frozen=True)
class ComparisonSpec:
    """One comparison, whole.

    base:       the config that the axes are laid over: a mapping that `load` reads, but for the
                blocks that an axis brings. Blocks that no axis touches have every default in them;
                paths are absolute.
    axes:       key -> label -> value, in the order in which contenders are named and numbered.
    zipped:     the keys whose axes go in step instead of making a grid.
    seeds:      values of train.seed; trial i of every contender has the i-th.
    trials:     by problem, then by contender, then by seed.
    """

    name: str
    base: Mapping[str, Any]
    axes: Mapping[str, Mapping[str, Any]]
    zipped: tuple[str, ...]
    contenders: tuple[str, ...]
    problems: tuple[str, ...]
    seeds: tuple[int, ...]
    tune: tuple[Tune, ...]
    target: tuple[str, float] | None
    claims: tuple[str, ...]
    trials: tuple[Trial, ...]

    def firsts(self) -> tuple[Trial, ...]:
        """Return the first trial of every contender on every problem."""
        return self.trials[:: len(self.seeds)]

    def losses(self) -> Mapping[str, str]:
        """Return what each contender is trained on; texts are equal where the losses compare."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.contenders}
        for trial in self.firsts():
            found[trial.contender][loss_text(trial.spec)] = None
        return {name: "; ".join(texts) for name, texts in found.items()}


def loss_text(spec: RunSpec) -> str:
    """Return a run's loss with its knobs; how it is computed makes no other loss of it."""
    knobs = ", ".join(f"{name}={value!r}" for name, value in spec.loss.knobs.items())
    return f"{spec.loss.name}({knobs})" if knobs else spec.loss.name


@dataclass(frozen=True)
class LoadedComparison:
    """A comparison that was read: what it means, its text as given, the user's own files in it.

    claim_places: where each claim stands.
    """

    spec: ComparisonSpec
    text: str
    files: tuple[Path, ...]
    claim_places: tuple[Place, ...] = ()
