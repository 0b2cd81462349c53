"""The application: options that every command has, and what an error becomes."""

import inspect
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from lossbench._version import __version__
from lossbench.cli.output import Output, error_record, print_json
from lossbench.errors import ConfigError, LossbenchError, UsageError

BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader went away (`... | head`)."""

WIDE, PLAIN_WIDTH = 70, 80
"""Columns from which help is drawn in boxes, and to which it is wrapped without."""

TRAIN, CONFIG, CATALOGUE, RUNS = "Train", "Config", "Components", "Runs and pictures"

ORDER = (
    "train", "compare", "predict", "init", "validate", "schema", "list", "show", "eval", "check",
    "new", "runs", "plot", "export",
)  # fmt: skip
"""Commands in the order in which a newcomer needs them; any other comes behind these."""

_COMMON = "Common options"

COMMON: dict[str, Any] = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=_COMMON)
    ],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="No messages.", rich_help_panel=_COMMON)
    ],
    "verbose": Annotated[
        bool, typer.Option("--verbose", "-v", help="More messages.", rich_help_panel=_COMMON)
    ],
    "debug": Annotated[
        bool, typer.Option("--debug", help="Full tracebacks.", rich_help_panel=_COMMON)
    ],
}


class InOrder(TyperGroup):
    """The commands as `--help` lists them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands' names in ORDER."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


FILLED_IN = ("output", "invoked")
"""Arguments of a command's function that are not the user's."""

app = typer.Typer(
    name="lossbench",
    cls=InOrder,
    help="Train and compare losses, activations and optimizers: one YAML file in, curves out.",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(help="List, show, compare and remove runs.")
plot_app = typer.Typer(help="Draw pictures: PNG, SVG or PDF.")
app.add_typer(plot_app, name="plot", rich_help_panel=RUNS)
app.add_typer(runs_app, name="runs", rich_help_panel=RUNS)

Command = Callable[..., int | None]


class PipeClosedError(Exception):
    """Whoever read our output went away. No OSError: Typer would make an exit code of its own."""


def _with_output(function: Command) -> Command:
    """Give a function `(output, ...)` the common options: Typer then sees them in its signature.

    They may stand before and after a sub-command; what either says holds. An argument `invoked`
    is no option: it receives the name of the sub-command.
    """
    arguments = inspect.signature(function, eval_str=True).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    seen = [
        *(arguments[name].replace(kind=keyword) for name in arguments if name not in FILLED_IN),
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(
            inspect.Parameter(name, keyword, default=False, annotation=annotation)
            for name, annotation in COMMON.items()
        ),
    ]

    def run(*, context: typer.Context, **given: Any) -> int | None:
        before = context.obj or Output()
        said = {name: given.pop(name) for name in COMMON}
        output = Output(
            json=before.json or said["as_json"],
            quiet=before.quiet or said["quiet"],
            verbose=before.verbose or said["verbose"],
            debug=before.debug or said["debug"],
            arguments=before.arguments,
        )
        context.obj = output
        if "invoked" in arguments:
            given["invoked"] = context.invoked_subcommand
        try:
            return function(output, **given)
        except BrokenPipeError as error:
            raise PipeClosedError from error

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return run


def command(
    group: typer.Typer, name: str, *, panel: str | None = None, **more: Any
) -> Callable[[Command], Command]:
    """Return the decorator that makes a function `(output, ...) -> exit code` a command."""

    def add(function: Command) -> Command:
        group.command(name, rich_help_panel=panel, **more)(_with_output(function))
        return function

    return add


def group(parent: typer.Typer) -> Callable[[Command], Command]:
    """Return the decorator for what a group does before, or without, its sub-command.

    An argument `invoked` receives the sub-command's name.
    """

    def add(function: Command) -> Command:
        parent.callback(invoke_without_command=True)(_with_output(function))
        return function

    return add


@group(app)
def root(
    output: Output,
    invoked: str | None = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> int | None:
    """Train and compare losses, activations and optimizers: one YAML file in, curves out."""
    if version:
        if output.json:
            print_json({"version": __version__})
        else:
            sys.stdout.write(f"lossbench {__version__}\n")
        raise typer.Exit
    if invoked is None:
        raise UsageError("a command is missing", hint="lossbench --help lists them")
    return None


@group(plot_app)
def plot(output: Output, invoked: str | None = None) -> int | None:  # noqa: ARG001
    """Draw pictures: PNG, SVG or PDF."""
    if invoked is None:
        raise UsageError("what is to be drawn?", hint="lossbench plot runs RUN")
    return None


# --- running ----------------------------------------------------------------------------------


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors are printed, not raised."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    # The flags are needed for errors in the arguments themselves, before anything is parsed.
    output = Output(
        json="--json" in arguments, debug="--debug" in arguments, arguments=tuple(arguments)
    )
    try:
        code = _invoke(arguments, output)
        sys.stdout.flush()
    except (BrokenPipeError, PipeClosedError):
        return _leave_pipe()
    return code


def _invoke(arguments: list[str], output: Output) -> int:
    try:
        # Boxes and colours are for people at a terminal wide enough for them.
        columns = shutil.get_terminal_size().columns
        app.rich_markup_mode = "rich" if sys.stdout.isatty() and columns >= WIDE else None
        returned = get_command(app).main(
            arguments,
            prog_name="lossbench",
            standalone_mode=False,
            obj=output,
            terminal_width=min(columns, PLAIN_WIDTH),
        )
    except LossbenchError as error:
        return _fail(error, output)
    except TyperException as error:
        return _fail(_from_parser(error), output)
    except KeyboardInterrupt:
        returned = 130
    except typer.Abort:
        returned = 130
    except SystemExit as leaving:  # Typer ends so where it has printed what there was to say
        return leaving.code if isinstance(leaving.code, int) else 1
    except (BrokenPipeError, PipeClosedError):
        raise
    except Exception as error:
        if output.debug:
            traceback.print_exc()
        return _fail(_unexpected(error), output, traced=True)
    if returned == 130:
        interrupted = LossbenchError("interrupted")
        interrupted.exit_code = 130
        return _fail(interrupted, output)
    return returned if isinstance(returned, int) else 0


def _fail(error: LossbenchError, output: Output, *, traced: bool = False) -> int:
    """Print an error: on stdout as JSON where that was asked for, else on stderr."""
    if output.debug and not traced:
        traceback.print_exc()
    if output.json:
        print_json(error_record(error))
        return error.exit_code
    from rich.text import Text

    from lossbench.views.console import clean, open_console

    console = open_console(stderr=True)
    message = clean(error.message)
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        # Each problem begins a line with its place, where editors look for it.
        message = f"{len(error.problems)} problems in the config\n{message}"
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    if error.hint:
        console.print(Text(f"  {clean(error.hint)}", style="cyan"), soft_wrap=True)
    return error.exit_code


def _from_parser(error: TyperException) -> UsageError:
    """Put what the parser says into the house's form: what was wrong, and what to do."""
    message = error.format_message().strip().rstrip(".")
    hint = None
    close = getattr(error, "possibilities", None)
    if close:
        message, hint = error.message, f"did you mean {' or '.join(sorted(close))}?"
    elif ". Did you mean " in message:
        message, _, rest = message.partition(". Did you mean ")
        hint = f"did you mean {rest}".replace("'", "").replace(", ", " or ")
    context = getattr(error, "ctx", None)
    if hint is None and context is not None:
        hint = f"{context.command_path} --help says what it takes"
    if message:
        message = message[0].lower() + message[1:]
    return UsageError(message, hint=hint)


def _unexpected(error: Exception) -> LossbenchError:
    """Describe an error that nobody foresaw."""
    return LossbenchError(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a bug in lossbench; --debug shows where",
    )


def _prepare_streams() -> None:
    """Let no character of a name or formula end the program where the terminal lacks it."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        if not encoding.startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _leave_pipe() -> int:
    """Send what is still unwritten nowhere, so that the interpreter's own flush cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(nowhere, stream.fileno())
            except (OSError, ValueError):
                continue
    return BROKEN_PIPE
