"""The stages of a comparison: trials that are trained in one go, cut into pieces of work."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lossbench.config.comparison import ComparisonSpec, Trial
from lossbench.config.spec import RunSpec
from lossbench.errors import RunError
from lossbench.lazy import LazyModule
from lossbench.session import tuned

if TYPE_CHECKING:
    from lossbench.training import chunks, groups, plan
    from lossbench.training.chunks import Work
    from lossbench.training.groups import Chunk
else:
    chunks = LazyModule("lossbench.training.chunks")
    groups = LazyModule("lossbench.training.groups")
    plan = LazyModule("lossbench.training.plan")

SEARCH, FINAL = "search", "final"
"""The search for knobs (where it is asked for), and the trials that count."""


@dataclass(frozen=True)
class Stage:
    """Trials by their numbers, and the pieces that they are cut into."""

    name: str
    trials: tuple[Trial, ...]
    work: "Work"

    def pieces(self) -> "list[tuple[Chunk, list[RunSpec]]]":
        """Return every piece with the specs of its trials."""
        by_number = {trial.number: trial.spec for trial in self.trials}
        return [(chunk, [by_number[n] for n in chunk.trials]) for chunk in self.work.chunks]

    def piece_name(self, number: int) -> str:
        """Return the name under which a piece is stored."""
        return f"{self.name}-{number:05d}"

    def as_before(self, record: Mapping[str, Any]) -> "Stage":
        """Return the stage cut as run.json says that it was cut, so that finished pieces fit.

        Raises RunError where that record is of other trials.
        """
        recorded = record.get("work", {}).get(self.name)
        if recorded is None:
            return self
        try:
            cut = tuple(_chunk(piece) for piece in recorded["chunks"])
        except (KeyError, TypeError) as error:
            raise RunError(f"run.json is damaged: its plan of work cannot be read ({error})") from (
                error
            )
        here = sorted(trial.number for trial in self.trials)
        if sorted(number for chunk in cut for number in chunk.trials) != here:
            raise RunError(
                "comparison.yaml was edited since the comparison started: its trials are others",
                hint="undo the edit, or start a new comparison from it",
            )
        return replace(self, work=replace(self.work, chunks=cut))


def _chunk(piece: Mapping[str, Any]) -> "Chunk":
    how = plan.Plan.from_record(piece["plan"])
    return groups.Chunk(piece["number"], piece["group"], tuple(piece["trials"]), how)


def first_stage(spec: ComparisonSpec, workers: int | None) -> Stage:
    """Return what is trained first: the search where one is asked for, else all trials.

    Raises UsageError (or DataError, MissingError) where a trial cannot be trained.
    """
    if spec.tune:
        return stage_of(SEARCH, tuned.search_trials(spec), workers)
    return stage_of(FINAL, spec.trials, workers)


def stage_of(name: str, trials: Sequence[Trial], workers: int | None) -> Stage:
    """Cut trials into pieces of work."""
    specs = [trial.spec for trial in trials]
    numbers = [trial.number for trial in trials]
    work = chunks.plan_work(specs, numbers, workers=workers, cores=os.cpu_count() or 1)
    return Stage(name, tuple(trials), work)
