"""AdaBound, MADGRAD and FTRL against their papers in plain numbers, and against published ones."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.checks.optimizer_runs import filled
from lossbench.registry import optimizer

Array = np.ndarray[Any, Any]


def ours(name: str, start: Array, grads: list[Array], **knobs: Any) -> list[Array]:
    """The weights after each step by the rule, in float64."""
    entry = optimizer[name]
    whole = filled(entry, **knobs)
    params = torch.tensor(start, dtype=torch.float64)
    state, seen = entry.facts.init(params, **whole), []
    for step, grad in enumerate(grads, start=1):
        params, state = entry.function(params, torch.tensor(grad), state, step, **whole)
        seen.append(params.numpy())
    return seen


@pytest.fixture
def wandering() -> tuple[Array, list[Array]]:
    source = np.random.default_rng(3)
    sizes = 10.0 ** source.uniform(-1, 1, 14)
    return source.normal(size=6), [size * source.normal(size=6) for size in sizes]


def adabound(p: float, gs: list[float], lr: float, final: float, gamma: float) -> Iterator[float]:
    for t in range(1, len(gs) + 1):
        m = sum(0.1 * 0.9 ** (t - 1 - i) * gs[i] for i in range(t))
        v = sum(0.001 * 0.999 ** (t - 1 - i) * gs[i] ** 2 for i in range(t))
        rate = lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) / (math.sqrt(v) + 1e-8)
        low, high = final - final / (gamma * t + 1), final + final / (gamma * t)
        p -= min(high, max(low, rate)) * m
        yield p


def madgrad(p: float, gs: list[float], lr: float, keep: float) -> Iterator[float]:
    first = p
    for t in range(1, len(gs) + 1):
        weights = [(lr + 1e-6) * math.sqrt(i + 1) for i in range(t)]
        s = sum(w * g for w, g in zip(weights, gs[:t], strict=True))
        v = sum(w * g * g for w, g in zip(weights, gs[:t], strict=True))
        p = keep * p + (1 - keep) * (first - s / (v ** (1 / 3) + 1e-6))
        yield p


def test_adabound_goes_the_way_of_the_paper(wandering: tuple[Array, list[Array]]) -> None:
    start, grads = wandering
    for gamma in (1e-3, 0.5):  # bounds that are wide, and bounds that bind
        found = ours("adabound", start, grads, lr=0.02, gamma=gamma)
        for weight, p in enumerate(start):
            path = adabound(float(p), [float(g[weight]) for g in grads], 0.02, 0.1, gamma)
            np.testing.assert_allclose([f[weight] for f in found], list(path), rtol=1e-10)


def test_adabound_ends_as_gradient_descent(wandering: tuple[Array, list[Array]]) -> None:
    start, grads = wandering
    bound = ours("adabound", start, grads, gamma=1e9, final_lr=0.05)
    # Gradient descent with an average for a momentum.
    plain = ours("qhm", start, grads, lr=0.05, momentum=0.9, nu=1.0)
    np.testing.assert_allclose(bound, plain, rtol=1e-7, atol=1e-9)


def test_madgrad_goes_the_way_of_the_paper(wandering: tuple[Array, list[Array]]) -> None:
    start, grads = wandering
    for keep in (0.0, 0.9):
        found = ours("madgrad", start, grads, lr=0.02, momentum=keep)
        for weight, p in enumerate(start):
            path = madgrad(float(p), [float(g[weight]) for g in grads], 0.02, keep)
            np.testing.assert_allclose([f[weight] for f in found], list(path), rtol=1e-10)


def test_ftrl_makes_the_steps_that_keras_publishes() -> None:
    step = ours("ftrl", np.array([1.0, 2.0, 3.0, 4.0]), [np.array([1.0, 6.0, 7.0, 2.0])], lr=0.5)
    np.testing.assert_allclose(step[0], [0.2218, 1.3954, 2.3651, 2.8814], atol=1e-4)
    knobs = {
        "lr": 0.05,
        "lr_power": -0.2,
        "initial_accumulator_value": 0.4,
        "l1": 0.05,
        "l2": 0.15,
        "l2_shrinkage": 0.01,
        "beta": 0.3,
    }
    found = ours(
        "ftrl", np.ones(10), [np.full(10, 0.01), *[np.arange(0.1, 1.05, 0.1)] * 4], **knobs
    )
    ends = [(0.0, 0.0), (-0.0034, -0.0354), (-0.0078, -0.0685), (-0.0121, -0.0999)]
    for weights, (first, last) in zip(found, [*ends, (-0.0164, -0.1299)], strict=True):
        np.testing.assert_allclose([weights[0], weights[-1]], [first, last], atol=5e-4)


def test_ftrl_without_penalties_is_adagrad(wandering: tuple[Array, list[Array]]) -> None:
    start, grads = wandering
    # Following the leader starts from 0: the first weights are in no gradient.
    found = ours("ftrl", 0 * start, grads, lr=0.1, initial_accumulator_value=0.1)
    plain = ours("adagrad", 0 * start, grads, lr=0.1, initial_accumulator_value=0.1, eps=0.0)
    np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-12)


def test_ftrl_makes_weights_exactly_zero(wandering: tuple[Array, list[Array]]) -> None:
    _, grads = wandering
    small = [1e-3 * grad for grad in grads]
    assert not np.any(ours("ftrl", np.zeros(6), small, l1=1.0)[-1])
