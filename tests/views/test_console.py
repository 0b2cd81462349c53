"""Text for people: tables that fit, text that is never markup, numbers in words."""

import io

import pytest
from rich.console import Console

from lossbench.views import console as views
from lossbench.views.console import Column


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None,
                   markup=False, highlight=False, emoji=False)  # fmt: skip


def pipe() -> Console:
    return Console(file=io.StringIO(), width=80, markup=False, highlight=False, emoji=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


COLUMNS = (
    Column("name", keep=True),
    Column("idea", least=30),
    Column("more", optional=True),
    Column("value", "right"),
)
ROWS = [
    ("first", "an idea that takes a good many words to be told " * 2, "more", 1),
    ("b", "", "", 22),
]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    console = terminal(width)
    views.table(console, COLUMNS, ROWS)
    views.facts(console, {"formula": "r^2 " * 40, "range": "[0, inf)"})
    assert max(map(len, text_of(console).splitlines())) <= width
    assert "first" in text_of(console)
    assert "22" in text_of(console)


def test_a_pipe_gets_a_line_for_each_row_in_full() -> None:
    console = pipe()
    views.table(console, COLUMNS, ROWS)
    lines = text_of(console).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["name", "idea", "more", "value"]
    assert ROWS[0][1].strip() in lines[1]
    assert lines[1].endswith(" 1")
    assert lines[2].endswith("22")
    assert text_of(console).isascii()


def test_columns_that_can_be_missed_go_first() -> None:
    console = terminal(46)
    views.table(console, COLUMNS, ROWS)
    assert "more" not in text_of(console)
    assert "value" in text_of(console)


@pytest.mark.parametrize("make", [pipe, lambda: terminal(80), lambda: terminal(30)])
def test_text_from_outside_is_neither_markup_nor_a_command_to_the_terminal(make: object) -> None:
    console = make()  # type: ignore[operator]
    nasty = "[red]x[/red] :smile: \x1b[31m\a"
    views.table(console, (Column("a"), Column("b")), [(nasty, nasty)])
    views.facts(console, {"name": nasty})
    views.say(console, nasty)
    views.prose(console, nasty)
    said = text_of(console)
    assert "\x1b" not in said
    assert "\a" not in said
    assert said.count("[red]x[/red]") == 5
    assert "\\x1b" in said
    assert ":smile:" in said


def test_facts_keep_the_lines_of_a_formula_below_each_other() -> None:
    console = pipe()
    views.facts(console, {"formula": "a\nb", "x": 1})
    assert text_of(console) == "formula  a\n         b\nx        1\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.004, "4 ms"), (0.44, "0.4 s"), (12.4, "12 s"), (59.9, "1 min 00 s"), (185, "3 min 05 s"),
     (3599.9, "1 h 00 min"), (7380, "2 h 03 min")],
)  # fmt: skip
def test_times_are_said_as_a_person_says_them(seconds: float, words: str) -> None:
    assert views.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (98_900, "98.9 kB"), (2_500_000, "2.5 MB")]
)
def test_sizes_are_in_the_unit_that_suits(count: int, words: str) -> None:
    assert views.size(count) == words


def test_plain_values_are_no_python() -> None:
    assert views.plain(None) == "none"
    assert views.plain(True) == "yes"
    assert views.plain([0.9, 0.999]) == "0.9, 0.999"
    assert views.plain([{"name": "mae"}, {"name": "topk", "k": 5}]) == "mae, name=topk, k=5"
    assert views.number(None) == views.number(float("nan")) == "not finite"
    assert dict(views.flatten({"a": {"b": 1, "c": {}}})) == {"a.b": "1", "a.c": "none"}


@pytest.mark.parametrize("value", ["", None])
def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_COLOR", value)
    assert views.open_console().color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert views.open_console().color_system is None
