"""YAML 1.2, positions, and what a config may not hold."""

import contextlib
import math
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.config.yaml import MAX_BYTES, decode, parse, resolve
from lossbench.errors import ConfigError, Place, Problem


def refusal(text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), (".5", 0.5), ("5.", 5.0), ("+1", 1), ("-7", -7), ("0x10", 16),
        ("0o17", 15), ("010", 10), ("1E5", 1e5), (".inf", math.inf), ("-.INF", -math.inf),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"), ("1_000", "1_000"), ("0b1", "0b1"), ("=", "="),
        ("e5", "e5"), (".", "."), ("+", "+"), ("-0x1", "-0x1"), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"key: {text}").plain()["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(resolve(".nan"))  # type: ignore[arg-type]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_as_python_writes_them_come_back(number: float) -> None:
    assert resolve(repr(number)) == number
    assert type(resolve(repr(number))) is type(number)


def test_quotes_make_text() -> None:
    assert parse("a: '1'\nb: \"true\"\nc: |\n  2\n").plain() == {"a": "1", "b": "true", "c": "2\n"}


def test_every_key_and_value_knows_its_place() -> None:
    root = parse("a: 1\nlist:\n  - x\n  - {b:  2}\n", file=Path("c.yaml"))
    assert root.mapping is not None
    items = root.mapping["list"].items
    assert items is not None
    assert root.mapping["a"].place == Place(Path("c.yaml"), 1, 4)
    assert root.mapping["list"].key == Place(Path("c.yaml"), 2, 1)
    assert items[0].place == Place(Path("c.yaml"), 3, 5)
    inner = items[1].mapping
    assert inner is not None
    assert inner["b"].key == Place(Path("c.yaml"), 4, 6)
    assert inner["b"].place == Place(Path("c.yaml"), 4, 10)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_do_not_move_places(newline: str) -> None:
    text = decode(b"\xef\xbb\xbf" + f"a: 1{newline}b: 2{newline}".encode())
    root = parse(text)
    assert root.plain() == {"a": 1, "b": 2}
    assert root.mapping is not None
    assert (root.mapping["a"].place.column, root.mapping["b"].place.line) == (4, 2)


def test_a_duplicate_key_names_both_places() -> None:
    problem = refusal("x:\n  a: 1\n  b: 2\n  a: 3\n")
    assert (problem.place.line, problem.place.column) == (4, 3)
    assert "'a' stands twice" in problem.message
    assert problem.hint is not None
    assert "2:3" in problem.hint


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: [1, 2", 1, 9, "expected ',' or ']'|never closed"),
        ("a: {b: 1", 1, 9, "expected ',' or '}'|never closed"),
        ("a:\n\tb: 1", 2, 1, "tab"),
        ("a: b: c", 1, 5, "second ':'"),
        ("a: 1\n b: 2", 2, 3, "second ':'"),
        ("a: 'x", 1, 6, "never closed"),
        ("a: @x", 1, 4, "begin with '@'"),
        ("a: *x", 1, 4, "alias"),
        ("a: !!python/object:os.system x", 1, 4, "tag"),
        ("a: !x 1", 1, 4, "tag"),
        ("a: 1\n---\nb: 2", 2, 1, "second"),
        ("? [1]\n: 2", 1, 3, "key must be a name"),
        ("<<: {a: 1}", 1, 1, "merge key"),
        ("a: &a [*a]", 1, 4, "inside the value"),
        ('a: "\\ud800"', 1, 4, "surrogate"),
        ("a: \x07", 1, 4, r"U\+0007"),
        ("a: " + "9" * 5000, 1, 4, "too long"),
    ],
)
def test_what_is_no_config_is_refused_where_it_stands(
    text: str, line: int, column: int, words: str
) -> None:
    problem = refusal(text)
    assert (problem.place.line, problem.place.column) == (line, column), str(problem)
    assert re.search(words, problem.message), problem.message


def test_broken_utf_8_is_named_by_line_and_column() -> None:
    with pytest.raises(ConfigError) as caught:
        decode("a: 1\nä: ".encode() + b"\xff", Path("c.yaml"))
    (problem,) = caught.value.problems
    assert problem.place == Place(Path("c.yaml"), 2, 4)
    assert "0xff" in problem.message
    with pytest.raises(ConfigError, match="UTF-16"):
        decode("a: 1".encode("utf-16"))
    with pytest.raises(ConfigError, match="larger"):
        decode(b"a" * (MAX_BYTES + 1))


def test_an_alias_repeats_a_value() -> None:
    assert parse("a: &x {b: [1]}\nc: *x").plain() == {"a": {"b": (1,)}, "c": {"b": (1,)}}


def test_an_expansion_bomb_is_refused_cheaply() -> None:
    lines = ["a0: &a0 [" + ", ".join(["x"] * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 30)]
    before = time.process_time()
    assert "values" in refusal("\n".join(lines)).message
    assert time.process_time() - before < 5  # expanded, it would be 10^30 values


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "{a: " * 10_000,
        "- " * 5_000,
        "\n".join(f"{' ' * i}a:" for i in range(900)),
        "\n".join(["a0: &a0 [x]"] + [
            f"a{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}" for i in range(1, 60)
        ]),
    ],
)  # fmt: skip
def test_brackets_without_end_are_refused(text: str) -> None:
    assert "levels" in refusal(text).message


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.text(alphabet="ab:-[]{},#&*!|>'\"%@`?\\ \t\n\r\x00\x850~.eU<=é", max_size=40))
def test_no_text_brings_more_than_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text).plain()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_no_bytes_bring_more_than_a_config_error(raw: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse(decode(raw))
