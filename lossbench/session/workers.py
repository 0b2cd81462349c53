"""Pieces of a comparison, trained here or in worker processes; results come as they finish."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from lossbench.config.spec import RunSpec
from lossbench.errors import TrainingError
from lossbench.lazy import LazyModule

if TYPE_CHECKING:
    from lossbench.training import chunks
    from lossbench.training.chunks import ChunkResult, Progress
    from lossbench.training.groups import Chunk
    from lossbench.training.survey import Survey
else:
    chunks = LazyModule("lossbench.training.chunks")

POLL_SECONDS = 0.1

Piece = tuple["Chunk", Sequence[RunSpec]]


def _view(values: dict[str, Any]) -> "MappingProxyType[str, Any]":
    return MappingProxyType(values)


def _as_dict(view: "MappingProxyType[str, Any]") -> tuple[Any, ...]:
    return _view, (dict(view),)


# The knobs of a spec may be a read-only view, which has no pickled form of its own.
ForkingPickler.register(MappingProxyType, _as_dict)


def work_off(
    pieces: Sequence[Piece], surveys: Sequence["Survey"], workers: int
) -> Iterator["Progress | ChunkResult | None"]:
    """Train all pieces; yields their progress and their results, in the order they come.

    None is yielded where there is no news, so that whoever iterates can leave in time. A piece
    that an error ended is a result too: its trials have failed.
    With one worker the work is done in this process: starting another would only cost.
    Raises TrainingError where a worker process was ended from outside.
    """
    if workers <= 1 or len(pieces) <= 1:
        for chunk, specs in pieces:
            yield from chunks.try_chunk(chunk, specs, surveys[chunk.group])
        return
    yield from _in_processes(pieces, min(workers, len(pieces)))


def _in_processes(
    pieces: Sequence[Piece], workers: int
) -> Iterator["Progress | ChunkResult | None"]:
    # A fresh interpreter: a copy of this one would share torch's thread pools with it.
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(news,))
    try:
        with _no_main_module():
            waiting: set[Future[ChunkResult]] = {
                pool.submit(_train, chunk, tuple(specs)) for chunk, specs in pieces
            }
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            yield from _drain(news)
            for future in done:
                yield future.result()
            yield None
    except BrokenProcessPool as error:
        raise TrainingError(
            "a worker process was ended from outside: perhaps the memory was used up",
            hint="finished pieces are kept; go on with fewer: compare --resume latest --workers 1",
        ) from error
    finally:
        # What is still running is lost, and made again by a resume: pieces are written whole.
        for process in (getattr(pool, "_processes", None) or {}).values():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Let processes be started without running the caller's script again.

    The workers need nothing of it, and a script without `if __name__ == "__main__"` would start
    the whole comparison once more in every worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _drain(news: Any) -> Iterator["Progress"]:
    while True:
        try:
            yield news.get_nowait()
        except queue.Empty:
            return


_news: Any = None


def _prepare(news: Any) -> None:
    """Prepare a worker: signals are the parent's to answer, and one thread is all it takes."""
    global _news
    _news = news
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    chunks.one_thread()


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, however it was ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _train(chunk: "Chunk", specs: Sequence[RunSpec]) -> "ChunkResult":
    """Train a piece in a worker process."""
    result: ChunkResult | None = None
    for told in chunks.try_chunk(chunk, specs):
        if isinstance(told, chunks.ChunkResult):
            result = told
        else:
            _news.put(told)
    assert result is not None
    return result
