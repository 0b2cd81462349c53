"""Optimizers that take a second gradient, against the loop that a person would write for them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lossbench.errors import LossbenchError
from lossbench.training import gradients
from lossbench.training.build import build
from lossbench.training.events import StepsDone
from lossbench.training.lanes import LanesGraph
from lossbench.training.loop import train


class TwoPasses:
    """Sharpness-aware steps as people write them around an optimizer of torch."""

    def __init__(self, network: nn.Module, rho: float, norm: float | None) -> None:
        self.params = list(network.parameters())
        self.base = torch.optim.SGD(self.params, lr=0.1, momentum=0.9)
        self.rho, self.norm = rho, norm

    def step(self, judge: Callable[[], torch.Tensor]) -> float:
        loss = self.gradients(judge)
        with torch.no_grad():
            before = [p.clone() for p in self.params]
            length = torch.cat([p.grad.flatten() for p in self.params]).norm()
            for p in self.params:
                p += self.rho * p.grad / length
        self.gradients(judge)
        with torch.no_grad():
            for p, old in zip(self.params, before, strict=True):
                p.copy_(old)
        if self.norm is not None:
            nn.utils.clip_grad_norm_(self.params, self.norm)
        self.base.step()
        return loss

    def gradients(self, judge: Callable[[], torch.Tensor]) -> float:
        self.base.zero_grad()
        loss = judge()
        loss.backward()
        return loss.item()


def losses_of(job: Any) -> np.ndarray:
    done = [event for event in train(job) if isinstance(event, StepsDone)]
    return np.concatenate([event.losses for event in done], axis=1)


@pytest.fixture
def iris(spec, choice) -> Callable[..., Any]:
    """Specs of 15 steps on iris with sharpness-aware descent."""

    def make(optimizer: str = "sam", base: str = "momentum", **parts: Any) -> Any:
        knobs = {"rho": parts.pop("rho")} if "rho" in parts else {}
        inner = {"momentum": 0.9} if base == "momentum" else {}
        own = choice(
            "optimizer", optimizer, base=choice("optimizer", base, lr=0.1, **inner), **knobs
        )
        usual = {"dataset": "iris", "loss": "cross_entropy", "train_epochs": 3}
        return spec(**{**usual, "train_batch_size": 30, "optimizer": own, **parts})

    return make


@pytest.mark.parametrize("norm", [None, 0.3])
@pytest.mark.parametrize("step", ["fused", "plain"])
def test_sam_trains_as_the_loop_by_hand(step: str, norm: float | None, iris) -> None:
    job = build([iris(rho=0.1, train_step=step, train_clip_norm=norm)])
    network = copy.deepcopy(job.step._model.network)
    network.load_state_dict(
        {name.removeprefix("network."): w for name, w in job.step.weights(0).items()}
    )
    by_hand, split, expected = TwoPasses(network, 0.1, norm), job.splits["train"], []
    for epoch in range(1, job.epochs + 1):
        for batches in job.order.epoch(epoch):
            rows = torch.cat([batch.reshape(-1) for batch in batches])

            def judge(rows: torch.Tensor = rows) -> torch.Tensor:
                return nn.functional.cross_entropy(network(split.inputs[rows]), split.target[rows])

            expected.append(by_hand.step(judge))
    found = losses_of(job)[0]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    once = losses_of(build([iris(rho=0.0, train_step=step, train_clip_norm=norm)]))[0]
    assert np.abs(once - found).max() > 1e-3  # the second pass does something


@pytest.mark.parametrize("optimizer", ["sam", "asam"])
def test_a_group_of_different_rules_and_distances_equals_its_trials(optimizer: str, iris) -> None:
    specs = [
        iris(optimizer, rho=0.1),
        iris(optimizer, rho=0.3),
        iris("lookahead", base="sgd"),
        iris(optimizer, base="adam", rho=0.1),
    ]
    together = losses_of(build(specs))
    for row, alone in zip(together, specs, strict=True):
        assert np.array_equal(row, losses_of(build([alone]))[0])


@pytest.mark.parametrize("norm", [None, 0.05])
def test_with_trials_side_by_side_the_second_pass_is_the_same(
    norm: float | None, choice, iris, monkeypatch
) -> None:
    monkeypatch.setattr(gradients, "TRACE_FROM", 1)
    parts: dict[str, Any] = {
        "dataset": choice("dataset", "cubic", samples=64),
        "loss": "mse",
        "network": choice("network", "mlp", hidden=(10,)),
        "train_batch_size": 15,
        "train_drop_last": True,
        "train_clip_norm": norm,
    }
    specs = [iris(rho=rho, train_seed=seed, **parts) for seed, rho in enumerate((0.1, 0.3, 0.1))]
    job = build(specs)
    assert all(isinstance(graph, LanesGraph) for graph in job.step.graphs.values())
    together = losses_of(job)
    for row, alone in zip(together, specs, strict=True):
        assert np.array_equal(row, losses_of(build([alone]))[0])
        plain = replace(alone, train=replace(alone.train, step="plain"))
        np.testing.assert_allclose(row, losses_of(build([plain]))[0], rtol=2e-5, atol=1e-6)
    once = losses_of(build([iris(rho=0.0, **parts, train_seed=0)]))[0]
    assert np.abs(once - together[0]).max() > 1e-4  # the second pass does something


@pytest.mark.parametrize("step", ["fused", "plain"])
def test_running_statistics_are_those_of_the_first_pass(step: str, iris, choice) -> None:
    network = choice("network", "mlp", hidden=(6,), norm="batch")
    parts = {"network": network, "train_step": step, "train_epochs": 1, "train_batch_size": "full"}
    jobs = [build([iris(rho=rho, **parts)]) for rho in (0.0, 5.0)]  # one step each
    for job in jobs:
        losses_of(job)
    one_pass, two_passes = (job.step.weights(0) for job in jobs)
    statistics = [name for name in one_pass if "running" in name or "tracked" in name]
    assert statistics
    for name, value in one_pass.items():
        if name in statistics:
            torch.testing.assert_close(two_passes[name], value)
        elif value.ndim == 2:
            assert not torch.allclose(two_passes[name], value)


def test_gradient_scaling_cannot_follow_a_second_pass(iris) -> None:
    with pytest.raises(LossbenchError, match="several times per step"):
        build([iris(train_step="plain", train_amp="float16")])
