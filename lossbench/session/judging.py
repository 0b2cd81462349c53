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
) -> list[dict[str, Any]]:
    """Write trials.csv and curves.safetensors; returns the rows of the first."""
    outcomes = pieces.outcomes()
    levels = describe.uninformed(stage.trials, stage.work)
    rows = [
        {
            "trial": trial.number,
            "contender": trial.contender,
            "problem": trial.problem,
            "seed": trial.seed,
            "role": tuned.role(trial, spec),
            **{key: describe.shown(value) for key, value in trial.values.items()},
            **outcomes[trial.number],
            "uninformed": levels[trial.contender, trial.problem],
        }
        for trial in stage.trials
    ]
    directory.write_trials(rows)
    numbers = [trial.number for trial in stage.trials]
    directory.write_curves(pieces.curves(numbers), {"trials": numbers})
    return rows


def judge(
    directory: ComparisonDirectory,
    spec: ComparisonSpec,
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
) -> tuple[Table, Comparison, dict[str, Any]]:
    """Read the comparison back as anybody will, judge it, and write summary.json."""
    table = comparison_table(directory)
    target = dict([spec.target]) if spec.target is not None else None
    comparison = compare(table, claims=spec.claims, target=target)
    default = [row for row in rows if row["role"] == DEFAULT]
    told = tuned.record(found, default, comparison.metric)
    summary = comparison.record() | {"tuned": plain(told)}
    directory.write_summary(summary)
    return table, comparison, summary
