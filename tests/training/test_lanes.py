"""Trials side by side as lanes: which steps are, that they compute the same, and that a trial's
numbers are the same bit for bit alone and at every place of groups of every size."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lossbench import registry
from lossbench.config.spec import RunSpec
from lossbench.training import gradients
from lossbench.training.build import build
from lossbench.training.fused import FusedStep
from lossbench.training.lanes import LanesGraph

SIZES = (1, 2, 7, 16, 33, 100, 256)

IN_LANES = ("tanh", "relu", "sigmoid", "gelu", "softplus", "silu", "elu", "leaky_relu")


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "TRACE_FROM", 1)


def step(specs: list[RunSpec]) -> FusedStep:
    made = build(specs).step
    assert isinstance(made, FusedStep)
    return made


def in_lanes(made: FusedStep) -> bool:
    return all(isinstance(graph, LanesGraph) for graph in made.graphs.values())


def group(spec: RunSpec, trials: int) -> list[RunSpec]:
    return [replace(spec, train=replace(spec.train, seed=seed)) for seed in range(trials)]


def batch_of(seed: int) -> Tensor:
    return torch.randperm(64, generator=torch.Generator().manual_seed(seed))[:15]


def assert_alone_as_in_groups(spec: RunSpec, sizes: tuple[int, ...]) -> None:
    """Hold every place of some groups, with its own weights and batch, against a group of one."""
    groups = {size: step(group(spec, size)) for size in sizes}
    one, whole = groups[min(sizes)], groups[max(sizes)]
    rows = torch.stack([batch_of(seed) for seed in range(max(sizes))])
    each = []
    with torch.no_grad():
        for trial in range(max(sizes)):
            one._stack.flat.copy_(whole._stack.flat[trial])
            each.append(one._blocks[0]._of(rows[trial : trial + 1], 1))
        alone = [torch.cat(parts) for parts in zip(*each, strict=True)]
        for size, made in groups.items():
            assert in_lanes(made)
            made._stack.flat.copy_(whole._stack.flat[:size])
            found = [block._of(rows[:size], 1) for block in made._blocks]
            for got, expected in zip(zip(*found, strict=True), alone, strict=True):
                assert torch.equal(torch.cat(got), expected[:size])


@pytest.fixture
def small(spec, choice) -> Callable[..., RunSpec]:
    def make(**parts) -> RunSpec:
        return spec(**{"network": choice("network", "mlp", hidden=(10,)), **parts},
                    train_batch_size=15, train_drop_last=True)  # fmt: skip

    return make


@pytest.mark.parametrize("name", IN_LANES)
def test_a_trial_is_the_same_bit_for_bit_in_groups_of_every_size(name, small):
    assert_alone_as_in_groups(small(activation=name), SIZES)


@pytest.mark.parametrize("name", list(registry.activation))
def test_with_every_activation_that_lanes_take_a_trial_is_the_same(name, small, choice):
    entry = registry.activation[name]
    if entry.facts.random:
        pytest.skip("draws random numbers in torch's kernel")
    knobs = {knob.name: 0.1 for knob in entry.knobs if knob.required}
    made = small(activation=choice("activation", name, **knobs))
    if not in_lanes(step([made])):
        pytest.skip("not in lanes")
    assert_alone_as_in_groups(made, (1, 33))


@pytest.mark.parametrize(
    "name", [name for name, entry in registry.loss.items() if "real" in entry.facts.encodings]
)
def test_with_every_loss_that_lanes_take_a_trial_is_the_same(name, small):
    made = small(loss=name)
    if not in_lanes(step([made])):
        pytest.skip("not in lanes")
    assert_alone_as_in_groups(made, (1, 33))


def test_noise_and_knobs_of_their_own_are_taken_by_lanes_or_leave_the_trials_first(small, choice):
    network = choice("network", "mlp", hidden=(10,), dropout=0.3)
    specs = [
        small(network=network, activation=choice("activation", "leaky_relu", negative_slope=slope))
        for slope in (0.1, 0.3)
    ]
    made, alone = step(specs), [step([spec]) for spec in specs]
    rows = batch_of(0).expand(2, -1)
    with torch.no_grad():
        together = made._blocks[0]._of(rows, 3)
        for trial, one in enumerate(alone):
            for got, expected in zip(together, one._blocks[0]._of(rows[:1], 3), strict=True):
                torch.testing.assert_close(got[trial], expected[0], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(together[0][0], together[0][1])


def test_whether_trials_are_lanes_depends_on_one_trial_alone(small, choice):
    larger = choice("network", "mlp", hidden=(40, 40))
    for trials in (1, 3, 50):
        assert in_lanes(step(group(small(), trials)))
        assert not in_lanes(step(group(small(network=larger), trials)))


@pytest.mark.parametrize("hidden", [(3,), (4, 5), (10,)])
def test_lanes_compute_what_eager_vmap_computes(hidden, small, choice):
    made = step(group(small(network=choice("network", "mlp", hidden=hidden)), 5))
    assert in_lanes(made)
    block = made._blocks[0]
    rows = torch.stack([batch_of(seed) for seed in range(5)])
    with torch.no_grad():
        ours = block._of(rows, 1)
        theirs = block._gradients._eager(block._given, block._split, rows)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
