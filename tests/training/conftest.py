"""What the tests of the engine share: specs made without YAML, and short runs of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.components.vocabulary import Nested
from lossbench.config.spec import OPTIONS, Choice, NoOptions, RunSpec, TrainSpec
from lossbench.registry import KINDS
from lossbench.training.build import build
from lossbench.training.events import StepsDone
from lossbench.training.loop import train


def choose(kind: str, name: str, **knobs: Any) -> Choice:
    """A component by name, with its defaults and some knobs."""
    entry = KINDS[kind].find(name)
    options = OPTIONS.get(kind, NoOptions)()
    filled = {**entry.defaults(), **knobs}
    for knob in entry.knobs:
        for mark in getattr(knob.annotation, "__metadata__", ()):
            if isinstance(mark, Nested) and isinstance(filled.get(knob.name), str):
                filled[knob.name] = choose(mark.kind, filled[knob.name])
    return Choice(kind, entry.name, filled, options)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def choice() -> Callable[..., Choice]:
    return choose


@pytest.fixture
def own() -> Callable[..., Choice]:
    """A component of a user's own file."""

    def make(kind: str, file: Path, name: str, **knobs: Any) -> Choice:
        options = OPTIONS.get(kind, NoOptions)()
        return Choice(kind, f"{file}:{name}", knobs, options, file=file)

    return make


@pytest.fixture
def spec() -> Callable[..., RunSpec]:
    """A small regression by default; keywords replace parts, `train_...` those of its training."""

    def make(**parts: Any) -> RunSpec:
        train_parts = {
            name.removeprefix("train_"): parts.pop(name)
            for name in list(parts)
            if name.startswith("train_")
        }
        chosen = {
            kind: value if isinstance(value, Choice) or value is None else choose(kind, value)
            for kind, value in parts.items()
            if kind != "metrics"
        }
        base = RunSpec(
            name="test",
            dataset=choose("dataset", "cubic", samples=64),
            network=choose("network", "mlp", hidden=(6,)),
            activation=choose("activation", "tanh"),
            loss=choose("loss", "mse"),
            optimizer=choose("optimizer", "sgd", lr=0.05),
            metrics=tuple(choose("metric", name) for name in parts.get("metrics", ())),
        )
        data = chosen.get("dataset", base.dataset)
        if data.file is None and (brought := KINDS["dataset"][data.name].facts.network):
            chosen.setdefault("network", choose("network", brought))
        training = TrainSpec(**{"epochs": 2, "batch_size": 16, "seed": 3, **train_parts})
        return replace(base, train=training, **chosen)

    return make


def losses(events: list[Any]) -> np.ndarray:
    """The loss of every step, [trials, steps]."""
    return np.concatenate(
        [event.losses for event in events if isinstance(event, StepsDone)], axis=1
    )


@pytest.fixture
def run() -> Callable[..., np.ndarray]:
    """Train some specs as one group, and return the loss of every step."""

    def go(*specs: RunSpec) -> np.ndarray:
        return losses(list(train(build(specs))))

    return go
