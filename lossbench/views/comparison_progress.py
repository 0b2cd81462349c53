"""A comparison as it happens: a live display on a terminal, plain lines elsewhere."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lossbench.analysis.claims import quoted
from lossbench.views.console import clean, duration, number, say
from lossbench.views.progress import PLAIN_SECONDS, REFRESH_SECONDS, Clock

LEADING = 4
PLAIN_PARTS = 4
"""Without a terminal a stage says how far it is so many times, or every 30 s."""

LEAST_SECONDS = 3.0
"""What takes less than this between two lines needs no line."""


class Advance(Protocol):
    """How far a comparison has come, as its session tells it."""

    @property
    def stage(self) -> str:
        """What is being done: the search, or the trials that count."""
        ...

    @property
    def trials_done(self) -> int:
        """Trials that have ended."""
        ...

    @property
    def trials(self) -> int:
        """All trials of the stage."""
        ...

    @property
    def steps_done(self) -> int:
        """Steps made, over all trials."""
        ...

    @property
    def steps(self) -> int:
        """Steps to make, over all trials."""
        ...

    @property
    def losses(self) -> Mapping[str, float]:
        """The latest loss of each contender."""
        ...


class Display(Protocol):
    """Shows a comparison while it runs."""

    def show(self, advance: Advance) -> None:
        """Take notice of an advance."""
        ...


@dataclass
class Course:
    """What has happened so far. `ranked`: the contenders' losses may be held against each other."""

    clock: Clock = time.monotonic
    ranked: bool = True
    stage: str = ""
    latest: Advance | None = None
    began: float = field(init=False, default=0.0)
    first_step: int = 0

    def take(self, advance: Advance) -> bool:
        """Remember an advance; tell whether another stage has begun with it."""
        fresh = advance.stage != self.stage
        if fresh:
            self.stage, self.began = advance.stage, self.clock()
            self.first_step = advance.steps_done
        self.latest = advance
        return fresh

    @property
    def share(self) -> float:
        """The share of the stage that is done."""
        found = self.latest
        if found is None:
            return 0.0
        # After a resume the steps of finished pieces are not among those made.
        steps = found.steps_done / found.steps if found.steps else 0.0
        return min(1.0, max(steps, found.trials_done / max(1, found.trials)))

    def pace(self) -> float | None:
        """Return steps per second over all trials; none before any is known."""
        if self.latest is None:
            return None
        seconds, steps = self.clock() - self.began, self.latest.steps_done - self.first_step
        return steps / seconds if seconds > 0 and steps > 0 else None

    def remaining(self) -> float | None:
        """Return the seconds that the stage still takes at the pace so far."""
        pace = self.pace()
        if pace is None or self.latest is None:
            return None
        return max(0.0, (1 - self.share) * self.latest.steps / pace)

    def leading(self) -> list[tuple[str, float]]:
        """Return the contenders with the lowest losses; in their own order where none leads."""
        losses = dict(self.latest.losses) if self.latest is not None else {}
        known = [(name, loss) for name, loss in losses.items() if math.isfinite(loss)]
        return (sorted(known, key=lambda pair: pair[1]) if self.ranked else known)[:LEADING]


def describe(course: Course) -> str:
    """Return the state of a comparison in one line."""
    found = course.latest
    if found is None:
        return ""
    what = "search: " if found.stage == "search" else ""
    parts = [f"{what}{found.trials_done}/{found.trials} trials", f"{course.share:.0%}"]
    pace = course.pace()
    if pace is not None:
        parts.append(f"{pace:,.0f} steps/s".replace(",", " "))
    if course.leading():
        losses = (f"{clean(quoted(name))} {number(loss)}" for name, loss in course.leading())
        parts.append(f"loss {', '.join(losses)}")
    return "  ".join(parts)


class Lines:
    """A plain line at both ends of a stage, at each quarter of a long one, and every 30 s."""

    def __init__(self, console: Console, course: Course) -> None:
        self._console, self._course = console, course
        self._last = course.clock()
        self._told = 0

    def show(self, advance: Advance) -> None:
        """Print a line where one is due."""
        course = self._course
        if course.take(advance):
            self._told = 0
            doing = "searching with" if advance.stage == "search" else "training"
            say(self._console, f"{doing} {advance.trials} trials")
        part, since = int(course.share * PLAIN_PARTS), course.clock() - self._last
        ended = advance.trials_done == advance.trials
        quarter = part > self._told and since >= LEAST_SECONDS
        if ended or quarter or since >= PLAIN_SECONDS:
            self._told, self._last = max(part, self._told), course.clock()
            left = course.remaining()
            ending = f"  {duration(left)} left" if left and not ended else ""
            say(self._console, describe(course) + ending)


class Moving:
    """A few lines on a terminal that are drawn again and again, and gone at the end."""

    def __init__(self, console: Console, live: Live, course: Course) -> None:
        self._console, self._live, self._course = console, live, course
        self._last = -math.inf

    def show(self, advance: Advance) -> None:
        """Draw anew, at most ten times a second."""
        fresh = self._course.take(advance)
        now = self._course.clock()
        if fresh or now - self._last >= REFRESH_SECONDS:
            self._last = now
            self._live.update(picture(self._course, self._console), refresh=True)


def picture(course: Course, console: Console) -> Group:
    """Lay out the live display: how far, how fast, who leads."""
    found = course.latest
    if found is None:
        return Group(Text("starting", style="dim"))
    left = course.remaining()
    bar = Table.grid(padding=(0, 1, 0, 0), expand=False)
    bar.add_row(
        ProgressBar(total=1.0, completed=course.share, width=max(8, min(30, console.width // 3))),
        Text(f"{course.share:.0%}"),
        Text(f"{duration(left)} left" if left is not None else "starting", style="dim"),
    )
    what = "searching: " if found.stage == "search" else ""
    pace = course.pace()
    speed = f"  {pace:,.0f} steps/s".replace(",", " ") if pace is not None else ""
    lines = [Text(f"{what}{found.trials_done}/{found.trials} trials{speed}")]
    leading = course.leading()
    if leading:
        width = max(len(clean(name)) for name, _ in leading)
        lines.append(Text("loss, the lowest first" if course.ranked else "loss", style="dim"))
        lines += [
            Text.assemble((f"  {clean(name).ljust(width)} ", "cyan"), number(loss),
                          overflow="ellipsis", no_wrap=True)
            for name, loss in leading
        ]  # fmt: skip
    return Group(bar, *lines)


@contextlib.contextmanager
def watching(console: Console, course: Course, *, live: bool) -> Iterator[Display]:
    """Give the display that suits the console; a live one is gone when the block ends."""
    if not live:
        yield Lines(console, course)
        return
    with Live(console=console, auto_refresh=False, transient=True) as area:
        yield Moving(console, area, course)
