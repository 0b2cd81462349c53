"""The search for knobs before a comparison: what is tried, what is chosen, what it is worth.

Every contender searches the same list of candidates, its own value always among them, with seeds
that the comparison itself does not use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from lossbench.analysis.source import DEFAULT
from lossbench.analysis.tuning import Range, Tuned, candidates, choose, tuning_seeds
from lossbench.config.comparison import ComparisonSpec, Trial
from lossbench.config.spec import RunSpec
from lossbench.config.trials import with_value
from lossbench.config.tune import lower_is_better, value_of
from lossbench.session.assemble import Pieces

Cell = tuple[str, str]
"""A contender on a problem."""


def _ranges(spec: ComparisonSpec) -> dict[str, Range]:
    """Return where each key is searched: the range that was given, or the usual one."""
    return {
        tune.key: Range()
        if tune.low is None or tune.high is None
        else Range(tune.low, tune.high, reference=None)
        for tune in spec.tune
    }


def _candidates(spec: ComparisonSpec, run: RunSpec) -> tuple[Mapping[str, float], ...]:
    defaults = {tune.key: float(value_of(run, tune.key)) for tune in spec.tune}
    return candidates(_ranges(spec), defaults, spec.tune[0].trials)


def _with(run: RunSpec, values: Mapping[str, float]) -> RunSpec:
    for key, value in values.items():
        run = with_value(run, key, value)
    return run


def _seeded(run: RunSpec, seed: int) -> RunSpec:
    return replace(run, train=replace(run.train, seed=seed))


def search_trials(spec: ComparisonSpec) -> tuple[Trial, ...]:
    """Return the trials of the search: by contender, candidate and seed, in this order."""
    seeds = tuning_seeds(spec.seeds, spec.tune[0].seeds)
    trials: list[Trial] = []
    for cell in spec.firsts():
        for values in _candidates(spec, cell.spec):
            run = _with(cell.spec, values)
            for seed in seeds:
                tried = replace(
                    cell,
                    number=len(trials),
                    seed=seed,
                    values={**cell.values, **values},
                    spec=_seeded(run, seed),
                )
                trials.append(tried)
    return tuple(trials)


def chosen_trials(
    spec: ComparisonSpec, searched: Sequence[Trial], pieces: Pieces
) -> tuple[tuple[Trial, ...], dict[str, Any]]:
    """Return the trials that count, with the values that were chosen, and what the search found.

    Where a contender's choice is not its default, its default is trained too, for comparison:
    those trials come last.
    """
    lower = _aims_low(spec)
    choices: dict[Cell, Tuned] = {}
    measured: dict[Cell, list[list[float]]] = {}
    runs: dict[Cell, RunSpec] = {}
    for cell in spec.firsts():
        own = [t for t in searched if (t.contender, t.problem) == (cell.contender, cell.problem)]
        tried = _candidates(spec, cell.spec)
        values = pieces.final(spec.tune[0].metric, [trial.number for trial in own])
        per = len(own) // len(tried)
        rows = [values[index * per : (index + 1) * per] for index in range(len(tried))]
        found = choose(tried, rows, lower_is_better=lower)
        choices[cell.contender, cell.problem] = found
        measured[cell.contender, cell.problem] = rows
        runs[cell.contender, cell.problem] = _with(cell.spec, found.choice)
    trials, defaults = list[Trial](), list[Trial]()
    for trial in spec.trials:
        cell_name = (trial.contender, trial.problem)
        found = choices[cell_name]
        chosen = {**trial.values, **found.choice}
        trials.append(replace(trial, spec=_seeded(runs[cell_name], trial.seed), values=chosen))
        if found.chosen != 0:
            number = len(spec.trials) + len(defaults)
            defaults.append(replace(trial, number=number))
    told = {
        f"{contender}|{problem}": {
            "contender": contender,
            "problem": problem,
            "metric": spec.tune[0].metric,
            "chosen": dict(found.choice),
            "default": dict(found.candidates[0]),
            "score": found.score,
            "default_score": found.default_score,
            "edges": dict(found.edges),
            "usable": found.usable,
            "tried": [
                {**candidate, "score": value, "values": row}
                for candidate, value, row in zip(
                    found.candidates, found.scores, measured[contender, problem], strict=True
                )
            ],
        }
        for (contender, problem), found in choices.items()
    }
    return (*trials, *defaults), told


def _aims_low(spec: ComparisonSpec) -> bool:
    """Tell whether the search wants its metric low; one without a direction was refused before."""
    name = spec.tune[0].metric.partition("/")[2]
    chosen = {metric.name: metric for metric in spec.trials[0].spec.metrics}
    return name not in chosen or lower_is_better(chosen[name]) is True


def role(trial: Trial, spec: ComparisonSpec) -> str:
    """Return what a trial is for: one that counts, or a tuned contender's default beside it."""
    if not spec.tune:
        return ""
    return DEFAULT if trial.number >= len(spec.trials) else "tuned"


def record(
    found: Mapping[str, Any], defaults: Sequence[Mapping[str, Any]], metric: str
) -> list[dict[str, Any]]:
    """Return what summary.json says of the search: the choice, and what the default came to."""
    told = []
    for search in found.values():
        values = [
            row[f"final/{metric}"]
            for row in defaults
            if (row["contender"], row["problem"]) == (search["contender"], search["problem"])
            and row.get(f"final/{metric}") is not None
        ]
        told.append({**search, "default_median": median(values) if values else None})
    return told
