"""A run against the loop that a person would write with torch alone, loss by loss."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler

from lossbench.config.spec import OptimizerOptions
from lossbench.training.build import build
from lossbench.training.events import Evaluated, StepsDone
from lossbench.training.loop import train

STEPS = ["fused", "plain"]


def by_hand(
    job: Any,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    *,
    per_epoch: bool = False,
    norm: float | None = None,
    value: float | None = None,
) -> tuple[list[float], list[float]]:
    """Train a copy of a job's network on its batches; returns losses and learning rates."""
    network = copy.deepcopy(job.step._model.network)  # before the job has made a step
    own = {name.removeprefix("network."): w for name, w in job.step.weights(0).items()}
    network.load_state_dict(own)
    network.train()
    optimizing = optimizer(network)
    scheduling = None if schedule is None else schedule(optimizing)
    split, losses, rates = job.splits["train"], [], []

    def judge(rows: Tensor) -> Tensor:
        optimizing.zero_grad()
        found = loss(network(split.inputs[rows]), split.target[rows])
        found.backward()
        if value is not None:
            nn.utils.clip_grad_value_(network.parameters(), value)
        if norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), norm)
        return found

    for epoch in range(1, job.epochs + 1):
        for batches in job.order.epoch(epoch):
            rows = torch.cat([batch.reshape(-1) for batch in batches])
            rates.append(optimizing.param_groups[0]["lr"])
            losses.append(optimizing.step(lambda rows=rows: judge(rows)).item())
            if scheduling is not None and not per_epoch:
                scheduling.step()
        if scheduling is not None and per_epoch:
            if isinstance(scheduling, lr_scheduler.ReduceLROnPlateau):
                network.eval()
                with torch.no_grad():
                    held_out = job.splits["validation"]
                    scheduling.step(loss(network(held_out.inputs), held_out.target))
                network.train()
            else:
                scheduling.step()
    return losses, rates


def recorded(job: Any) -> tuple[np.ndarray, np.ndarray]:
    """Train a job; returns the losses and learning rates that it tells."""
    done = [event for event in train(job) if isinstance(event, StepsDone)]
    return (
        np.concatenate([event.losses[0] for event in done]),
        np.concatenate([event.rates[0] for event in done]),
    )


@pytest.fixture
def iris(spec) -> Callable[..., Any]:
    """A job on iris, 12 steps long, its last batch smaller than the others."""

    def make(step: str, **parts: Any) -> Any:
        usual = {"dataset": "iris", "loss": "cross_entropy", "train_epochs": 3}
        return build([spec(**{**usual, "train_batch_size": 30, "train_step": step, **parts})])

    return make


def same(job: Any, expected: tuple[list[float], list[float]], rtol: float = 1e-5) -> None:
    losses, rates = recorded(job)
    np.testing.assert_allclose(losses, expected[0], rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(rates, expected[1], rtol=1e-12)


def spared(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups as people write them: matrices decay, biases do not."""
    named = list(network.parameters())
    return [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in named if p.ndim < 2], "weight_decay": 0.0},
    ]


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[nn.Module], torch.optim.Optimizer]]] = {
    "sgd": (
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        lambda n: torch.optim.SGD(spared(n, 0.1), lr=0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (
        {"lr": 0.02, "betas": (0.8, 0.9)},
        lambda n: torch.optim.Adam(n.parameters(), lr=0.02, betas=(0.8, 0.9)),
    ),
    "adamw": (
        {"lr": 0.02, "weight_decay": 0.5},
        lambda n: torch.optim.AdamW(spared(n, 0.5), lr=0.02),
    ),
    "rmsprop": (
        {"lr": 0.01, "momentum": 0.5, "centered": True},
        lambda n: torch.optim.RMSprop(n.parameters(), lr=0.01, momentum=0.5, centered=True),
    ),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_and_the_weights_that_decay(name, step, iris, choice):
    knobs, made = OPTIMIZERS[name]
    job = iris(step, optimizer=choice("optimizer", name, **knobs))
    same(job, by_hand(job, made))


@pytest.mark.parametrize("step", STEPS)
def test_weight_decay_on_everything(step, iris, choice):
    chosen = choice("optimizer", "adamw", lr=0.02, weight_decay=0.5)
    everything = replace(chosen, options=OptimizerOptions(weight_decay_on="all"))
    job = iris(step, optimizer=everything)
    same(job, by_hand(job, lambda n: torch.optim.AdamW(n.parameters(), lr=0.02, weight_decay=0.5)))


class _Both:
    """Two optimizers as one: what people write for Muon."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        found = closure()
        for part in self.parts:
            part.step()
        return found


@pytest.mark.parametrize("step", STEPS)
def test_muon_takes_the_matrices_and_another_optimizer_the_rest(step, iris, choice):
    rest = choice("optimizer", "sgd", lr=0.3, momentum=0.5)
    job = iris(
        step,
        optimizer=choice("optimizer", "muon", lr=0.02, rest=rest),
        schedule=choice("schedule", "exponential", gamma=0.5),
    )

    def made(network: nn.Module) -> Any:
        matrices = [p for p in network.parameters() if p.ndim == 2]
        others = [p for p in network.parameters() if p.ndim != 2]
        return _Both(
            torch.optim.Muon(matrices, lr=0.02),
            torch.optim.SGD(others, lr=0.3, momentum=0.5),
        )

    def falling(both: Any) -> Any:
        schedules = [lr_scheduler.ExponentialLR(part, gamma=0.5) for part in both.parts]

        class Falling:
            def step(self) -> None:
                for schedule in schedules:
                    schedule.step()

        return Falling()

    expected = by_hand(job, made, schedule=falling, per_epoch=True)
    # The plain step calls torch's own; the formula rounds to bfloat16 in another order.
    same(job, expected, rtol=1e-5 if step == "plain" else 1e-2)


def test_lbfgs_through_its_closure(iris, choice):
    chosen = choice("optimizer", "lbfgs", lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
    job = iris("auto", optimizer=chosen, train_batch_size="full")

    def made(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            network.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe"
        )

    same(job, by_hand(job, made))


@pytest.mark.parametrize("step", STEPS)
def test_clipping_by_value_then_by_norm(step, iris, choice):
    # Bounds so narrow that both are met at every step.
    job = iris(
        step,
        optimizer=choice("optimizer", "sgd", lr=1.0),
        train_clip_norm=0.02,
        train_clip_value=0.01,
    )
    made = by_hand(job, lambda n: torch.optim.SGD(n.parameters(), lr=1.0), norm=0.02, value=0.01)
    same(job, made)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("knobs", [{"weight": (0.1, 1.0, 5.0)}, {"ignore_index": 2}])
def test_accumulated_batches_are_one_large_one(knobs, step, iris, choice):
    job = iris(
        step,
        loss=choice("loss", "cross_entropy", **knobs),
        optimizer=choice("optimizer", "sgd", lr=0.3),
        train_batch_size=10,
        train_accumulate=4,
    )
    assert job.total_steps == 9  # 11 batches an epoch: the last step has three of them
    own = {n: torch.tensor(v) if isinstance(v, tuple) else v for n, v in knobs.items()}

    def loss(raw: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(raw, target, **own)

    same(job, by_hand(job, lambda n: torch.optim.SGD(n.parameters(), lr=0.3), loss))


@pytest.mark.parametrize("step", STEPS)
def test_one_cycle_moves_the_rate_and_the_momentum(step, iris, choice):
    job = iris(
        step,
        optimizer=choice("optimizer", "sgd", lr=0.2, momentum=0.5),
        schedule=choice("schedule", "one_cycle"),
    )
    total = job.total_steps
    expected = by_hand(
        job,
        lambda n: torch.optim.SGD(n.parameters(), lr=0.2, momentum=0.5),
        schedule=lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=total),
    )
    same(job, expected)


@pytest.mark.parametrize("step", STEPS)
def test_a_schedule_of_epochs(step, iris, choice):
    job = iris(
        step,
        optimizer=choice("optimizer", "sgd", lr=0.2),
        schedule=choice("schedule", "exponential", gamma=0.5),
    )
    expected = by_hand(
        job,
        lambda n: torch.optim.SGD(n.parameters(), lr=0.2),
        schedule=lambda o: lr_scheduler.ExponentialLR(o, gamma=0.5),
        per_epoch=True,
    )
    assert len(set(expected[1])) == 3
    same(job, expected)


@pytest.mark.parametrize("step", STEPS)
def test_a_schedule_that_watches_the_validation_loss(step, iris, choice):
    # A fall of at least 90 % is asked for, so that the rate falls after every epoch but the first.
    knobs = {"factor": 0.5, "patience": 0, "threshold": 0.9}
    job = iris(
        step,
        optimizer=choice("optimizer", "sgd", lr=0.2),
        schedule=choice("schedule", "reduce_on_plateau", **knobs),
    )
    expected = by_hand(
        job,
        lambda n: torch.optim.SGD(n.parameters(), lr=0.2),
        schedule=lambda o: lr_scheduler.ReduceLROnPlateau(o, **knobs),
        per_epoch=True,
    )
    assert sorted(set(expected[1])) == [0.1, 0.2]
    same(job, expected)


@pytest.mark.parametrize("step", STEPS)
def test_real_targets_are_learned_in_their_scale_and_judged_in_their_units(step, spec, choice):
    job = build(
        [
            spec(
                dataset="diabetes",
                optimizer=choice("optimizer", "sgd", lr=0.1),
                metrics=["mae"],
                train_batch_size=100,
                train_step=step,
            )
        ]
    )
    expected = by_hand(job, lambda n: torch.optim.SGD(n.parameters(), lr=0.1), F.mse_loss)
    events = list(train(job))
    done = [event.losses[0] for event in events if isinstance(event, StepsDone)]
    np.testing.assert_allclose(np.concatenate(done), expected[0], rtol=1e-5)
    test = next(e for e in events if isinstance(e, Evaluated) and e.split == "test")
    scale = job.facts["scaling"]["target"]
    raw = job.step.evaluate(job.splits["test"], best=True).outputs[0].double().numpy()
    units = raw * np.array(scale["scale"]) + np.array(scale["mean"])
    true = job.splits["test"].target.double().numpy() * scale["scale"] + scale["mean"]
    np.testing.assert_allclose(test.values["mae"][0], np.abs(units - true).mean(), rtol=1e-5)
    assert test.values["mae"][0] > 10  # progress of a disease, 25 to 346: not its scaled units
