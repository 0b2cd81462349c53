"""Claims as text: every form is read and written back, every mistake is pointed at."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossbench.analysis.claims import (
    CLAIM_UNITS,
    OrderClaim,
    SpeedClaim,
    TieClaim,
    parse,
    parse_all,
)
from lossbench.analysis.table import BEST, END, Moment
from lossbench.errors import ConfigError, Place, UsageError

FORMS = {
    "Adam below SGD on train/loss": OrderClaim("Adam", "below", "SGD", "train/loss"),
    "Adam below SGD on train/loss at the end": OrderClaim(
        "Adam", "below", "SGD", "train/loss", END
    ),
    "Adam above SGD on validation/accuracy at its best": OrderClaim(
        "Adam", "above", "SGD", "validation/accuracy", BEST
    ),
    "A below B on train/loss at step 100": OrderClaim(
        "A", "below", "B", "train/loss", Moment("step", 100)
    ),
    "A below B on train/loss by 1e-3": OrderClaim("A", "below", "B", "train/loss", END, 0.001),
    "A above B on r2 at step 7 by .5": OrderClaim("A", "above", "B", "r2", Moment("step", 7), 0.5),
    "A ties B on train/loss within 0.01": TieClaim("A", "B", "train/loss", 0.01),
    "A ties B on train/loss within 5%": TieClaim("A", "B", "train/loss", 5, percent=True),
    "A ties B on train/loss within 5 %": TieClaim("A", "B", "train/loss", 5, percent=True),
    "Momentum reaches train/loss 0.01 in fewer steps than SGD": SpeedClaim(
        "Momentum", "train/loss", 0.01, "steps", "SGD"
    ),
    "A reaches x -1.5 in fewer epochs than B": SpeedClaim("A", "x", -1.5, "epochs", "B"),
    "A reaches x +2 in fewer gradients than B": SpeedClaim("A", "x", 2, "gradients", "B"),
    """  "lr 0.1"   below 'lr''s 1'  on train/loss """: OrderClaim(
        "lr 0.1", "below", "lr's 1", "train/loss"
    ),
    "below above ties on on at the end": OrderClaim("below", "above", "ties", "on"),
    "lr=0.1 below don't on 'top 5'": OrderClaim("lr=0.1", "below", "don't", "top 5"),
}


@pytest.mark.parametrize("text", FORMS)
def test_every_form_is_read_and_written_back(text):
    claim = parse(text)
    assert claim == FORMS[text]
    assert parse(str(claim)) == claim


names = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())
numbers = st.floats(1e-300, 1e300)
moments = st.one_of(
    st.just(END), st.just(BEST), st.integers(1, 10**9).map(lambda n: Moment("step", n))
)
claims = st.one_of(
    st.builds(
        OrderClaim, names, st.sampled_from(["below", "above"]), names, names, moments,
        st.none() | numbers,
    ),
    st.builds(TieClaim, names, names, names, numbers, st.booleans()),
    st.builds(
        SpeedClaim, names, names, st.floats(-1e300, 1e300), st.sampled_from(CLAIM_UNITS), names
    ),
)  # fmt: skip


@given(claims)
def test_every_claim_survives_being_written(claim):
    if claim.first == claim.second:
        return
    assert parse(str(claim)) == claim


# A caret would stand at the character of the mark; the mark itself is no part of the text.
MISTAKES = [
    ("^", "expected a contender, but the claim ends here"),
    ("Adam^", "expected 'below' or 'above' or 'ties' or 'reaches', but the claim ends here"),
    ("Adam ^belwo SGD on train/loss", "not 'belwo'"),
    ("Adam ^W below SGD on train/loss", "not 'W'"),
    ("Adam below SGD ^an train/loss", "expected 'on', not 'an'"),
    ("Adam below SGD on^", "expected a metric, but the claim ends here"),
    ("Adam below SGD on train/loss at ^once", "expected 'the' or 'step' or 'its'"),
    ("Adam below SGD on train/loss at the ^beginning", "expected 'end'"),
    ("Adam below SGD on train/loss at its ^worst", "expected 'best'"),
    ("Adam below SGD on train/loss at step ^0", "expected a step"),
    ("Adam below SGD on train/loss at step ^1.5", "expected a step"),
    ("Adam below SGD on train/loss by ^much", "expected a number, not 'much'"),
    ("Adam below SGD on train/loss by ^-1", "above 0"),
    ("Adam below SGD on train/loss by ^nan", "expected a number"),
    ("Adam below SGD on train/loss by ^1_0", "expected a number"),
    ("Adam below SGD on train/loss by ^1e999", "too large"),
    ("Adam below SGD on train/loss by ^'1'", "expected a number"),
    ("Adam below SGD on train/loss by 1 ^%", "the claim is complete before '%'"),
    ("Adam below SGD on train/loss ^always", "the claim is complete before 'always'"),
    ("Adam ties SGD on train/loss ^by 1", "expected 'within'"),
    ("Adam ties SGD on train/loss within ^0%", "above 0"),
    ("Adam ties SGD on train/loss within ^%", "expected a number or a percentage"),
    ("Adam reaches train/loss ^fast in fewer steps than SGD", "the value to reach"),
    ("Adam reaches train/loss 0.1 in fewer ^seconds than SGD", "'steps' or 'epochs'"),
    ("Adam reaches train/loss 0.1 in ^less steps than SGD", "expected 'fewer'"),
    ("Adam reaches train/loss 0.1 in fewer steps ^as SGD", "expected 'than'"),
    ("^'Adam below SGD on train/loss", "the quote ' is not closed"),
    ("'Adam'^below SGD on train/loss", "a space is missing"),
    ("^'' below SGD on train/loss", "an empty name"),
    ("^Adma below SGD on train/loss", "there is no contender 'Adma'"),
    ("Adam below ^sdg on train/loss", "there is no contender 'sdg'"),
    ("Adam below SGD on ^train/los", "there is no metric 'train/los'"),
    ("Adam below ^Adam on train/loss", "cannot be compared with itself"),
    ("Adam below SGD on train/loss at step ^101", "training ends after step 100"),
    ("Adam below L1 on ^train/loss", "different losses"),
    ("Adam reaches ^train/loss 1 in fewer steps than L1", "different losses"),
]
KNOWN = {
    "contenders": ("Adam", "SGD", "L1"),
    "metrics": ("train/loss", "validation/accuracy"),
    "losses": {"Adam": "mse", "SGD": "mse", "L1": "mae"},
    "last_step": 100,
}


@pytest.mark.parametrize(("marked", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_is_pointed_at(marked, message):
    at = marked.index("^")
    text = marked.replace("^", "", 1)
    with pytest.raises(UsageError) as caught:
        parse(text, **KNOWN)
    assert isinstance(caught.value, ConfigError)
    (problem,) = caught.value.problems
    assert problem.place.column == at + 1
    assert f"at character {at + 1} of the claim" in problem.message
    assert message in problem.message
    assert caught.value.exit_code == 2


def test_the_nearest_names_are_suggested():
    with pytest.raises(ConfigError) as caught:
        parse("Adma below sdg on train/los", **KNOWN)
    hints = [problem.hint for problem in caught.value.problems]
    assert hints == ["did you mean Adam?", "did you mean SGD?", "did you mean train/loss?"]


def test_a_misspelt_keyword_is_corrected_and_quotes_are_explained():
    with pytest.raises(ConfigError, match="did you mean below"):
        parse("Adam belwo SGD on train/loss")
    with pytest.raises(ConfigError, match="a name with spaces stands in quotes"):
        parse("Adam W below SGD on train/loss")


def test_names_are_suggested_as_they_stand_in_a_claim():
    grid = ("mlp, relu", "mlp, tanh", "plain", "a,b")
    with pytest.raises(ConfigError) as caught:
        parse("'mlp, rely' below nonsense on train/loss", contenders=grid)
    hints = [problem.hint for problem in caught.value.problems]
    assert hints == [
        'did you mean "mlp, relu"?',
        'valid: "a,b", "mlp, relu", "mlp, tanh", plain',
    ]


def test_the_place_in_the_file_is_shifted_to_the_word():
    place = Place(Path("a.yaml"), line=7, column=5)
    with pytest.raises(ConfigError, match=r"a\.yaml:7:16") as caught:
        parse("Adam below sdg on train/loss", contenders=("Adam", "SGD"), place=place)
    assert caught.value.problems[0].place == Place(Path("a.yaml"), line=7, column=16)


def test_all_claims_are_read_before_anything_is_said():
    texts = ["Adam belwo SGD on x", "Adam below SGD on train/loss", "Adma above sdg on train/loss"]
    with pytest.raises(ConfigError) as caught:
        parse_all(texts, **KNOWN)
    assert len(caught.value.problems) == 3
    places = [Place(Path("a.yaml"), line, 5) for line in (1, 2, 3)]
    with pytest.raises(ConfigError) as caught:
        parse_all(texts, places=places, **KNOWN)
    found = [(problem.place.line, problem.place.column) for problem in caught.value.problems]
    assert found == [(1, 10), (3, 5), (3, 16)]
    assert parse_all(texts[1:2], **KNOWN) == (FORMS["Adam below SGD on train/loss"],)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(ConfigError):
        parse(text, **KNOWN)


WORDS = """
    Adam SGD below above ties reaches on train/loss at the end step its best by within 1 5% 0.1
    in fewer steps than ' " '' %
"""
words = st.lists(st.sampled_from(WORDS.split()), max_size=12)


@given(words)
def test_no_heap_of_words_breaks_the_parser(heap):
    try:
        claim = parse(" ".join(heap), **KNOWN)
    except ConfigError:
        return
    assert parse(str(claim)) == claim
