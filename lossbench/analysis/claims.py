"""What a user claims about contenders, as text: the grammar, its parser, and its writer.

    A below|above B on METRIC [at the end | at step N | at its best] [by NUMBER]
    A ties B on METRIC within NUMBER[%]
    A reaches METRIC VALUE in fewer steps|epochs|gradients than B

A name with spaces is quoted, 'so' or "so"; a doubled quote inside stands for one.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn, cast

from lossbench.analysis.table import BEST, END, Moment
from lossbench.errors import ConfigError, Place, Problem, nearest, suggest

Relation = Literal["below", "above"]
ClaimUnit = Literal["steps", "epochs", "gradients"]

VERBS = ("below", "above", "ties", "reaches")
CLAIM_UNITS: tuple[ClaimUnit, ...] = ("steps", "epochs", "gradients")
SIGNED_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[^\s'"]\S*|['"]""")
GRAMMAR = (
    "A below|above B on METRIC [at the end | at step N | at its best] [by NUMBER], "
    "A ties B on METRIC within NUMBER[%], "
    "or A reaches METRIC VALUE in fewer steps|epochs|gradients than B"
)


def written(number: float) -> str:
    """Return a number as the shortest text that reads back as the same: 5, 0.01, 1e-07."""
    return repr(number).removesuffix(".0")


def quoted(name: str) -> str:
    """Return a name as it stands in a claim: in quotes where it would not read as one word.

    One with a comma is quoted as well: the names of a grid are lists themselves.
    """
    if re.fullmatch(r"""[^\s'",][^\s,]*""", name):
        return name
    mark = "'" if '"' in name else '"'
    return mark + name.replace(mark, mark * 2) + mark


@dataclass(frozen=True)
class OrderClaim:
    """One contender lies below or above another, by more than `margin` where one is given."""

    first: str
    relation: Relation
    second: str
    metric: str
    moment: Moment = END
    margin: float | None = None

    def __str__(self) -> str:
        """Return the claim as text that parses to it."""
        words = [quoted(self.first), self.relation, quoted(self.second)]
        words += ["on", quoted(self.metric), str(self.moment)]
        if self.margin is not None:
            words += ["by", written(self.margin)]
        return " ".join(words)


@dataclass(frozen=True)
class TieClaim:
    """Two contenders end alike: they differ by less than the margin (with `percent`: a share)."""

    first: str
    second: str
    metric: str
    margin: float
    percent: bool = False

    def __str__(self) -> str:
        """Return the claim as text that parses to it."""
        return (
            f"{quoted(self.first)} ties {quoted(self.second)} on {quoted(self.metric)} "
            f"within {written(self.margin)}{'%' if self.percent else ''}"
        )


@dataclass(frozen=True)
class SpeedClaim:
    """One contender reaches a value of a metric before another does."""

    first: str
    metric: str
    value: float
    unit: ClaimUnit
    second: str

    def __str__(self) -> str:
        """Return the claim as text that parses to it."""
        return (
            f"{quoted(self.first)} reaches {quoted(self.metric)} {written(self.value)} "
            f"in fewer {self.unit} than {quoted(self.second)}"
        )


Claim = OrderClaim | TieClaim | SpeedClaim


@dataclass(frozen=True)
class _Word:
    """A word of the text: what it says, where it begins (from 0), whether it stood in quotes."""

    text: str
    start: int
    is_quoted: bool = False


@dataclass(frozen=True)
class _Claimed:
    """A claim with the words that name something."""

    claim: Claim
    contenders: tuple[_Word, _Word]
    metric: _Word
    step: _Word | None = None


class _Parser:
    """Reads one claim from left to right; stops at the first word that does not fit."""

    def __init__(self, text: str, place: Place | None) -> None:
        self.text = text
        self.place = place
        self.words = self.split()
        self.next = 0

    def fail(self, start: int, message: str, hint: str | None = None) -> NoReturn:
        raise ConfigError([self.problem(start, message, hint)])

    def problem(self, start: int, message: str, hint: str | None) -> Problem:
        """Say where: `start` counts from 0, columns from 1."""
        if self.place is None:
            place = Place(argument=self.text, column=start + 1)
        elif self.place.column is None:
            place = self.place
        else:
            place = replace(self.place, column=self.place.column + start)
        return Problem(place, f"at character {start + 1} of the claim: {message}", hint)

    def split(self) -> list[_Word]:
        words, at = [], 0
        while rest := self.text[at:].lstrip():
            at = len(self.text) - len(rest)
            match = cast(re.Match[str], TOKEN.match(self.text, at))  # any character begins one
            found = match[0]
            if found in ("'", '"'):
                self.fail(at, f"the quote {found} is not closed")
            at = match.end()
            if found[0] in "'\"":
                if at < len(self.text) and not self.text[at].isspace():
                    self.fail(at, "a space is missing after the quoted name")
                inside = found[1:-1].replace(found[0] * 2, found[0])
                words.append(_Word(inside, match.start(), is_quoted=True))
            else:
                words.append(_Word(found, match.start()))
        return words

    @property
    def ahead(self) -> _Word | None:
        return self.words[self.next] if self.next < len(self.words) else None

    def take(self, wanted: str) -> _Word:
        """Take the next word, whatever it is."""
        word = self.ahead
        if word is None:
            self.fail(len(self.text), f"expected {wanted}, but the claim ends here", self.form())
        self.next += 1
        return word

    def form(self) -> str:
        return f"a claim reads: {GRAMMAR}"

    def name(self, wanted: str) -> _Word:
        word = self.take(wanted)
        if not word.text:
            self.fail(word.start, f"expected {wanted}, not an empty name")
        return word

    def keyword(self, *valid: str) -> str:
        """Take one of these words."""
        wanted = " or ".join(f"'{word}'" for word in valid)
        word = self.take(wanted)
        if word.is_quoted or word.text not in valid:
            near = nearest(word.text, valid)
            hint = f"did you mean {' or '.join(near)}?" if near else None
            if valid == VERBS and not near:
                hint = "a name with spaces stands in quotes: 'A b' below C on METRIC"
            self.fail(word.start, f"expected {wanted}, not '{word.text}'", hint)
        return word.text

    def maybe(self, keyword: str) -> bool:
        """Take this word if it comes next."""
        word = self.ahead
        found = word is not None and not word.is_quoted and word.text == keyword
        self.next += found
        return found

    def number(self, wanted: str, *, positive: bool = False, percent: bool = False) -> float:
        word = self.take(wanted)
        text = word.text.removesuffix("%") if percent else word.text
        if word.is_quoted or not SIGNED_NUMBER.fullmatch(text):
            self.fail(word.start, f"expected {wanted}, not '{word.text}'")
        value = float(text)
        if not math.isfinite(value):
            self.fail(word.start, f"expected {wanted}, '{word.text}' is too large")
        if positive and value <= 0:
            self.fail(word.start, f"expected {wanted} above 0, not {word.text}")
        return value

    def claim(self) -> _Claimed:
        first = self.name("a contender")
        verb = self.keyword(*VERBS)
        if verb == "reaches":
            found = self.speed(first)
        elif verb == "ties":
            found = self.tie(first)
        else:
            found = self.order(first, cast(Relation, verb))
        if self.ahead is not None:
            self.fail(
                self.ahead.start, f"the claim is complete before '{self.ahead.text}'", self.form()
            )
        return found

    def order(self, first: _Word, relation: Relation) -> _Claimed:
        second = self.name("a contender")
        self.keyword("on")
        metric = self.name("a metric")
        moment, step = self.moment() if self.maybe("at") else (END, None)
        margin = self.number("a number", positive=True) if self.maybe("by") else None
        claim = OrderClaim(first.text, relation, second.text, metric.text, moment, margin)
        return _Claimed(claim, (first, second), metric, step)

    def moment(self) -> tuple[Moment, _Word | None]:
        """Take what follows `at`; return the word of the step besides, where one is named."""
        word = self.keyword("the", "step", "its")
        if word == "the":
            self.keyword("end")
            return END, None
        if word == "its":
            self.keyword("best")
            return BEST, None
        step = self.take("a step")
        if step.is_quoted or not re.fullmatch(r"[0-9]{1,15}", step.text) or int(step.text) < 1:
            self.fail(step.start, f"expected a step (1, 2, ...), not '{step.text}'")
        return Moment("step", int(step.text)), step

    def tie(self, first: _Word) -> _Claimed:
        second = self.name("a contender")
        self.keyword("on")
        metric = self.name("a metric")
        self.keyword("within")
        margin = self.number("a number or a percentage", positive=True, percent=True)
        percent = self.words[self.next - 1].text.endswith("%") or self.maybe("%")
        claim = TieClaim(first.text, second.text, metric.text, margin, percent)
        return _Claimed(claim, (first, second), metric)

    def speed(self, first: _Word) -> _Claimed:
        metric = self.name("a metric")
        value = self.number("the value to reach")
        self.keyword("in")
        self.keyword("fewer")
        unit = cast(ClaimUnit, self.keyword(*CLAIM_UNITS))
        self.keyword("than")
        second = self.name("a contender")
        claim = SpeedClaim(first.text, metric.text, value, unit, second.text)
        return _Claimed(claim, (first, second), metric)


def parse(
    text: str,
    *,
    contenders: Collection[str] | None = None,
    metrics: Collection[str] | None = None,
    losses: Mapping[str, str] | None = None,
    last_step: int | None = None,
    place: Place | None = None,
) -> Claim:
    """Read a claim, and hold its names against those that there are where they are given.

    `losses` says which loss each contender is trained on: contenders of different losses cannot be
    claimed to differ on a loss. `place` is where the text begins in the user's file. Raises
    ConfigError with every problem, its column pointing at the word.
    """
    parser = _Parser(text, place)
    claimed = parser.claim()
    problems = [
        parser.problem(word.start, f"there is no {kind} '{word.text}'", _named(word.text, valid))
        for kind, words, valid in (
            ("contender", claimed.contenders, contenders),
            ("metric", (claimed.metric,), metrics),
        )
        if valid is not None
        for word in words
        if word.text not in valid
    ]
    problems += _senseless(parser, claimed, losses or {}, last_step)
    if problems:
        raise ConfigError(problems)
    return claimed.claim


def _named(given: str, valid: Collection[str]) -> str:
    """Return the nearest names, else all, as they would stand in a claim."""
    near = nearest(given, valid)
    if near:
        return f"did you mean {' or '.join(quoted(name) for name in near)}?"
    return suggest(given, [quoted(name) for name in valid])


def _senseless(
    parser: _Parser, claimed: _Claimed, losses: Mapping[str, str], last_step: int | None
) -> list[Problem]:
    """Return what is wrong with a claim though all its names are known."""
    first, second = claimed.contenders
    found = []
    if first.text == second.text:
        message = f"'{second.text}' cannot be compared with itself"
        found.append(parser.problem(second.start, message, None))
    if (
        claimed.metric.text.rpartition("/")[2] == "loss"
        and first.text in losses
        and second.text in losses
        and losses[first.text] != losses[second.text]
    ):
        message = f"'{first.text}' and '{second.text}' are trained on different losses"
        hint = "values of different losses cannot be compared: claim it on another metric"
        found.append(parser.problem(claimed.metric.start, message, hint))
    step = claimed.step
    if step is not None and last_step is not None and int(step.text) > last_step:
        message = f"step {step.text} is never reached: training ends after step {last_step}"
        found.append(parser.problem(step.start, message, None))
    return found


def parse_all(
    texts: Sequence[str],
    *,
    contenders: Collection[str] | None = None,
    metrics: Collection[str] | None = None,
    losses: Mapping[str, str] | None = None,
    last_step: int | None = None,
    places: Sequence[Place] | None = None,
) -> tuple[Claim, ...]:
    """Read all claims. Raises ConfigError with the problems of all of them at once."""
    claims, problems = list[Claim](), list[Problem]()
    starts: Sequence[Place | None] = places or [None] * len(texts)
    for text, place in zip(texts, starts, strict=True):
        try:
            claim = parse(
                text, contenders=contenders, metrics=metrics, losses=losses,
                last_step=last_step, place=place,
            )  # fmt: skip
            claims.append(claim)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return tuple(claims)
