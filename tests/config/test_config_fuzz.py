"""Ten thousand broken configs: each ends in a ConfigError, or in a valid spec."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossbench.config.read import load, load_text
from lossbench.config.write import dump
from lossbench.config.yaml import parse
from lossbench.errors import ConfigError, Place, Problem

SEEDS = (
    """\
name: a
dataset: {name: cubic, samples: 50}
network: {name: mlp, hidden: [10]}
activation: relu
loss: mse
optimizer: {name: adam, lr: 0.01, betas: [0.9, 0.99]}
schedule: null
train: {epochs: 5, batch_size: 15, seed: 10, device: auto}
metrics: []
""",
    """\
dataset:
  name: digits
  split: [0.7, 0.15, 0.15]
  label_noise: 0.1
network:
  name: layers
  layers:
    - flatten
    - linear: 32
    - batch_norm
    - activation
    - {dropout: {p: 0.2}}
loss: {name: cross_entropy, impl: formula}
optimizer: {name: ema, base: {name: sgd, momentum: 0.9}}
train: {early_stopping: {patience: 3, metric: validation/loss}, monitor: train/loss}
""",
    """\
dataset: {name: csv, path: t.csv}
loss: my.py:Loss
optimizer: &o {name: sgd, lr: 1e-3}
activation: {name: leaky_relu, negative_slope: 0.05}
""",
)
PIECES = (
    "null", "-1", "1e999", ".nan", ".inf", "[]", "{}", "[[]]", "{a: {b: c}}", "'", '"', ": ", "- ",
    "\n", "\t", "#", "&o", "*o", "!!int", "|", ">", "%", "true", "yes", "9" * 400, "1.5", "name",
    "extends: x\n", "a.py:B", "::", ":", "\x00", "é", "\u2028", "lr", "impl: kernel", "0x1F", "<<",
    "my.py:", "os:path", "..:x", "json:loads", "layers", "mlp", "huber", "{linear: 1, flatten: 2}",
)  # fmt: skip
VALUES = (
    None, True, -1, 0, 1, 2**80, 1.5, -0.0, 1e308, float("inf"), float("nan"), "", "x", "a:b",
    "mse", [], {}, [[]], [None], {"name": None}, {"name": []}, {"": 1}, {"name": "sgd", "lr": {}},
    ["mae", "mae"], {"linear": [1]}, [{"linear": {}}], "my.py:Loss", {"name": "my.py:Loss"},
    "../..", "\0",
)  # fmt: skip
KEYS = (
    "optimizer.lr", "loss", "train", "train.early_stopping.patience", "network.hidden", "name",
    "optimizer.base.lr", "extends", "metrics", "dataset.path", "network.layers.0", "",
)  # fmt: skip
MANY = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "t.csv").write_text("a,b\n1,2\n")
    (folder / "my.py").write_text("def Loss(prediction, target, *, q: float = 1): ...\n")
    return folder


def survives(
    folder: Path, text: str | None = None, mapping: Any = None, arguments: Any = ()
) -> None:
    """Load a broken config: a ConfigError with words in it, or a spec that can be written."""
    problems: tuple[Problem, ...] = ()
    try:
        if text is not None:
            loaded = load_text(text, arguments, folder=folder)
        else:
            loaded = load(mapping=mapping, overrides=arguments)
        dump(loaded.spec)
    except ConfigError as error:
        problems = error.problems or (Problem(Place(), ""),)
    assert all(problem.message for problem in problems)
    assert not any("validation error" in str(problem) for problem in problems)


def mutated(text: str, chance: random.Random) -> str:
    """Cut, double, swap and insert, a few times."""
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.choices(range(len(text) + 1), k=2))
        to = min(to, at + 12)
        match chance.randrange(5):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[to:]
            case 3:
                text = text[:to] + text[at:to] + text[to:]
            case _:
                lines = text.split("\n")
                chance.shuffle(lines)
                text = "\n".join(lines)
    return text


@settings(MANY, max_examples=600)
@given(st.integers(0, 2**32))
def test_mutated_texts(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        survives(folder, mutated(chance.choice(SEEDS), chance))


def replaced(value: Any, chance: random.Random) -> Any:
    """Put a foreign value somewhere into a nested one."""
    if chance.random() < 0.25 or not isinstance(value, dict | list | tuple) or not value:
        return chance.choice(VALUES)
    if isinstance(value, dict):
        key = chance.choice(list(value))
        if chance.random() < 0.3:
            return {(k + "x" if k == key else k): v for k, v in value.items()}
        return value | {key: replaced(value[key], chance)}
    at = chance.randrange(len(value))
    return [replaced(item, chance) if i == at else item for i, item in enumerate(value)]


@settings(MANY, max_examples=400)
@given(st.integers(0, 2**32))
def test_mutated_structures(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    plain = [parse(text).plain() for text in SEEDS]
    for _ in range(10):
        config = chance.choice(plain)
        for _ in range(chance.randint(1, 3)):
            config = replaced(config, chance)
        survives(folder, mapping=config if isinstance(config, dict) else {"train": config})


@settings(MANY, max_examples=150)
@given(st.integers(0, 2**32))
def test_mutated_overrides(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        key = chance.choice(KEYS)
        key = mutated(key, chance) if chance.random() < 0.3 else key
        survives(folder, chance.choice(SEEDS), arguments=[f"{key}={chance.choice(PIECES)}"])


@settings(MANY, max_examples=300)
@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_any_text(folder: Path, text: str) -> None:
    survives(folder, text)
