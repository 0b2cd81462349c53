"""How far a comparison has come, from the news of its pieces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossbench.lazy import np
from lossbench.session.stages import Stage

if TYPE_CHECKING:
    from lossbench.training.chunks import ChunkResult, Progress


@dataclass(frozen=True)
class Advance:
    """How far a comparison has come: what a person who waits wants to know.

    steps_done: over all trials; what a resume finds finished is not among them.
    """

    stage: str
    trials_done: int
    trials: int
    steps_done: int
    steps: int
    losses: Mapping[str, float]
    """The latest training loss of each contender, averaged over those of its trials seen."""


class Tally:
    """Adds up the news of the pieces of a stage; `finished` trials were there before."""

    def __init__(self, stage: Stage, finished: int) -> None:
        self._stage, self._done = stage, finished
        self._made: dict[int, int] = {}  # steps of each piece, over its trials
        self._finished: set[int] = set()
        self._sizes = {chunk.number: len(chunk.trials) for chunk in stage.work.chunks}
        lengths = [found.order.steps_per_epoch * found.spec.train.epochs
                   for found in stage.work.surveys]  # fmt: skip
        self._whole = {c.number: lengths[c.group] * len(c.trials) for c in stage.work.chunks}
        names = list(dict.fromkeys(trial.contender for trial in stage.trials))
        self._names = names
        self._place = {trial.number: index for index, trial in enumerate(stage.trials)}
        self._contender = np.array([names.index(trial.contender) for trial in stage.trials])
        self._latest = np.full(len(stage.trials), np.nan)

    def advanced(self, news: "Progress") -> Advance:
        """Take in what a piece says while it is trained."""
        if news.chunk not in self._finished:  # news of a worker may come later than its result
            self._made[news.chunk] = news.step * len(news.trials)
        self._latest[[self._place[number] for number in news.trials]] = news.losses
        return self._advance()

    def finished(self, result: "ChunkResult") -> Advance:
        """Take in that a piece is finished, be it before its last step."""
        self._done += self._sizes[result.chunk]
        self._finished.add(result.chunk)
        self._made[result.chunk] = self._whole[result.chunk]
        return self._advance()

    def _advance(self) -> Advance:
        seen = np.isfinite(self._latest)
        of, count = self._contender[seen], len(self._names)
        number = np.bincount(of, minlength=count)
        total = np.bincount(of, weights=self._latest[seen], minlength=count)
        return Advance(
            stage=self._stage.name,
            trials_done=self._done,
            trials=len(self._stage.trials),
            steps_done=sum(self._made.values()),
            steps=sum(self._whole.values()),
            losses={
                name: float(total[index] / number[index])
                for index, name in enumerate(self._names)
                if number[index]
            },
        )
