"""What is said of a comparison besides its numbers: contenders, directions, floors, costs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lossbench.config.comparison import ComparisonSpec, Trial
from lossbench.config.spec import RunSpec
from lossbench.config.tune import value_of
from lossbench.lazy import LazyModule

if TYPE_CHECKING:
    from lossbench.training import build
    from lossbench.training import uninformed as levels
    from lossbench.training.chunks import Work
    from lossbench.training.job import Job
    from lossbench.training.survey import Survey
else:
    build = LazyModule("lossbench.training.build")
    levels = LazyModule("lossbench.training.uninformed")

RATE = "optimizer.lr"
TIMED_STEPS = 12
SECONDS_TO_TIME = 10.0
"""Measuring each contender's cost per step ends here: later contenders have none."""

ONE_CONTENDER = "there is only one contender: it is trained and described, not compared"

Cell = tuple[str, str]
"""A contender on a problem."""


def outlook(spec: ComparisonSpec, stage: str, trials: int, work: "Work") -> dict[str, Any]:
    """Return what is about to be done, from sizes alone."""
    return {
        "name": spec.name,
        "stage": stage,
        "trials": trials,
        "contenders": list(spec.contenders),
        "problems": list(spec.problems),
        "seeds": len(spec.seeds),
        "tune": [tune.key for tune in spec.tune],
        "groups": work.groups,
        "pieces": len(work.chunks),
        "workers": work.workers,
        "seconds": round(_seconds(spec, stage, trials, work), 1),
        "bytes": work.bytes,
        "warnings": [ONE_CONTENDER] if len(spec.contenders) == 1 else [],
        "plans": [
            {"trials": len(chunk.trials), "step": chunk.plan.step, "reason": chunk.plan.reason}
            for chunk in work.chunks
        ],
    }


def _seconds(spec: ComparisonSpec, stage: str, trials: int, work: "Work") -> float:
    """Return about how long the training takes on one core; a search is followed by the rest.

    After it come the trials that count, and nearly as many with the defaults beside them.
    """
    return work.seconds * (1 + (2 * len(spec.trials) / trials if stage == "search" else 0))


def facts_of(spec: ComparisonSpec, surveys: Sequence["Survey"]) -> dict[str, Any]:
    """Return what run.json says of the data, one entry per group."""
    return {
        "data": [found.prepared.fingerprint for found in surveys],
        "jobs": [
            {key: value for key, value in found.facts.items() if key != "scaling"}
            for found in surveys
        ],
        "seeds": list(spec.seeds),
    }


def directions(surveys: Sequence["Survey"]) -> dict[str, bool]:
    """Return for every metric whether lower is better."""
    found: dict[str, bool] = {}
    for survey in surveys:
        found |= survey.metrics.lower_is_better()
    return found


def floors(trials: Sequence[Trial], work: "Work") -> dict[str, Any]:
    """Return the best that can be expected, where it is known: metric -> problem -> value."""
    found: dict[str, dict[str, float]] = {}
    for trial, survey in _cells(trials, work):
        for name, value in survey.prepared.floor.items():
            for split in ("validation", "test"):
                found.setdefault(f"{split}/{name}", {})[trial.problem] = float(value)
    return found


def _cells(trials: Sequence[Trial], work: "Work") -> "Iterator[tuple[Trial, Survey]]":
    """Yield the first trial of every contender on every problem, with the survey of its group."""
    group = {number: chunk.group for chunk in work.chunks for number in chunk.trials}
    seen: set[Cell] = set()
    for trial in trials:
        cell = trial.contender, trial.problem
        if cell not in seen:
            seen.add(cell)
            yield trial, work.surveys[group[trial.number]]


def uninformed(trials: Sequence[Trial], work: "Work") -> dict[Cell, float | None]:
    """Return for each contender on each problem the loss of the best constant prediction."""
    known: dict[str, float | None] = {}
    found: dict[Cell, float | None] = {}
    for trial, survey in _cells(trials, work):
        loss = repr((trial.spec.dataset, trial.spec.loss))
        if loss not in known:
            known[loss] = _level(trial.spec, survey)
        found[trial.contender, trial.problem] = known[loss]
    return found


def _level(spec: RunSpec, survey: "Survey") -> float | None:
    parts = survey.parts.of(spec)
    if parts.brought is not None:
        return None  # a problem has no inputs that could be ignored
    model, target = parts.model(0), survey.splits["train"].target
    return levels.uninformed_level(model, parts.heads.outputs, target)


def contenders(
    spec: ComparisonSpec,
    trials: Sequence[Trial],
    work: "Work",
    found: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the facts about each contender that the analysis needs (analysis.table.Contender)."""
    losses = spec.losses()
    several = len(spec.problems) > 1
    on: dict[str, list[tuple[Trial, Survey]]] = {}
    for trial, survey in _cells(trials, work):
        on.setdefault(trial.contender, []).append((trial, survey))
    described, timer, began = [], _Timer(), time.monotonic()
    for name in spec.contenders:
        trial, survey = on[name][0]
        searches = [search for search in found.values() if search["contender"] == name]
        rates = {value_of(own.spec, RATE) for own, _ in on[name]}
        timed = time.monotonic() - began < SECONDS_TO_TIME
        described.append(
            {
                "name": name,
                "loss": losses[name],
                "rate": rates.pop() if len(rates) == 1 else None,
                "tuned": any(tune.key == RATE for tune in spec.tune),
                "rate_at_edge": any(RATE in search["edges"] for search in searches),
                "seconds_per_step": timer.seconds_per_step(trial.spec, survey) if timed else None,
                "data": "" if several else survey.prepared.fingerprint,
                "steps": None
                if several
                else survey.order.steps_per_epoch * trial.spec.train.epochs,
            }
        )
    return described


class _Timer:
    """Measures what one step costs a contender alone: seconds in a shared step mean nothing.

    Contenders that compute the same gradients share their trace, which costs more than the steps.
    """

    def __init__(self) -> None:
        self._before: Job | None = None

    def seconds_per_step(self, spec: RunSpec, survey: "Survey") -> float | None:
        """Return the median of a few steps; none where training fails, which is told there."""
        try:
            job = build.build([spec], None, survey, like=self._before)
            batches = next(job.order.epoch(1))
            seconds = []
            for number in range(1, TIMED_STEPS + 1):
                step = min(number, job.total_steps)
                rate, momentum = job.rates.at(step), job.rates.momentum(step)
                begun = time.perf_counter()
                job.step.train(batches, step, rate, momentum).cpu()
                seconds.append(time.perf_counter() - begun)
        except Exception:
            return None
        self._before = job
        return float(f"{sorted(seconds)[len(seconds) // 2]:.4g}")


def shown(value: Any) -> Any:
    """Return a varied value as trials.csv shows it: a number, or text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {shown(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    return f"[{', '.join(str(shown(item)) for item in value)}]"
