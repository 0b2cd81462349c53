"""One trial of a comparison as a run of its own: the same config, hence the same curve."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossbench.config.comparison import ComparisonSpec, Trial
from lossbench.config.read import Loaded, load
from lossbench.config.trials import load_comparison, trial_spec, with_value
from lossbench.config.write import dump
from lossbench.config.yaml import parse
from lossbench.errors import RunError, UsageError
from lossbench.rundir.comparison import ComparisonDirectory, find_comparison
from lossbench.rundir.comparisons import trial_row
from lossbench.rundir.directory import RUNS
from lossbench.session.tuned import role


def load_trial(
    reference: str, overrides: Sequence[str] = (), *, runs_dir: Path = RUNS
) -> tuple[Loaded, Trial]:
    """Read `COMPARISON:TRIAL`, such as `latest:17`, as an ordinary run's config.

    A tuned contender's trial has the values that the search chose; the trials of its default have
    the numbers that trials.csv gives them. Raises UsageError, RunError, ConfigError.
    """
    comparison, number = _parsed(reference)
    directory = find_comparison(runs_dir, comparison)
    trial = trial_of(directory, number)
    text = dump(trial.spec)
    loaded = load(overrides=overrides, mapping=parse(text).plain())
    origin = f"# trial {number} of comparison {directory.id}: {trial.contender}, seed {trial.seed}"
    return replace(loaded, text=f"{origin}\n{text}"), trial


def _parsed(reference: str) -> tuple[str, int]:
    comparison, colon, number = reference.rpartition(":")
    if not colon or not comparison or not number.isdecimal():
        raise UsageError(
            f"'{reference}' names no trial", hint="COMPARISON:TRIAL, for example latest:17"
        )
    return comparison, int(number)


def trial_of(directory: ComparisonDirectory, number: int) -> Trial:
    """Return a trial as it was trained, tuned values included."""
    spec = load_comparison(directory.config).spec
    row = trial_row(directory, number)
    if number >= len(spec.trials) and row is not None:
        return _default_trial(spec, row, number)
    trial = trial_spec(spec, number)
    if not spec.tune:
        return trial
    found: dict[str, Any] = directory.read_record().get("tuned") or {}
    for search in found.values():
        if (search["contender"], search["problem"]) == (trial.contender, trial.problem):
            run = trial.spec
            for key, value in search["chosen"].items():
                run = with_value(run, key, value)
            return replace(trial, spec=run, values={**trial.values, **search["chosen"]})
    raise RunError(
        f"comparison {directory.id} has not finished its search: trial {number} is not known yet",
        hint=f"to go on: lossbench compare --resume {directory.argument}",
    )


def _default_trial(spec: ComparisonSpec, row: dict[str, str], number: int) -> Trial:
    """Return the untuned trial that was trained beside a tuned one."""
    cell = row["contender"], row["problem"], int(row["seed"])
    for trial in spec.trials:
        if (trial.contender, trial.problem, trial.seed) == cell:
            found = replace(trial, number=number)
            assert role(found, spec) == row["role"]
            return found
    raise RunError(f"trial {number} is in no contender of '{spec.name}': trials.csv is damaged")
