"""Training as it happens: a live display on a terminal, plain lines elsewhere, or nothing.

A display is shown the loop's events one by one and changes nothing of them.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lossbench.analysis.curves import sparkline
from lossbench.training.events import EpochDone, Evaluated, Event, StepsDone, TrialStopped
from lossbench.views.console import clean, duration, number, say

REFRESH_SECONDS = 0.1
PLAIN_SECONDS = 30.0
PLAIN_EPOCHS = 100
"""Above this many epochs only every so manieth gets a line: a log is to be read."""

REMEMBERED = 20_000
SPARK_WIDTH = 32

Clock = Callable[[], float]


@dataclass(frozen=True)
class Course:
    """What is known before the first step: the name, the length, where it runs and why."""

    name: str
    epochs: int
    steps: int
    device: str
    reason: str = ""


class Display(Protocol):
    """Shows a training run while it runs."""

    def show(self, event: Event) -> None:
        """Take notice of an event."""
        ...


@dataclass
class Progress:
    """What has happened so far of the group's first trial."""

    course: Course
    clock: Clock = time.monotonic
    epoch: int = 0
    step: int = 0
    rate: float = math.nan
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    values: dict[str, float] = field(default_factory=dict)
    stopped: str = ""
    began: float = field(init=False)
    first_step: int | None = None

    def __post_init__(self) -> None:
        self.began = self.clock()

    def take(self, event: Event) -> None:
        """Remember what an event says."""
        if isinstance(event, StepsDone):
            if self.first_step is None:
                self.first_step = event.first_step - 1
            self.epoch = event.epoch
            self.step = event.first_step + event.losses.shape[1] - 1
            self.losses.extend(event.losses[0].tolist())
            self.rate = float(event.rates[0].ravel()[-1])
        elif isinstance(event, Evaluated) and event.weights == "current":
            for name, value in event.values.items():
                self.values[f"{event.split}/{name}"] = float(value[0])
        elif isinstance(event, EpochDone):
            self.epoch, self.step = event.epoch, event.step
        elif isinstance(event, TrialStopped):
            self.stopped = event.detail or event.reason

    @property
    def share(self) -> float:
        """The share of all steps that is done."""
        return min(1.0, self.step / self.course.steps) if self.course.steps else 1.0

    def remaining(self) -> float | None:
        """Return the seconds left at the pace so far; none before a pace is known."""
        done = self.step - (self.first_step or 0)
        if self.first_step is None or done <= 0:
            return None
        return (self.clock() - self.began) / done * max(0, self.course.steps - self.step)


def describe(progress: Progress) -> str:
    """Return the state of a run in one line: epoch, step, losses, metrics."""
    parts = [f"epoch {progress.epoch}/{progress.course.epochs}", f"step {progress.step}"]
    if progress.losses:
        parts.append(f"loss {number(progress.losses[-1])}")
    parts += [f"{name} {number(value)}" for name, value in progress.values.items()]
    return "  ".join(parts)


class Silent:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Ignore the event."""


class Lines:
    """A plain line per epoch (of very many, per hundredth), and one every 30 s within an epoch."""

    def __init__(self, console: Console, course: Course, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._progress = Progress(course, clock)
        self._every = max(1, math.ceil(course.epochs / PLAIN_EPOCHS))
        self._last = clock()
        say(console, _opening(course))

    def show(self, event: Event) -> None:
        """Print a line where one is due."""
        progress = self._progress
        progress.take(event)
        if isinstance(event, TrialStopped):
            self._print(clean(progress.stopped))
        elif isinstance(event, EpochDone):
            if event.epoch % self._every == 0 or event.epoch == progress.course.epochs:
                self._print(describe(progress))
        elif progress.clock() - self._last >= PLAIN_SECONDS:
            left = progress.remaining()
            self._print(describe(progress) + (f"  {duration(left)} left" if left else ""))

    def _print(self, line: str) -> None:
        self._last = self._progress.clock()
        say(self._console, line)


class Moving:
    """A few lines on a terminal that are drawn again and again, and gone at the end."""

    def __init__(
        self, console: Console, live: Live, course: Course, clock: Clock = time.monotonic
    ) -> None:
        self._console = console
        self._live = live
        self._progress = Progress(course, clock)
        self._last = -math.inf

    def show(self, event: Event) -> None:
        """Draw anew, at most ten times a second."""
        self._progress.take(event)
        now = self._progress.clock()
        if now - self._last >= REFRESH_SECONDS:
            self._last = now
            self._live.update(picture(self._progress, self._console), refresh=True)


def picture(progress: Progress, console: Console) -> Group:
    """Lay out the live display: what runs where, how far, how the losses go."""
    course = progress.course
    left = progress.remaining()
    pace = f"{duration(left)} left" if left is not None else "starting"
    head = Text(_opening(course), style="dim", overflow="ellipsis", no_wrap=True)
    bar = Table.grid(padding=(0, 1, 0, 0), expand=False)
    bar.add_row(
        ProgressBar(total=1.0, completed=progress.share, width=max(8, min(30, console.width // 3))),
        Text(f"{progress.share:.0%}"),
        Text(pace, style="dim"),
    )
    width = max(8, min(SPARK_WIDTH, console.width - 24))
    unicode = (console.encoding or "").lower().startswith("utf")
    sparks = sparkline(list(progress.losses), width) if unicode else ""
    loss = number(progress.losses[-1]) if progress.losses else ""
    lines = [
        Text(f"epoch {progress.epoch}/{course.epochs}  step {progress.step}/{course.steps}"),
        Text.assemble(("loss ", "dim"), loss.ljust(10), (sparks, "cyan")),
    ]
    if progress.values:
        said = (
            Text.assemble((f"{clean(name)} ", "dim"), number(value))
            for name, value in progress.values.items()
        )
        lines.append(Text("  ").join(said))
    if progress.stopped:
        lines.append(Text(clean(progress.stopped), style="yellow"))
    return Group(head, bar, *lines)


@contextlib.contextmanager
def watching(console: Console, course: Course, *, live: bool) -> Iterator[Display]:
    """Give the display that suits the console; a live one is gone when the block ends."""
    if not live:
        yield Lines(console, course)
        return
    with Live(console=console, auto_refresh=False, transient=True) as area:
        yield Moving(console, area, course)


def _opening(course: Course) -> str:
    where = f"{course.device} ({course.reason})" if course.reason else course.device
    return f"{clean(course.name)}: {course.epochs} epochs, {course.steps} steps on {where}"
