"""The command that compares: a comparison file, a config with `--vary`, or finished runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import TRAIN, app, command
from lossbench.cli.output import Output
from lossbench.cli.runs import RUNS_DIR, RunsDir
from lossbench.cli.train import pointing_at
from lossbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lossbench.config.comparison import LoadedComparison
    from lossbench.session.comparing import ComparisonResult, ComparisonSession

CONFIG_ENDINGS = (".yaml", ".yml", ".json")

SOME_FAILED = 3
"""Exit code of a comparison that came to its end with trials that diverged or failed."""


@dataclass(frozen=True)
class _Asked:
    """What the options say of the comparison to be made."""

    vary: tuple[str, ...]
    seeds: int | None
    tune: tuple[str, ...]
    name: str | None
    workers: int | None

    def given(self) -> list[str]:
        """Return the options that were used."""
        return [f"--{name}" for name, value in vars(self).items() if value not in (None, ())]


@command(app, "compare", panel=TRAIN)
def compare(
    output: Output,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG [KEY=VALUE ...] | RUN RUN ...",
            help="A comparison file, or a config with --vary, and changes to it; or finished runs.",
            show_default=False,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE,VALUE", help="What differs; may be given several times."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trials of every contender.")] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=LOW:HIGH]", help="Search this for every contender first."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The comparison's name.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train.")] = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Annotated[
        str | None,
        typer.Option(metavar="COMPARISON", help="Go on: an id, a path or latest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; nothing is written.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 unless every claim is supported.")
    ] = False,
) -> int | None:  # fmt: skip
    """Train and compare many trials, or compare finished runs."""
    from lossbench.session import comparing as session

    items = list(what or ())
    asked = _Asked(tuple(vary or ()), seeds, tuple(tune or ()), name, workers)
    if resume is not None:
        _refuse_beside_resume(items, replace(asked, workers=None), dry_run=dry_run)
        if strict:
            _refuse_claimless(_claims_of(resume, runs_dir), strict=strict)
        running = session.resume(resume, runs_dir=runs_dir, command=output.command, workers=workers)
    elif _are_runs(items):
        _refuse_beside_runs(asked, dry_run=dry_run, strict=strict)
        return _compare_runs(output, items, runs_dir)
    else:
        options = {} if name is None else {f"name={json.dumps(name)}": f"--name {name}"}
        with pointing_at(options):
            loaded = _load(items, asked, list(options))
            _refuse_claimless(loaded.spec.claims, strict=strict)
            if dry_run:
                _print_plan(output, session.dry_run(loaded, workers=workers))
                return None
            running = session.start(
                loaded, runs_dir=runs_dir, command=output.command, workers=workers
            )
    return _report(output, _watch(output, running), running, runs_dir, strict=strict)


# --- what was asked for -----------------------------------------------------------------------


def _are_runs(items: Sequence[str]) -> bool:
    """Tell runs, of which there are several, from a config with changes behind it."""
    if len(items) < 2 or _is_config(items[0]):
        return False
    return not any("=" in item for item in items)


def _is_config(item: str) -> bool:
    return Path(item).is_file() or item.endswith(CONFIG_ENDINGS)


def _load(items: Sequence[str], asked: _Asked, more: Sequence[str]) -> "LoadedComparison":
    from lossbench.config.trials import is_comparison, load_comparison

    if not items:
        raise UsageError(
            "which comparison?",
            hint="lossbench compare CONFIG --vary optimizer=sgd,adam, or: compare RUN RUN",
        )
    config, *overrides = items
    if not _is_config(config):
        if "=" in config:
            raise UsageError(
                f"'{config}' is a change to a config; the config itself comes first",
                hint=f"lossbench compare CONFIG {config}",
            )
        raise UsageError(
            f"'{config}' is no config file",
            hint="lossbench compare CONFIG, or two finished runs and more: compare RUN RUN",
        )
    stray = [item for item in overrides if "=" not in item]
    if stray:
        raise UsageError(
            f"'{stray[0]}' is no change to the config",
            hint="KEY=VALUE, such as train.epochs=5; several values: --vary KEY=VALUE,VALUE",
        )
    if Path(config).is_file() and not asked.vary and not is_comparison(config):
        raise UsageError(
            f"{config} is the config of one run: nothing varies in it",
            hint=f"lossbench compare {config} --vary optimizer=sgd,adam",
        )
    return load_comparison(
        Path(config), [*overrides, *more], vary=asked.vary, seeds=asked.seeds, tune=asked.tune
    )


def _refuse_beside_resume(items: Sequence[str], asked: _Asked, *, dry_run: bool) -> None:
    """Refuse what would change a comparison that has begun."""
    given = [*items, *asked.given(), *(["--dry-run"] if dry_run else [])]
    if given:
        raise UsageError(
            f"--resume goes on with the comparison as it is; '{given[0]}' has no place there",
            hint="lossbench compare --resume COMPARISON",
        )


def _refuse_claimless(claims: Sequence[str], *, strict: bool) -> None:
    """Refuse to be strict about nothing: a script would take the exit code 0 for a result."""
    if strict and not claims:
        raise UsageError(
            "--strict: there is nothing to be strict about: the comparison has no claims",
            hint="add 'claims: [Adam below SGD on train/loss]' to the file, or leave --strict out",
        )


def _claims_of(reference: str, runs_dir: Path) -> Sequence[str]:
    """Return the claims of a comparison that has begun, and leave it as it is."""
    from lossbench.config.trials import load_comparison
    from lossbench.rundir.comparison import find_comparison

    return load_comparison(find_comparison(runs_dir, reference).config).spec.claims


def _refuse_beside_runs(asked: _Asked, *, dry_run: bool, strict: bool) -> None:
    _refuse_claimless((), strict=strict)
    given = [*asked.given(), *(["--dry-run"] if dry_run else [])]
    if given:
        raise UsageError(f"{given[0]} is for trials that are to be trained, not for finished runs")


def _compare_runs(output: Output, references: Sequence[str], runs_dir: Path) -> int:
    """Compare finished runs: nothing is trained, nothing written."""
    from lossbench.analysis.compare import compare as judge
    from lossbench.analysis.source import run_table
    from lossbench.rundir.runs import load

    found = [load(reference, runs_dir=runs_dir) for reference in references]
    summary = judge(run_table(found)).record()

    def show(console: "Console") -> None:
        from lossbench.views.comparison import show_outcome

        show_outcome(console, summary)

    output.result({"runs": [run.id for run in found], "summary": summary}, show)
    return 0


def _print_plan(output: Output, outlook: dict[str, Any]) -> None:
    def show(console: "Console") -> None:
        from lossbench.views.comparison import show_plan

        show_plan(console, outlook)

    output.result(outlook, show)
    _warn(output, outlook)
    output.note("a dry run: nothing was written")


def _warn(output: Output, outlook: Mapping[str, Any]) -> None:
    for warning in outlook["warnings"]:
        output.warn(warning)


# --- watching and reporting -------------------------------------------------------------------


def _watch(output: Output, running: "ComparisonSession") -> "ComparisonResult":
    """Follow the comparison to its end, on the display that suits where it is watched."""
    if output.quiet:
        return running.result()
    from lossbench.views.comparison import opening
    from lossbench.views.comparison_progress import Course, watching
    from lossbench.views.console import is_live, open_console

    console = open_console(stderr=True)
    outlook = running.outlook()
    output.note(opening(outlook))
    _warn(output, outlook)
    output.detail(f"comparison directory: {running.directory.path}")
    course = Course(ranked=len(set(running.spec.losses().values())) == 1)
    with watching(console, course, live=is_live(console)) as display:
        for advance in running:
            display.show(advance)
    return running.result()


def _report(
    output: Output,
    result: "ComparisonResult",
    running: "ComparisonSession",
    runs_dir: Path,
    *,
    strict: bool,
) -> int:
    """Print what the comparison came to; return the exit code."""
    from lossbench.cli.plot_comparison import draw_into

    document = {
        "comparison": result.path,
        "id": result.id,
        "name": running.spec.name,
        "status": "done",
        "seconds": result.seconds,
        **_counts(result.summary),
        "claims_hold": result.comparison.all_hold,
        "summary": result.summary,
        "plots": draw_into(result, running.spec.name, output),
    }

    def show(console: "Console") -> None:
        from lossbench.views.comparison import show_ending
        from lossbench.views.console import say

        if output.quiet:
            say(console, result.path)
        else:
            show_ending(console, document)

    output.result(document, show)
    _suggest_next(output, result, [] if runs_dir == RUNS_DIR else ["--runs-dir", str(runs_dir)])
    return exit_code(document, strict=strict)


def _counts(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return how many trials there were, and how many ended without a result."""
    standings = summary["standings"]
    lost = sum(item["diverged"]["trials"] + item["failed"]["trials"] for item in standings)
    return {"trials": sum(item["trials"] for item in standings), "failures": lost}


def exit_code(document: Mapping[str, Any], *, strict: bool) -> int:
    """Return 1 where all failed, or a claim fails that was to hold; 3 where some trials failed."""
    if document["failures"] and document["failures"] == document["trials"]:
        return 1
    if strict and not document["claims_hold"]:
        return 1
    return SOME_FAILED if document["failures"] else 0


def _suggest_next(output: Output, result: "ComparisonResult", where: Sequence[str]) -> None:
    reference = result.id
    commands = [
        ["plot", "comparison", reference, "-o", "curves.svg"],
        ["train", "--from", f"{reference}:0"],
        ["export", reference, "-o", "trials.csv"],
    ]
    if "validation/second_coordinate" in result.table.traces:
        commands.insert(1, ["plot", "paths", reference, "-o", "paths.svg"])
    output.note("next:")
    for words in commands:
        output.command_line(f"  {' '.join(['lossbench', *words, *where])}")
