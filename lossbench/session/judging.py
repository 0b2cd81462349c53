"""The end of a comparison: its trials as a table, its curves as a whole, and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.analysis.compare import Comparison, compare
from lossbench.analysis.source import DEFAULT, comparison_table
from lossbench.analysis.table import Table
from lossbench.config.comparison import ComparisonSpec
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.rundir.records import plain
from lossbench.session import describe, tuned
from lossbench.session.assemble import Pieces
from lossbench.session.stages import Stage


def describe_end(
    record: dict[str, Any], spec: ComparisonSpec, stage: Stage, found: Mapping[str, Any]
) -> None:
    """Add to run.json what is known at the end: contenders, directions, floors, the search."""
    record |= {
        "contenders": describe.contenders(spec, stage.trials, stage.work, found),
        "lower_is_better": describe.directions(stage.work.surveys),
        "floors": describe.floors(stage.trials, stage.work),
        "tuned": found,
    }


def write_whole(
    directory: ComparisonDirectory, spec: ComparisonSpec, stage: Stage, pieces: Pieces
) -> dict[str, list[Any]]:
    """Write trials.csv and curves.safetensors; returns the columns of the first."""
    trials = stage.trials
    numbers = [trial.number for trial in trials]
    roles = [tuned.role(trial, spec) for trial in trials]
    cells = [(t.contender, t.problem, role) for t, role in zip(trials, roles, strict=True)]
    # What was varied is the same for all seeds.
    varied = {
        cell: {key: describe.shown(value) for key, value in trial.values.items()}
        for cell, trial in dict(zip(cells, trials, strict=True)).items()
    }
    levels = describe.uninformed(trials, stage.work)
    columns: dict[str, list[Any]] = {
        "trial": numbers,
        "contender": [trial.contender for trial in trials],
        "problem": [trial.problem for trial in trials],
        "seed": [trial.seed for trial in trials],
        "role": roles,
    }
    for key in dict.fromkeys(key for values in varied.values() for key in values):
        columns[key] = [varied[cell].get(key) for cell in cells]
    columns |= pieces.outcomes(numbers)
    columns["uninformed"] = [levels[trial.contender, trial.problem] for trial in trials]
    directory.write_trials(columns)
    directory.write_curves(pieces.curves(numbers), {"trials": numbers})
    return columns


def judge(
    directory: ComparisonDirectory,
    spec: ComparisonSpec,
    columns: Mapping[str, Sequence[Any]],
    found: Mapping[str, Any],
) -> tuple[Table, Comparison, dict[str, Any]]:
    """Read the comparison back as anybody will, judge it, and write summary.json."""
    table = comparison_table(directory)
    target = dict([spec.target]) if spec.target is not None else None
    comparison = compare(table, claims=spec.claims, target=target)
    told = tuned.record(found, _defaults(columns, f"final/{comparison.metric}"), comparison.metric)
    summary = comparison.record() | {"tuned": plain(told)}
    directory.write_summary(summary)
    return table, comparison, summary


def _defaults(columns: Mapping[str, Sequence[Any]], value: str) -> list[dict[str, Any]]:
    """Return the trials that show what a tuned contender does untuned, with one of their values."""
    values = columns.get(value, [""] * len(columns["role"]))
    cells = zip(columns["role"], columns["contender"], columns["problem"], values, strict=True)
    return [
        {"contender": contender, "problem": problem, value: float(text) if text else None}
        for role, contender, problem, text in cells
        if role == DEFAULT
    ]
