"""Watching a run: which lines appear when, with a clock of our own."""

import io
import math

import numpy as np
from rich.console import Console

from lossbench.training.events import EpochDone, Evaluated, Event, StepsDone, TrialStopped
from lossbench.views import progress
from lossbench.views.progress import Course, Lines, Progress


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 200, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def said(where: Console) -> list[str]:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue().splitlines()


def steps(first: int, *losses: float, epoch: int = 1) -> Event:
    values = np.array([losses])
    return StepsDone(first, epoch, values, np.full_like(values, 0.1), np.ones_like(values, bool))


def evaluated(step: int, epoch: int, **values: float) -> Event:
    arrays = {name: np.array([value]) for name, value in values.items()}
    return Evaluated(step, epoch, "validation", arrays, np.array([True]))


def test_an_epoch_is_a_line() -> None:
    where, clock = console(), Clock()
    display = Lines(where, Course("demo", 2, 4, "cpu", "no GPU here"), clock)
    for epoch in (1, 2):
        display.show(steps(2 * epoch - 1, 0.5, 0.25, epoch=epoch))
        display.show(evaluated(2 * epoch, epoch, loss=0.125, accuracy=0.9))
        display.show(EpochDone(epoch, 2 * epoch, 0.1))
    assert said(where) == [
        "demo: 2 epochs, 4 steps on cpu (no GPU here)",
        "epoch 1/2  step 2  loss 0.25  validation/loss 0.125  validation/accuracy 0.9",
        "epoch 2/2  step 4  loss 0.25  validation/loss 0.125  validation/accuracy 0.9",
    ]


def test_a_slow_epoch_says_something_every_thirty_seconds() -> None:
    where, clock = console(), Clock()
    display = Lines(where, Course("slow", 1, 100, "cpu"), clock)
    for step in range(1, 101):
        clock.now += 1.0
        display.show(steps(step, 1.0))
    lines = said(where)[1:]
    assert len(lines) == 3
    assert lines[0].endswith("step 30  loss 1  1 min 10 s left")


def test_very_many_epochs_are_about_a_hundred_lines() -> None:
    where = console()
    display = Lines(where, Course("long", 1234, 1234, "cpu"), Clock())
    for epoch in range(1, 1235):
        display.show(EpochDone(epoch, epoch, 0.001))
    lines = said(where)[1:]
    assert 50 <= len(lines) <= progress.PLAIN_EPOCHS + 1
    assert lines[-1].startswith("epoch 1234/1234")


def test_a_run_that_goes_on_is_timed_by_what_it_does_now() -> None:
    clock = Clock()
    state = Progress(Course("on", 10, 1000, "cpu"), clock)
    assert state.remaining() is None
    state.take(steps(501, 1.0))
    clock.now += 9.0
    state.take(steps(502, *[1.0] * 99))
    assert state.step == 600
    assert state.share == 0.6
    assert state.remaining() == 9.0 / 100 * 400


def test_a_stop_is_said() -> None:
    where = console()
    display = Lines(where, Course("lost", 1, 10, "cpu"), Clock())
    display.show(TrialStopped(0, 7, 1, "diverged", "the loss of step 7 was inf [red]"))
    assert said(where)[-1] == "the loss of step 7 was inf [red]"


def test_best_weights_are_no_course_of_the_run() -> None:
    state = Progress(Course("x", 1, 1, "cpu"), Clock())
    values = {"loss": np.array([1.0])}
    state.take(Evaluated(1, 1, "test", values, np.array([True]), weights="best"))
    assert state.values == {}


def test_the_live_display_fits_any_width() -> None:
    state = Progress(Course("a rather long name of a run", 5, 170, "cpu", "auto: no GPU"), Clock())
    state.take(steps(1, *np.geomspace(1, 0.01, 60).tolist()))
    state.take(evaluated(60, 2, loss=math.nan, mae=0.1))
    for width in (32, 40, 100):
        where = console(width, terminal=True)
        where.print(progress.picture(state, where))
        lines = said(where)
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert "step 60/170" in text
        assert "35%" in text
