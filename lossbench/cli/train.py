"""The commands that compute: train, predict."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.cli.app import TRAIN, app, command
from lossbench.cli.config import OVERRIDES_HELP
from lossbench.cli.output import Output, error_record, write_output
from lossbench.cli.runs import EXPORT_FORMATS, RUNS_DIR, RunArgument, RunsDir
from lossbench.errors import ConfigError, Place, Problem, UsageError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from lossbench.config.read import Loaded
    from lossbench.session.actions import RunResult, Session


@command(app, "train", panel=TRAIN)
def train(
    output: Output,
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A config file (not with --resume or --from)."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help=OVERRIDES_HELP)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Makes the weights, the order and the noise.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name.")] = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run: an id, a path or latest."),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="COMPARISON:TRIAL", help="One trial, alone: for example latest:17."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="One batch, a report, nothing written.")
    ] = False,
) -> int | None:
    """Train a run; everything about it lies in its run directory."""
    from lossbench.session import actions as session

    options = _options(device=device, seed=seed, name=name)
    given = [*(overrides or ()), *options]
    if resume is not None and dry_run:
        raise UsageError("--dry-run and --resume do not go together")
    if resume is not None and origin is not None:
        raise UsageError("--from and --resume do not go together")
    with pointing_at(options):
        if resume is not None:
            changes = _only_overrides(config, given, "--resume RUN", "the run")
            running = session.resume(resume, changes, runs_dir=runs_dir, command=output.command)
        else:
            loaded = _load(output, config, origin, given, runs_dir)
            if dry_run:
                _print_dry_run(output, session.dry_run(loaded))
                return None
            running = session.start(loaded, runs_dir=runs_dir, command=output.command)
    return _report(output, _watch(output, running), running, runs_dir)


@contextlib.contextmanager
def pointing_at(options: Mapping[str, str]) -> Iterator[None]:
    """Let the errors of overrides that came from options name the option that was typed."""
    try:
        yield
    except ConfigError as error:
        if not options:
            raise
        raise ConfigError([_renamed(problem, options) for problem in error.problems]) from error


def _renamed(problem: Problem, options: Mapping[str, str]) -> Problem:
    typed = options.get(problem.place.argument or "")
    return problem if typed is None else replace(problem, place=Place(argument=typed))


def _options(*, device: str | None, seed: int | None, name: str | None) -> dict[str, str]:
    """Return the overrides that options stand for, each with the option as it was typed."""
    # A JSON text is a YAML text in quotes: a device or a name is never taken for a number.
    given = {
        "--device": (device, f"train.device={json.dumps(device)}"),
        "--seed": (seed, f"train.seed={seed}"),
        "--name": (name, f"name={json.dumps(name)}"),
    }
    return {
        override: f"{option} {value}"
        for option, (value, override) in given.items()
        if value is not None
    }


def _config_file(config: str | None) -> Path:
    if config is None:
        raise UsageError(
            "which config?", hint="lossbench train CONFIG, or: lossbench init writes one"
        )
    if "=" in config and not Path(config).exists():
        raise UsageError(
            f"'{config}' is a change to a config; the config itself comes first",
            hint=f"lossbench train CONFIG {config}",
        )
    return Path(config)


def _load(
    output: Output, config: str | None, origin: str | None, given: Sequence[str], runs_dir: Path
) -> "Loaded":
    """Read the config: a file's, or that of a trial of a comparison."""
    from lossbench.config.read import load

    if origin is None:
        return load(_run_config(_config_file(config)), given)
    from lossbench.session.alone import load_trial

    changes = _only_overrides(config, given, "--from COMPARISON:TRIAL", "the trial")
    loaded, trial = load_trial(origin, changes, runs_dir=runs_dir)
    output.note(f"trial {trial.number}: {trial.contender} with seed {trial.seed}")
    return loaded


def _run_config(file: Path) -> Path:
    """Return the file, unless it is a comparison's, of which `train` trains one trial at most."""
    from lossbench.config.trials import is_comparison

    if file.is_file() and is_comparison(file):
        raise UsageError(f"{file} is a comparison", hint=f"lossbench compare {file}")
    return file


def _only_overrides(config: str | None, given: Sequence[str], option: str, whose: str) -> list[str]:
    """Return what follows such an option: changes only, since there is a config already."""
    if config is None:
        return list(given)
    if "=" not in config:
        raise UsageError(
            f"{option.split()[0]} goes on with {whose}'s own config; '{config}' has no place there",
            hint=f"lossbench train {option} train.epochs=50",
        )
    return [config, *given]


def _print_dry_run(output: Output, record: dict[str, Any]) -> None:
    def show(console: "Console") -> None:
        from lossbench.views.runs import show_dry_run

        show_dry_run(console, record)

    output.result(record, show)
    output.note("a dry run: nothing was written")


def _watch(output: Output, running: "Session") -> "RunResult":
    """Follow the run to its end, on the display that suits where it is watched."""
    if output.quiet:
        for _ in running:
            pass
        return running.result()
    from lossbench.views.console import is_live, open_console
    from lossbench.views.progress import Course, watching

    plan = running.job.plan.record()
    course = Course(
        name=running.spec.name,
        epochs=running.spec.train.epochs,
        steps=running.job.total_steps,
        device=str(plan.get("device", "")),
        reason=str(plan.get("device_reason", "")),
    )
    console = open_console(stderr=True)
    for note in running.notes:
        output.note(note)
    output.detail(f"run directory: {running.directory.path}")
    with watching(console, course, live=is_live(console)) as display:
        for event in running:
            display.show(event)
    return running.result()


def _report(output: Output, result: "RunResult", running: "Session", runs_dir: Path) -> int:
    """Print what became of a run; return the exit code."""
    from lossbench.cli.plot import draw_into

    plots = draw_into(result.path, output)
    document = {
        "run": result.path,
        "id": result.id,
        "name": running.spec.name,
        "status": result.status,
        "seconds": result.seconds,
        "metrics": result.summary,
        "plots": plots,
    }
    if result.error is not None:
        document |= error_record(result.error)

    def show(console: "Console") -> None:
        from lossbench.views.console import say
        from lossbench.views.runs import show_ending

        if output.quiet:
            say(console, result.path)
        else:
            show_ending(console, document)

    output.result(document, show)
    if result.status == "done":
        where = [] if runs_dir == RUNS_DIR else ["--runs-dir", str(runs_dir)]
        _suggest_next(output, running, where)
    return 0 if result.status == "done" else 1


def _suggest_next(output: Output, running: "Session", where: Sequence[str]) -> None:
    run, epochs = running.directory.id, running.spec.train.epochs
    commands = [
        ["plot", "runs", run, "-o", "curves.svg"],
        ["predict", run, "FILE.csv"],
        *([["train", "--resume", run, f"train.epochs={2 * epochs}"]] if running.extensible else []),
    ]
    if running.job.record()["target"]["kind"] == "objective":
        del commands[1]  # there is nothing to predict
    output.note("next:")
    for words in commands:
        output.command_line(f"  {' '.join(['lossbench', *words, *where])}")


@command(app, "predict", panel=TRAIN)
def predict(
    output: Output,
    run: RunArgument,
    data: Annotated[
        Path, typer.Argument(metavar="FILE", help="Inputs: a CSV or npz file.", show_default=False)
    ],
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .csv or .json file. Else stdout.")
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Predict with a trained run, a row for each sample."""
    from lossbench.rundir.finding import find
    from lossbench.rundir.records import csv_text, json_text
    from lossbench.session import actions as session

    ending = "csv" if file is None else file.suffix.removeprefix(".").lower()
    if ending not in EXPORT_FORMATS:
        raise UsageError(f"{file}: no format of that ending", hint=suggest(ending, EXPORT_FORMATS))
    rows = session.predict(run, data, runs_dir=runs_dir)
    document = {"run": find(runs_dir, run).id, "file": data, "predictions": rows}
    if file is None:
        output.text(csv_text(rows), document)
        return
    write_output(file, (csv_text(rows) if ending == "csv" else json_text(document)).encode())
    output.text(str(file), {"written": file, "samples": len(rows)})
