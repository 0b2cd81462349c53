"""The catalogue in words, held against every registered component."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from lossbench.config.read import load_text
from lossbench.registry import KINDS, Entry
from lossbench.views import catalogue, examples, fits

ENTRIES = [
    pytest.param(entry, id=f"{kind}-{entry.name}")
    for kind, registry in KINDS.items()
    for entry in registry.values()
]
DATA = {"real": "cubic", "count": "cubic", "class": "iris", "objective": "surface"}
LOSSES = {"class": "cross_entropy", "objective": "value"}


def printed(width: int, show: Any) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width, force_terminal=True, color_system=None, markup=False,
                 highlight=False, emoji=False))  # fmt: skip
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    for name in ("data.csv", "data.npz"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    return tmp_path


def target_kinds(entry: Entry[Any]) -> list[str]:
    """The kinds of target that the component goes with."""
    if entry.kind == "loss":
        return fits.target_kinds(entry.facts)
    if entry.kind == "metric":
        return list(entry.facts.target)
    if entry.kind == "dataset" and entry.facts.target is not None:
        return [fits.target_kind_words(entry.facts.target)]
    return ["objective" if getattr(entry.facts, "brought", False) else "real"]


def config_with(entry: Entry[Any]) -> str:
    """The smallest config around an example."""
    kinds = sorted(target_kinds(entry), key=lambda kind: kind == "count")  # no data set of counts
    kind = next(kind for kind in kinds if kind in DATA)
    blocks = {"dataset": DATA[kind], "loss": LOSSES.get(kind, "mse"), "optimizer": "adam"}
    blocks = {part: f"{part}: {name}" for part, name in blocks.items()}
    blocks["network" if entry.kind == "layer" else entry.kind] = examples.example(entry)
    return "\n".join(blocks.values()) + "\n"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_record_is_strict_json_and_complete(entry: Entry[Any]) -> None:
    record = json.loads(json.dumps(catalogue.entry_record(entry), allow_nan=False))
    assert record["name"] == entry.name
    assert record["idea"]
    assert [knob["name"] for knob in record["knobs"]] == [knob.name for knob in entry.knobs]
    for knob in record["knobs"]:
        assert knob["values"]
        assert knob["meaning"], f"{entry.name}.{knob['name']} is not explained"


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_example_can_be_pasted(entry: Entry[Any], folder: Path) -> None:
    example = examples.example(entry)
    if not example:
        # A distance stands in no config, nor does a loss that compares other things.
        compares = entry.kind == "loss" and entry.facts.inputs
        assert entry.kind == "distance" or compares or entry.facts.python_only
        return
    parsed = yaml.safe_load(example)
    assert list(parsed) == [{"metric": "metrics", "layer": "network"}.get(entry.kind, entry.kind)]
    if entry.kind == "loss" and not fits.target_kinds(entry.facts):
        return  # for an embedding, boxes, images: no data set asks for these
    load_text(config_with(entry), folder=folder)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_page_says_what_is_known(entry: Entry[Any]) -> None:
    page = printed(100, lambda console: catalogue.show_entry(console, entry))
    words = " ".join(page.split())
    assert entry.name in page
    for section in ("Formula", "Reference"):
        text = entry.doc.sections.get(section)
        if text:
            assert text.split()[0] in words
    for knob in entry.knobs:
        assert knob.name in page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [40, 80, 120])
def test_lists_fit_the_terminal(kind: str, width: int) -> None:
    text = printed(width, lambda console: catalogue.show_list(console, kind))
    assert all(len(line) <= width for line in text.splitlines())
    for name in KINDS[kind]:
        assert name in text


def test_kinds_are_listed_with_their_numbers() -> None:
    file = io.StringIO()
    catalogue.show_kinds(Console(file=file, width=80))
    rows = [line.split(maxsplit=2) for line in file.getvalue().splitlines()[1:]]
    assert {row[0]: int(row[1]) for row in rows} == catalogue.kinds_record()
    assert set(catalogue.KIND_IDEAS) == set(KINDS)


def test_a_loss_says_which_data_it_fits() -> None:
    said = fits.fits(KINDS["loss"]["mse"])
    assert "cubic" in said["data sets"]
    assert "iris" not in said["data sets"]
    assert "cross_entropy" in fits.fits(KINDS["dataset"]["iris"])["losses"].split(", ")


def test_ranges_are_in_words() -> None:
    inf = float("inf")
    assert fits.interval((-inf, inf)) == "any number"
    assert fits.interval((0, inf)) == "0 and above"
    assert fits.interval((-inf, 0)) == "0 and below"
    assert fits.interval((-1, 1)) == "-1 to 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("none", "none"), ("a b", '"a b"'), ((0.9, 1), "[0.9, 1]"),
     ({"a": None}, "{a: null}")],
)  # fmt: skip
def test_values_are_written_as_yaml(value: object, text: str) -> None:
    assert examples.yaml_text(value) == text
