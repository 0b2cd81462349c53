"""Comparisons in words, and while they run: what is said, and when."""

import io
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from rich.console import Console

from lossbench.analysis.compare import compare
from lossbench.analysis.table import Metric, Table
from lossbench.views.comparison import opening, show_outcome, show_plan, show_standings
from lossbench.views.comparison_progress import Course, Lines, describe, picture, watching

OUTLOOK: dict[str, Any] = {
    "name": "demo",
    "stage": "final",
    "trials": 30,
    "contenders": ["a", "b", "c"],
    "problems": ["digits"],
    "seeds": 10,
    "tune": [],
    "groups": 1,
    "pieces": 1,
    "workers": 1,
    "seconds": 20.0,
    "bytes": 12_000,
    "plans": [{"trials": 30, "step": "fused", "reason": "small"}],
}


def text_console(width: int = 80, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None,
        markup=False, highlight=False,
    )  # fmt: skip


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# --- before -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "demo: 3 contenders x 10 seeds = 30 trials; in 1 fused group, about 20 s"),
        ({"seconds": 0.1}, "in 1 fused group, a few seconds"),
        ({"seconds": 13.7}, "in 1 fused group, about 15 s"),
        ({"seconds": 130.0}, "in 1 fused group, about 2 min"),
        ({"seconds": 5000.0}, "in 1 fused group, about 1 h"),
        ({"seconds": 150_000.0}, "in 1 fused group, about 42 h"),
        ({"problems": ["x", "y"]}, "3 contenders x 2 problems x 10 seeds = 60 trials"),
        ({"contenders": ["a"], "seeds": 1}, "1 contender x 1 seed = 1 trial;"),
        (
            {"tune": ["optimizer.lr"], "stage": "search", "trials": 144},
            "30 trials; after 144 trials that search optimizer.lr; in 1 fused group",
        ),
        (
            {"plans": [{"step": "plain", "trials": 1, "reason": ""}] * 30, "groups": 3},
            "in 3 groups, trained one by one",
        ),
        (
            {"workers": 2, "pieces": 2, "groups": 2,
             "plans": [{"step": "plain", "trials": 1, "reason": ""}, *OUTLOOK["plans"]]},
            "in 2 groups, 1 of 2 pieces fused, about 10 s with 2 workers",
        ),
        ({"name": "red\x1b[31m"}, "red\\x1b[31m"),
    ],
)  # fmt: skip
def test_the_opening_says_how_many_and_how_long(change: dict[str, Any], said: str) -> None:
    assert said in opening(OUTLOOK | change)


def test_the_plan_tells_each_piece_and_why() -> None:
    console = text_console()
    show_plan(console, OUTLOOK)
    assert "0      30  fused  small" in printed(console)
    assert "12 kB" in printed(console)


# --- after ------------------------------------------------------------------------------------

VALUES = {
    "good": [1.0, 1.1, 1.2, 1.0, 1.1, 1.3],
    "bad": [2.0, 2.2, 2.4, 2.0, 2.1, float("nan")],
    "lost": [float("nan")] * 6,
}


def summary(**more: Any) -> dict[str, Any]:
    found = compare(Table.from_values(VALUES), **more).record()
    assert isinstance(found, dict)
    return found


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_the_table_has_a_row_for_each_contender_with_its_failures() -> None:
    console = text_console(200)
    show_standings(console, summary())
    found = rows(printed(console))
    assert found["contender"][:6] == ["contender", "rank", "n", "final", "interval", "best"]
    assert found["good"][2:4] == ["6", "1.112"]  # the geometric mean of the six
    assert " ".join(found["bad"]).endswith("1 diverged")
    assert found["lost"][3] == "none"
    assert "6 diverged" in " ".join(found["lost"])
    assert "lower is better" in printed(console)


def test_a_tuned_contender_shows_its_default_beside() -> None:
    search = {
        "contender": "good", "problem": "", "chosen": {"optimizer.lr": 0.1},
        "default": {"optimizer.lr": 0.001}, "default_median": 7.5,
    }  # fmt: skip
    same = search | {"contender": "bad", "default": {"optimizer.lr": 0.1}}
    console = text_console(200)
    show_standings(console, summary() | {"tuned": [search, same]})
    text = printed(console)
    assert "lr=0.1" in text
    assert "7.5 (lr=0.001)" in text
    assert "the same" in text


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("good below bad on validation/loss", "supported: good ends lower than bad"),
        ("bad below good on validation/loss", "refuted: "),
        ("lost below good on validation/loss", "refuted: "),
    ],
)
def test_a_verdict_is_said_with_its_claim(claim: str, said: str) -> None:
    console = text_console()
    show_outcome(console, summary(claims=[claim]))
    assert said in printed(console)
    assert f"claimed: {claim}" in printed(console)


def test_without_claims_everyone_is_held_against_the_best_and_warnings_are_told() -> None:
    console = text_console()
    show_outcome(console, summary())
    assert "Against good, the best" in printed(console)
    assert "note: lost failed in every trial (6)" in printed(console)


def test_contenders_that_nothing_orders_have_no_rank() -> None:
    table = Table.from_values(VALUES, Metric("validation/loss"))
    other = tuple(replace(c, loss=c.name) for c in table.contenders)
    console = text_console(200)
    show_outcome(console, compare(replace(table, contenders=other)).record())
    assert rows(printed(console))["good"][1] == "-"
    assert "different losses" in printed(console)


@pytest.mark.parametrize("width", [24, 40, 80])
def test_the_outcome_fits_the_terminal(width: int) -> None:
    console = text_console(width, terminal=True)
    show_outcome(console, summary(claims=["good below bad on validation/loss"]))
    assert max(map(len, printed(console).splitlines())) <= width


# --- while it runs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    stage: str = "final"
    trials_done: int = 0
    trials: int = 10
    steps_done: int = 0
    steps: int = 1000
    losses: dict[str, float] = field(default_factory=dict)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_line_says_trials_pace_and_who_leads() -> None:
    clock = Clock()
    course = Course(clock)
    course.take(Told())
    clock.now += 2
    course.take(Told(steps_done=500, trials_done=4, losses={"b": 2.0, "a": 1.0, "c": float("nan")}))
    assert describe(course) == "4/10 trials  50%  250 steps/s  loss a 1, b 2"
    assert course.remaining() == pytest.approx(2.0)
    course.ranked = False
    assert course.leading() == [("b", 2.0), ("a", 1.0)]


def test_the_pace_starts_anew_with_each_stage() -> None:
    clock = Clock()
    course = Course(clock)
    course.take(Told("search", steps_done=0))
    clock.now += 10
    assert course.take(Told("search", steps_done=1000)) is False
    assert course.take(Told("final")) is True
    clock.now += 1
    course.take(Told("final", steps_done=100))
    assert course.pace() == pytest.approx(100)


def test_after_a_resume_finished_trials_count() -> None:
    course = Course(Clock())
    course.take(Told(trials_done=5, steps_done=0))
    assert course.share == 0.5


def test_elsewhere_than_on_a_terminal_a_log_stays_short() -> None:
    clock, console = Clock(), text_console()
    lines = Lines(console, Course(clock))
    for step in range(1001):
        clock.now += 0.1
        lines.show(Told(steps_done=step, trials_done=10 if step == 1000 else 0))
    texts = printed(console).splitlines()
    assert texts[0] == "training 10 trials"
    assert 5 <= len(texts) <= 9  # four quarters of 25 s, the beginning and the end
    assert texts[-1].startswith("10/10 trials  100%")
    assert "left" not in texts[-1]


@pytest.mark.parametrize("width", [20, 80])
def test_the_live_display_fits_and_shows_the_leading(width: int) -> None:
    clock, console = Clock(), text_console(width, terminal=True)
    course = Course(clock)
    console.print(picture(course, console))
    course.take(Told())
    clock.now += 1
    losses = {f"contender {n}": float(n) for n in range(9, 0, -1)}
    course.take(Told("search", 3, 10, 400, 1000, losses))
    console.print(picture(course, console))
    text = printed(console)
    assert "searching: 3/10" in text
    assert "contender 1" in text
    assert "contender 9" not in text
    assert max(map(len, text.splitlines())) <= width


def test_watching_without_a_terminal_gives_lines() -> None:
    console = text_console()
    with watching(console, Course(Clock()), live=False) as display:
        display.show(Told("search"))
    assert printed(console) == "searching with 10 trials\n"
    with watching(text_console(terminal=True), Course(Clock()), live=True) as display:
        display.show(Told())
