"""An exception that comes out of a user's own file is reported as that file's error."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lossbench.errors import LossbenchError, UsageError


@contextmanager
def user_code(*files: Path | None) -> Iterator[None]:
    """Report an exception that comes out of one of the user's files as that file's error.

        with user_code(choice.file): ...

    Raises UsageError with `file:line`, the exception's text and the line itself; an exception that
    did not pass through these files is left as it is.
    """
    try:
        yield
    except LossbenchError:
        raise
    except (Exception, SystemExit) as error:
        blamed = blame(error, *files)
        if blamed is None:
            raise
        raise blamed from error


def blame(error: BaseException, *files: Path | None) -> UsageError | None:
    """Return the error that names the user's file and line, none where no file of theirs is in it.

    The last of their lines that the exception went through is the one named.
    """
    theirs = {str(file.resolve()) for file in files if file is not None}
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename:
        return UsageError(f"{error.filename}:{error.lineno}: {error.msg}", hint=error.text)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if str(Path(frame.filename).resolve()) in theirs:
            place = f"{frame.filename}:{frame.lineno}"
            return UsageError(f"{place}: {text}", hint=f"in the line: {frame.line}")
    return None
