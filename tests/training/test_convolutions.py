"""Convolutions and pooling made for many trials: torch's numbers, ties and edges included."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lossbench.training import convolutions, gradients
from lossbench.training.build import build
from lossbench.training.convolutions import Quick

TRIALS, SAMPLES = 3, 5


def results(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs of all trials, and the gradients of their inputs and weights."""
    torch.manual_seed(0)
    weights = {
        name: torch.randn(TRIALS, *p.shape, dtype=x.dtype).requires_grad_()
        for name, p in network.named_parameters()
    }
    x = x.clone().requires_grad_()
    made = vmap(lambda w, values: functional_call(network, w, (values,)))(weights, x)
    towards = torch.randn(made.shape, dtype=x.dtype)
    return [made, *torch.autograd.grad((made * towards).sum(), [x, *weights.values()])]


def called(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Note the calls of these operations."""
    calls: list[str] = []
    for name in names:
        kept = getattr(convolutions, name)
        monkeypatch.setattr(
            convolutions, name, lambda *args, n=name, k=kept: (calls.append(n), k(*args))[1]
        )
    return calls


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), (8, 8)),
        (nn.Conv2d(2, 3, 3), (5, 7)),
        (nn.Conv2d(2, 3, (2, 3), bias=False), (6, 4)),
        (nn.Conv2d(2, 3, 1), (4, 4)),
        (nn.Conv2d(2, 4, 3, stride=2, padding=1), (8, 7)),
        (nn.Conv2d(2, 4, 2, stride=3), (9, 8)),
        (nn.Conv2d(2, 3, 5, padding=2), (6, 6)),
        (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)), (4, 4)),
    ],
)
def test_convolutions_are_those_of_torch(network, size, monkeypatch):
    calls = called(monkeypatch, "_convolved", "_convolved_weight", "_convolved_input")
    x = torch.randn(TRIALS, SAMPLES, 2, *size, dtype=torch.float64)
    expected = results(network, x)
    assert not calls
    with Quick():
        found = results(network, x)
    assert set(calls) == {"_convolved", "_convolved_weight", "_convolved_input"}
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (2, 2), (7, 4), (5, 9)])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d((2, 2), stride=2)])
def test_pooling_is_that_of_torch_bit_for_bit_where_pixels_tie(pool, size, monkeypatch):
    calls = called(monkeypatch, "_pooled", "_pooled_input")
    x = torch.randint(0, 3, (TRIALS, SAMPLES, 2, *size)).float()  # most windows have ties
    expected = results(pool, x)
    with Quick():
        found = results(pool, x)
    assert calls == ["_pooled", "_pooled_input"]
    for got, wanted in zip(found, expected, strict=True):
        assert torch.equal(got, wanted)


def test_pooling_hands_on_what_is_not_a_number():
    x = torch.randn(TRIALS, SAMPLES, 1, 4, 4)
    x[0, 0, 0, 1, 0] = torch.nan
    with Quick():
        found = results(nn.MaxPool2d(2), x)[0]
    torch.testing.assert_close(found, results(nn.MaxPool2d(2), x)[0], equal_nan=True)
    assert found.isnan().sum() == 1


@pytest.mark.parametrize(
    "network",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, stride=(1, 2)),
        nn.Conv2d(2, 4, 7, padding=3),
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
    ],
)
def test_what_is_of_another_sort_is_left_to_torch(network, monkeypatch):
    calls = called(monkeypatch, "_convolved", "_pooled")
    x = torch.randn(TRIALS, SAMPLES, 2, 9, 9)
    expected = results(network, x)
    with Quick():
        found = results(network, x)
    assert not calls
    for got, wanted in zip(found, expected, strict=True):
        assert torch.equal(got, wanted)


@pytest.fixture
def cnn(spec, choice) -> Callable[[int], object]:
    """Specs of twelve steps of a small convolutional network."""

    def make(seed: int):
        return spec(
            network=choice("network", "cnn2d", channels=(3, 4)),
            dataset="digits",
            loss="cross_entropy",
            activation="relu",
            optimizer=choice("optimizer", "sgd", lr=0.01),
            train_batch_size=128,
            train_epochs=1,
            train_seed=seed,
        )

    return make


@pytest.mark.parametrize("size", [2, 5])
def test_a_trial_of_a_group_is_that_trial_alone_to_a_millionth(size, cnn, run, monkeypatch):
    monkeypatch.setattr(gradients, "TRACE_FROM", 1)
    specs = [cnn(seed) for seed in range(size)]
    job = build(specs)
    assert job.step.note is None  # traced
    codes = [graph.replay.__self__.code for graph in job.step.graphs.values()]
    assert all("convolved" in code and "pooled" in code for code in codes)
    together = run(*specs)[:, :10]
    assert together.shape == (size, 10)
    for row, alone in zip(together, specs, strict=True):
        np.testing.assert_allclose(row, run(alone)[0, :10], rtol=1e-6, atol=1e-6)
