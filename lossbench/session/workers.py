"""Pieces of a comparison, trained here or in worker processes; results come as they finish."""

import multiprocessing
import queue
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from lossbench.config.spec import RunSpec
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


def work_off(
    pieces: Sequence[Piece], surveys: Sequence["Survey"], workers: int
) -> Iterator["Progress | ChunkResult"]:
    """Train all pieces; yields their progress and their results, in the order they come.

    With one worker the work is done in this process: starting another would only cost.
    """
    if workers <= 1 or len(pieces) <= 1:
        for chunk, specs in pieces:
            yield from chunks.train_chunk(chunk, specs, surveys[chunk.group])
        return
    yield from _in_processes(pieces, min(workers, len(pieces)))


def _in_processes(pieces: Sequence[Piece], workers: int) -> Iterator["Progress | ChunkResult"]:
    # A fresh interpreter: a copy of this one would share torch's thread pools with it.
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(news,))
    try:
        waiting: set[Future[ChunkResult]] = {
            pool.submit(_train, chunk, tuple(specs)) for chunk, specs in pieces
        }
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            yield from _drain(news)
            for future in done:
                yield future.result()
    finally:
        # What is still running is lost, and made again by a resume: pieces are written whole.
        for process in (getattr(pool, "_processes", None) or {}).values():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


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
    chunks.one_thread()


def _train(chunk: "Chunk", specs: Sequence[RunSpec]) -> "ChunkResult":
    """Train a piece in a worker process."""
    result: ChunkResult | None = None
    for told in chunks.train_chunk(chunk, specs):
        if isinstance(told, chunks.ChunkResult):
            result = told
        else:
            _news.put(told)
    assert result is not None
    return result
