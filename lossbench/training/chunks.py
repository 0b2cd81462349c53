"""A comparison's trials as pieces of work: cut, trained one piece at a time, gathered as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from lossbench.config.spec import RunSpec
from lossbench.errors import LossbenchError
from lossbench.training.build import build, plan_group
from lossbench.training.events import Evaluated, Event, Finished, StepsDone, TrialStopped
from lossbench.training.groups import Chunk, cut, group_trials, piece_size
from lossbench.training.loop import train
from lossbench.training.plan import FUSE_BELOW, Plan
from lossbench.training.survey import Survey, survey

Array = np.ndarray[Any, Any]

SECONDS_PER_CALL = 4e-6
"""What one small tensor operation costs, dispatch included: the floor of every step."""

CALLS_PER_LAYER = 12
"""Operations per layer, forward, backward and update, in a traced step."""

SECONDS_PER_MULTIPLICATION = 2.5e-10
SECONDS_PER_ELEMENT = 4e-10

SECONDS_TO_TRACE = 0.35
"""What a group takes before its first step: its models are made, its step is traced and checked."""

SECONDS_PER_EVALUATION = 3e-3
"""What an evaluation costs, however small the data: metrics, best weights, events."""

WORKERS_FROM = 8.0
"""Estimated seconds of work per process from which starting it (torch's import) pays."""


@dataclass(frozen=True)
class Work:
    """All pieces of a comparison, what they were cut from, and about how long they take.

    `surveys` are those of the groups, by group: they are made once.
    """

    chunks: tuple[Chunk, ...]
    surveys: tuple[Survey, ...]
    groups: int
    seconds: float
    workers: int
    bytes: int

    def record(self) -> dict[str, Any]:
        """Return the pieces as plain data, for the comparison's record."""
        return {
            "groups": self.groups,
            "workers": self.workers,
            "chunks": [
                {
                    "number": chunk.number,
                    "group": chunk.group,
                    "trials": list(chunk.trials),
                    "plan": chunk.plan.record(),
                }
                for chunk in self.chunks
            ],
        }


def plan_work(
    specs: Sequence[RunSpec], positions: Sequence[int], *, workers: int | None, cores: int
) -> Work:
    """Cut trials into pieces; `positions` are their numbers in the comparison.

    Processes are started only where the work is worth their start: `workers` fixes their number.
    Raises UsageError (or DataError, MissingError) where a trial cannot be trained.
    """
    groups = group_trials(specs)
    surveys, plans, seconds = [], [], []
    for group in groups:
        found = survey(specs[group[0]])
        plan = _plan_of([specs[index] for index in group], found)
        surveys.append(found)
        plans.append(plan)
        seconds.append(estimate(found, len(group), plan.step == "fused"))
    total = sum(seconds)
    if workers is None:
        workers = max(1, min(cores, len(specs), int(total / WORKERS_FROM)))
    chunks: list[Chunk] = []
    for number, (group, plan) in enumerate(zip(groups, plans, strict=True)):
        # A group that is a large share of the work is cut so that every process has its part.
        share = max(1, round(workers * seconds[number] / total)) if total else 1
        for piece in cut(group, _piece_size(surveys[number], plan), at_least=share):
            own = replace(plan, trials=len(piece), chunk=len(piece))
            trials = tuple(positions[index] for index in piece)
            chunks.append(Chunk(len(chunks), number, trials, own))
    size = sum(_bytes(found, len(group)) for found, group in zip(surveys, groups, strict=True))
    return Work(tuple(chunks), tuple(surveys), len(groups), total, workers, size)


def _plan_of(specs: Sequence[RunSpec], found: Survey) -> Plan:
    """Decide how to train a group; what `vmap` refuses is trained one trial at a time."""
    plan = plan_group(specs, found)
    if plan.step == "fused" and specs[0].own_files():
        # Only a user's own code may branch on data; one trial shows whether it does.
        alone = build(specs[:1], plan, found).plan
        plan = plan if alone.step == "fused" else alone
    # Several processes share the cores: more than one thread each would make them wait.
    return replace(plan, threads=1) if plan.threads > 1 and len(specs) > 1 else plan


def _piece_size(found: Survey, plan: Plan) -> int:
    """Return how many trials make a piece: an interrupt costs a minute's work, not an hour's."""
    if plan.step != "fused" or plan.device != "cpu":
        return plan.chunk  # the estimate is of a core's work
    own = estimate(found, 0, fused=True)
    return piece_size(plan.chunk, own, estimate(found, 1, fused=True) - own)


def estimate(found: Survey, trials: int, fused: bool) -> float:
    """Return about how many seconds a group takes on one core, from its sizes alone."""
    sizes, order = found.sizes, found.order
    steps = order.steps_per_epoch * found.spec.train.epochs
    layers = max(2, sum(1 for _ in found.parts.model(0).network.modules()))
    overhead = SECONDS_PER_CALL * CALLS_PER_LAYER * layers
    elements = 3 * sizes.activations + 15 * min(sizes.parameters, 20 * FUSE_BELOW)
    work = sizes.multiplications * SECONDS_PER_MULTIPLICATION + elements * SECONDS_PER_ELEMENT
    per_step = overhead + trials * work if fused else trials * (3 * overhead + work)
    rounds = found.spec.train.epochs / found.spec.train.evaluate_every
    samples = len(found.splits["validation"].inputs) if "validation" in found.splits else 0
    # Forward only: a third of a step's work for a batch as large.
    size = found.spec.train.batch_size
    batch = len(found.splits["train"].inputs) if size == "full" else size
    scoring = trials * work * samples / (3 * batch)
    begun = SECONDS_TO_TRACE if fused else 0.0
    return begun + steps * per_step + rounds * (SECONDS_PER_EVALUATION + scoring)


def _bytes(found: Survey, trials: int) -> int:
    """Return what the curves of a group take, on disk and in memory."""
    epochs = found.spec.train.epochs
    evaluations = epochs * (1 + len(found.metrics.chosen))
    return 4 * trials * (found.order.steps_per_epoch * epochs + evaluations)


@dataclass(frozen=True)
class Progress:
    """How far a piece has come: steps made, and the latest loss of each trial."""

    chunk: int
    step: int
    steps: int
    trials: tuple[int, ...]
    losses: Array


@dataclass(frozen=True)
class ChunkResult:
    """What became of the trials of a piece; every array has a row per trial, in the piece's order.

    status:  done, stopped (early stopping), diverged or failed (by an error), with the step and the
             words for it.
    curves:  metric -> [trials, points], NaN where a trial had ended; `steps` and `epochs` give
             the points of each split's curves.
    final:   metric -> value with the last weights, best: with the best ones (test among them).
    """

    chunk: int
    trials: tuple[int, ...]
    status: tuple[str, ...]
    ended: tuple[int, ...]
    detail: tuple[str, ...]
    best_step: Array
    curves: dict[str, Array]
    steps: dict[str, Array]
    epochs: dict[str, Array]
    final: dict[str, Array]
    best: dict[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)


def train_chunk(
    chunk: Chunk, specs: Sequence[RunSpec], found: Survey | None = None
) -> Iterator[Progress | ChunkResult]:
    """Train the trials of a piece together; yields its progress, and at last its result."""
    job = build(specs, chunk.plan, found)
    gathered = _Gathered(len(specs))
    for event in train(job):
        gathered.take(event)
        if isinstance(event, StepsDone):
            last = event.first_step + event.losses.shape[1] - 1
            yield Progress(chunk.number, last, job.total_steps, chunk.trials, event.losses[:, -1])
    facts = {"plan": job.plan.record(), "note": job.step.note} | job.record()
    yield gathered.result(chunk, facts)


def try_chunk(
    chunk: Chunk, specs: Sequence[RunSpec], found: Survey | None = None
) -> Iterator[Progress | ChunkResult]:
    """Train a piece as `train_chunk` does; an error that ends it is its result.

    All its trials have failed then, and the other pieces do not notice.
    """
    try:
        yield from train_chunk(chunk, specs, found)
    except MemoryError:
        raise  # no property of these trials: the others would meet it too
    except Exception as error:
        text = error.message if isinstance(error, LossbenchError) else str(error).strip()
        yield _failed(chunk, (text or type(error).__name__).splitlines()[0])


def _failed(chunk: Chunk, why: str) -> ChunkResult:
    """Return the result of a piece that an error ended."""
    trials = len(chunk.trials)
    return ChunkResult(
        chunk=chunk.number,
        trials=chunk.trials,
        status=("failed",) * trials,
        ended=(0,) * trials,
        detail=(why,) * trials,
        best_step=np.zeros(trials, dtype=np.int64),
        curves={},
        steps={},
        epochs={},
        final={},
        best={},
        facts={"plan": chunk.plan.record()},
    )


class _Gathered:
    """The events of a piece, put together as arrays."""

    def __init__(self, trials: int) -> None:
        self._status = ["done"] * trials
        self._ended = [0] * trials
        self._detail = [""] * trials
        self._losses: list[Array] = []
        self._step_epochs: list[Array] = []
        self._evaluated: list[Evaluated] = []
        self._last: dict[str, Array] = {}
        self._best: dict[str, Array] = {}
        self._finished: Finished | None = None

    def take(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StepsDone):
            self._losses.append(np.where(event.active, event.losses, np.nan).astype(np.float32))
            self._step_epochs.append(np.full(event.losses.shape[1], event.epoch))
        elif isinstance(event, Evaluated):
            self._take_evaluation(event)
        elif isinstance(event, TrialStopped):
            short = "stopped" if event.reason == "early_stopping" else event.reason
            self._status[event.trial] = short
            self._ended[event.trial] = event.step
            self._detail[event.trial] = event.detail
        elif isinstance(event, Finished):
            self._finished = event
            self._ended = [step or event.step for step in self._ended]

    def _take_evaluation(self, event: Evaluated) -> None:
        named = {
            f"{event.split}/{name}": np.where(event.active, values, np.nan)
            for name, values in event.values.items()
        }
        if event.split == "validation":
            self._evaluated.append(event)
        elif event.weights == "best":
            self._best |= named
        if event.split != "validation":
            self._last |= named
            return
        for name, values in named.items():
            # A trial that has stopped keeps the value at which it stopped.
            before = self._last.get(name, values)
            self._last[name] = np.where(event.active, values, before)

    def result(self, chunk: Chunk, facts: dict[str, Any]) -> ChunkResult:
        """Return the whole."""
        assert self._finished is not None
        curves = {"train/loss": np.concatenate(self._losses, axis=1)}
        steps = {"train": np.arange(1, curves["train/loss"].shape[1] + 1)}
        epochs = {"train": np.concatenate(self._step_epochs)}
        if self._evaluated:
            for name in self._evaluated[0].values:
                rows = [np.where(e.active, e.values[name], np.nan) for e in self._evaluated]
                curves[f"validation/{name}"] = np.stack(rows, axis=1).astype(np.float32)
            steps["validation"] = np.array([event.step for event in self._evaluated])
            epochs["validation"] = np.array([event.epoch for event in self._evaluated])
        return ChunkResult(
            chunk=chunk.number,
            trials=chunk.trials,
            status=tuple(self._status),
            ended=tuple(int(step) for step in self._ended),
            detail=tuple(self._detail),
            best_step=np.asarray(self._finished.best_step),
            curves=curves,
            steps=steps,
            epochs=epochs,
            final=self._last,
            best=self._best,
            facts=facts,
        )


def one_thread() -> None:
    """Prepare a worker process: it computes on one thread, its neighbours on theirs."""
    torch.set_num_threads(1)
