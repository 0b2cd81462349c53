"""Random comparisons are written and read back as the same; broken ones end in an error of ours."""

import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from config_strategies import TRAIN, block, usable
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_config_fuzz import mutated, replaced

from lossbench.config.schema import json_schema
from lossbench.config.trials import dump_comparison, load_comparison, load_comparison_text
from lossbench.config.yaml import parse
from lossbench.errors import ConfigError, Place, Problem
from lossbench.registry import KINDS

FILE = Path(__file__).absolute()
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
SLOW = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)

LABELS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "),
    min_size=1,
    max_size=12,
).filter(lambda label: label == label.strip() and label.isprintable())
RATES = st.floats(1e-6, 1) | st.integers(1, 3)
FIRST_OF_A_PROBLEM = [
    name for name, entry in KINDS["dataset"].items() if entry.facts.target is not None
    and usable("dataset", name) and entry.facts.network is None
    and getattr(entry.facts.target, "kind", entry.facts.target) == "real"
]  # fmt: skip


def blocks(kind: str) -> st.SearchStrategy[Any]:
    names = [name for name in KINDS[kind] if usable(kind, name) and name != "point"]
    return st.sampled_from(names).flatmap(lambda name: block(kind, name, FILE))


def axis(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return labelled values, or a list of values of which no two look alike."""
    lists = st.lists(values, min_size=1, max_size=4, unique_by=lambda value: repr(_name(value)))
    return st.dictionaries(LABELS, values, min_size=1, max_size=4) | lists


def _name(value: Any) -> Any:
    value = value["name"] if isinstance(value, dict) and "name" in value else value
    return float(value) if isinstance(value, int | float) else value


AXES: dict[str, st.SearchStrategy[Any]] = {
    "optimizer": axis(blocks("optimizer")),
    "activation": axis(blocks("activation")),
    "schedule": axis(blocks("schedule") | st.none()),
    "network": axis(st.sampled_from(["mlp", {"hidden": [4]}, {"name": "mlp", "bias": False}])),
    "dataset": axis(st.sampled_from(FIRST_OF_A_PROBLEM).map(lambda name: {"name": name})),
    "dataset.label_noise": st.just([0]),
    "dataset.seed": axis(st.integers(0, 9)),
    "optimizer.weight_decay_on": axis(st.sampled_from(["weights", "all"])),
    "loss": st.just(["mse", "l1", {"name": "huber", "delta": 0.5}]),
    "train.clip_norm": axis(RATES | st.none())
    | st.just({"log_space": [0.1, 10, 3]})
    | st.just({"range": [1, 4, 4]}),
    "train.batch_size": axis(st.integers(1, 64) | st.just("full")),
    "train": axis(st.fixed_dictionaries({"batch_size": st.integers(1, 9)})),
}


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    """Return a valid comparison as plain values."""
    keys = draw(st.lists(st.sampled_from(sorted(AXES)), max_size=3, unique=True))
    found: dict[str, Any] = {
        "dataset": draw(st.sampled_from(["cubic", {"name": "sine", "seed": 3}])),
        "loss": "mse",
        "optimizer": draw(blocks("optimizer")),
        "train": draw(TRAIN),
        "vary": {key: draw(AXES[key]) for key in keys} or None,
        "seeds": draw(st.integers(1, 5) | st.lists(st.integers(0, 2**60), min_size=1, unique=True)),
    }
    found["train"].pop("seed", None)
    if draw(st.booleans()):
        found["train"]["seed"] = draw(st.integers(0, 2**60))
    if draw(st.booleans()):
        found["target"] = {"train/loss" if "loss" not in keys else "validation/mae": draw(RATES)}
    if draw(st.booleans()):
        found["claims"] = draw(st.lists(LABELS, max_size=3, unique=True))
    if draw(st.booleans()) and "train.clip_norm" not in keys:
        found["train"]["clip_norm"] = draw(st.floats(0.1, 10))
        low = draw(st.floats(1e-6, 1e-2))
        found["tune"] = {
            "train.clip_norm": draw(st.none() | st.just({"log_uniform": [low, low * 100]})),
            "trials": draw(st.integers(1, 99)),
            "metric": "validation/mae",
        }
    axes = (found["vary"] or {}).values()
    sizes = [3 if "range" in v or "log_space" in v else len(v) for v in axes]
    if len(sizes) > 1 and len(set(sizes)) == 1 and draw(st.booleans()):
        found["zip"] = draw(st.just(True) | st.just(keys))
    return found


def problems_of(**arguments: Any) -> tuple[Problem, ...]:
    """Return what is wrong with a comparison, nothing where it is good."""
    try:
        load_comparison(**arguments)
    except ConfigError as error:
        return error.problems or (Problem(Place(), ""),)
    return ()


@settings(SLOW, max_examples=250)
@given(comparisons())
def test_a_comparison_survives_writing_and_reading(mapping: dict[str, Any]) -> None:
    # What the strategies do not see: two axes that are zipped and name as many values, twice.
    excused = ("one name", "same length")
    found = problems_of(mapping=mapping)
    assert all(any(words in problem.message for words in excused) for problem in found), found
    assume(not found)
    spec = load_comparison(mapping=mapping).spec
    text = dump_comparison(spec)
    again = load_comparison_text(text).spec
    assert again == spec
    assert [t.values for t in again.trials] == [t.values for t in spec.trials]
    assert dump_comparison(again) == text
    assert len(spec.trials) == len(spec.problems) * len(spec.contenders) * len(spec.seeds)
    VALIDATOR.validate(_lists(mapping))
    VALIDATOR.validate(_lists(parse(text).plain()))


def _lists(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_lists(item) for item in value]
    return {k: _lists(v) for k, v in value.items()} if isinstance(value, dict) else value


# --- broken ones ------------------------------------------------------------------------------

RUN = "dataset: {name: cubic, samples: 50}\nloss: mse\noptimizer: {name: adam, lr: 0.01}\n"
SEEDS = (
    RUN + """\
vary:
  optimizer:
    SGD: {name: sgd, lr: 0.01}
    Adam: {name: adam, betas: [0.9, 0.99]}
  optimizer.lr: [0.1, 0.01]
seeds: 20
tune: {optimizer.eps: {log_uniform: [1e-4, 1]}, trials: 16, seeds: 3, metric: validation/loss}
target: {train/loss: 0.01}
claims: [Adam below SGD on train/loss at the end]
""",
    RUN + """\
vary: {optimizer: [sgd, adam], train.clip_norm: {log_space: [1, 10, 2]}, activation: [relu, tanh]}
zip: [optimizer, train.clip_norm]
seeds: [1, 2, 3]
tune: optimizer.lr
""",
    RUN + """\
vary:
  dataset: {a: cubic, b: {name: digits, split: [0.5, 0.5, 0]}}
  loss: [mse, cross_entropy]
  train: [{batch_size: 5}, {batch_size: full, clip_value: 1}]
  schedule: [null, {name: linear, unit: epoch}]
zip: [dataset, loss]
""",
)  # fmt: skip
ARGUMENTS = (
    "optimizer=sgd,adam", "optimizer.lr=1e-3,1e-2", "optimizer={A: sgd, B: {name: adam}}",
    "optimizer.lr={log_space: [1, 2, 3]}", "dataset=cubic,sine", "optimizer.lr", "optimizer.lr=1:2",
    "train=[{epochs: 1}]", "network.hidden=[8],[8, 8]",
)  # fmt: skip


def survives(**arguments: Any) -> None:
    """Read a broken comparison: a ConfigError with words in it, or a spec that can be written."""
    found = problems_of(**arguments)
    assert all(problem.message for problem in found)
    assert not any("validation error" in str(problem) for problem in found)
    if not found:
        spec = load_comparison(**arguments).spec
        if len(spec.trials) < 500:
            assert load_comparison_text(dump_comparison(spec)).spec == spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken")


@settings(SLOW, max_examples=150)
@given(st.integers(0, 2**32))
def test_mutated_texts(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        text = mutated(chance.choice(SEEDS), chance)
        try:
            mapping = parse(text).plain()
        except ConfigError:
            continue
        if isinstance(mapping, dict):
            survives(mapping=mapping)
        (folder / "broken.yaml").write_text(text)
        survives(path=folder / "broken.yaml")


@settings(SLOW, max_examples=200)
@given(st.integers(0, 2**32))
def test_mutated_structures(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        mapping = parse(chance.choice(SEEDS)).plain()
        key = chance.choice(["vary", "seeds", "tune", "target", "claims", "zip"])
        mapping[key] = replaced(mapping.get(key), chance)
        survives(mapping=mapping)


@settings(SLOW, max_examples=100)
@given(st.integers(0, 2**32))
def test_mutated_arguments(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        arguments = [mutated(chance.choice(ARGUMENTS), chance) for _ in range(2)]
        place = chance.choice(["vary", "tune", "overrides"])
        survives(mapping=parse(RUN).plain(), **{place: arguments})


@pytest.mark.parametrize(
    "wrong",
    [
        {"vary": {"optimiser": ["sgd"]}},
        {"vary": {"optimizer": []}},
        {"vary": {"optimizer": "sgd"}},
        {"vary": {"optimizer": ["sgdd"]}},
        {"vary": {"optimizer": {"A": {"name": "sgd", "lrr": 1}}}},
        {"vary": {"train": [{"epohcs": 3}]}},
        {"seeds": 0},
        {"seeds": [1, 1]},
        {"tune": {"optimizer.lr": {"uniform": [1, 2]}}},
        {"target": {"train/loss": 1, "validation/loss": 2}},
        {"claims": "A below B"},
    ],
)
def test_the_schema_refuses_what_an_editor_should_underline(wrong: dict[str, Any]) -> None:
    mapping = {"dataset": "cubic", "loss": "mse", "optimizer": "sgd"}
    VALIDATOR.validate(mapping)
    assert not VALIDATOR.is_valid(mapping | wrong)
    with pytest.raises(ConfigError):
        load_comparison(mapping=mapping | wrong)
