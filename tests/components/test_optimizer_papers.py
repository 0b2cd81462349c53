"""The optimizers beyond torch against their papers' pseudo code, written again in plain numbers.

Averages are sums over all gradients so far where the rules keep running ones; norms and means are
loops. What is shared with the rules is the paper alone.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from lossbench.checks.optimizer_runs import filled
from lossbench.registry import optimizer

STEPS = 14
Floats = list[float]
Array = np.ndarray[Any, Any]


def ours(name: str, start: Any, grads: list[Any], **knobs: Any) -> list[Array]:
    """The weights after each step by the rule, in float64."""
    entry = optimizer[name]
    whole = filled(entry, **knobs)
    params = torch.tensor(start, dtype=torch.float64)
    state, seen = entry.facts.init(params, **whole), []
    for step, grad in enumerate(grads, start=1):
        given = torch.tensor(grad, dtype=torch.float64)
        params, state = entry.function(params, given, state, step, **whole)
        seen.append(params.numpy())
    return seen


def drawn(*shape: int, seed: int = 0, steps: int = STEPS) -> tuple[Array, list[Array]]:
    """A start, and a gradient for each step whose size wanders over two powers of ten."""
    source = np.random.default_rng(seed)
    sizes = 10.0 ** source.uniform(-1, 1, steps)
    return source.normal(size=shape), [size * source.normal(size=shape) for size in sizes]


def ema(values: Floats, keep: float) -> float:
    """An average that starts from zero, as the sum that it stands for."""
    return (1 - keep) * sum(keep ** (len(values) - 1 - i) * v for i, v in enumerate(values))


def corrected(values: Floats, keep: float) -> float:
    return ema(values, keep) / (1 - keep ** len(values))


def squares(values: Floats) -> Floats:
    return [value * value for value in values]


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


# --- one weight by itself: (weight, gradients so far, memory) -> next weight --------------------


def lion(p: float, gs: Floats, lr: float, b1: float, b2: float, wd: float) -> float:
    return p - lr * (sign(b1 * ema(gs[:-1], b2) + (1 - b1) * gs[-1]) + wd * p)


def tiger(p: float, gs: Floats, lr: float, beta: float, wd: float) -> float:
    return p - lr * (sign(ema(gs, beta)) + wd * p)


def adabelief(p: float, gs: Floats, lr: float, b1: float, b2: float, eps: float) -> float:
    strays = [gs[i] - ema(gs[: i + 1], b1) for i in range(len(gs))]
    spread = ema(squares(strays), b2) + eps * sum(b2**i for i in range(len(gs)))
    return p - lr * corrected(gs, b1) / (math.sqrt(spread / (1 - b2 ** len(gs))) + eps)


def adabelief_rectified(p: float, gs: Floats, lr: float, b1: float, b2: float, eps: float) -> float:
    t, limit = len(gs), 2 / (1 - b2) - 1
    length = limit - 2 * t * b2**t / (1 - b2**t)
    if length < 5:
        return p - lr * corrected(gs, b1)
    strays = [gs[i] - ema(gs[: i + 1], b1) for i in range(t)]
    spread = ema(squares(strays), b2) + eps * sum(b2**i for i in range(t))
    factor = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    return p - lr * corrected(gs, b1) * math.sqrt(factor * (1 - b2**t)) / (math.sqrt(spread) + eps)


def yogi(p: float, gs: Floats, lr: float, b1: float, b2: float, eps: float, v0: float) -> float:
    v, m, t = v0, v0 * b1 ** len(gs) + ema(gs, b1), len(gs)
    for square in squares(gs):
        v += (1 - b2) * (square if v < square else -square)
    return p - lr * m / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + eps)


def adopt(p: float, gs: Floats, lr: float, b1: float, b2: float, eps: float) -> float:
    if len(gs) == 1:
        return p
    v, scaled = gs[0] ** 2, []
    for number, g in enumerate(gs[1:], start=1):
        bound = number**0.25
        scaled.append(min(bound, max(-bound, g / max(math.sqrt(v), eps))))
        v = b2 * v + (1 - b2) * g * g
    return p - lr * ema(scaled, b1)


def adan(
    p: float, gs: Floats, lr: float, b1: float, b2: float, b3: float, eps: float, wd: float
) -> float:
    changes = [0.0, *(after - before for before, after in pairwise(gs))]
    mixed = [(g + b2 * change) ** 2 for g, change in zip(gs, changes, strict=True)]
    size = math.sqrt(corrected(mixed, b3)) + eps
    step = (corrected(gs, b1) + b2 * corrected(changes, b2)) / size
    return (p - lr * step) / (1 + lr * wd)


def ademamix(
    p: float, gs: Floats, lr: float, b1: float, b2: float, b3: float, alpha: float, wd: float
) -> float:
    size = math.sqrt(corrected(squares(gs), b2)) + 1e-8
    return p - lr * ((corrected(gs, b1) + alpha * ema(gs, b3)) / size + wd * p)


def ademamix_warm(p: float, gs: Floats, lr: float, alpha: float, warm: int) -> float:
    b1, b2, b3, slow = 0.9, 0.999, 0.9999, 0.0
    for number, g in enumerate(gs, start=1):
        share = min(1.0, number / warm)
        life = (1 - share) * math.log(0.5) / math.log(b1) + share * math.log(0.5) / math.log(b3)
        keep = 0.5 ** (1 / life)
        slow = keep * slow + (1 - keep) * g
    size = math.sqrt(corrected(squares(gs), b2)) + 1e-8
    return p - lr * (corrected(gs, b1) + alpha * min(1.0, len(gs) / warm) * slow) / size


def aggmo(p: float, gs: Floats, lr: float, betas: Floats) -> float:
    sums = [sum(beta ** (len(gs) - 1 - i) * g for i, g in enumerate(gs)) for beta in betas]
    return p - lr * sum(sums) / len(betas)


def qhm(p: float, gs: Floats, lr: float, beta: float, nu: float) -> float:
    return p - lr * ((1 - nu) * gs[-1] + nu * ema(gs, beta))


def qhadam(p: float, gs: Floats, lr: float, b1: float, b2: float, n1: float, n2: float) -> float:
    above = (1 - n1) * gs[-1] + n1 * corrected(gs, b1)
    below = math.sqrt((1 - n2) * gs[-1] ** 2 + n2 * corrected(squares(gs), b2)) + 1e-8
    return p - lr * above / below


SINGLE: list[tuple[str, dict[str, Any], Callable[[float, Floats], float]]] = [
    (
        "lion",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.3},
        lambda p, gs: lion(p, gs, 0.01, 0.8, 0.95, 0.3),
    ),
    (
        "tiger",
        {"lr": 0.01, "beta": 0.9, "weight_decay": 0.3},
        lambda p, gs: tiger(p, gs, 0.01, 0.9, 0.3),
    ),
    ("signsgd", {"lr": 0.01}, lambda p, gs: p - 0.01 * sign(gs[-1])),
    (
        "adabelief",
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "rectify": False},
        lambda p, gs: adabelief(p, gs, 0.02, 0.8, 0.9, 1e-3),
    ),
    (
        "adabelief",
        {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3},
        lambda p, gs: adabelief_rectified(p, gs, 0.02, 0.8, 0.9, 1e-3),
    ),
    (
        "yogi",
        {"lr": 0.02, "betas": (0.8, 0.9), "initial_accumulator": 0.01},
        lambda p, gs: yogi(p, gs, 0.02, 0.8, 0.9, 1e-3, 0.01),
    ),
    (
        "adopt",
        {"lr": 0.02, "betas": (0.8, 0.9)},
        lambda p, gs: adopt(p, gs, 0.02, 0.8, 0.9, 1e-6),
    ),
    (
        "adan",
        {"lr": 0.02, "betas": (0.9, 0.7, 0.8), "weight_decay": 0.3},
        lambda p, gs: adan(p, gs, 0.02, 0.9, 0.7, 0.8, 1e-8, 0.3),
    ),
    (
        "ademamix",
        {"lr": 0.02, "betas": (0.8, 0.9, 0.99), "alpha": 3.0, "weight_decay": 0.3},
        lambda p, gs: ademamix(p, gs, 0.02, 0.8, 0.9, 0.99, 3.0, 0.3),
    ),
    (
        "ademamix",
        {"lr": 0.02, "alpha_warmup": 8, "beta3_warmup": 8},
        lambda p, gs: ademamix_warm(p, gs, 0.02, 5.0, 8),
    ),
    (
        "aggmo",
        {"lr": 0.02, "betas": (0.1, 0.5, 0.9)},
        lambda p, gs: aggmo(p, gs, 0.02, [0.1, 0.5, 0.9]),
    ),
    ("qhm", {"lr": 0.02, "momentum": 0.9}, lambda p, gs: qhm(p, gs, 0.02, 0.9, 0.7)),
    (
        "qhadam",
        {"lr": 0.02, "betas": (0.8, 0.9), "nus": (0.7, 0.6)},
        lambda p, gs: qhadam(p, gs, 0.02, 0.8, 0.9, 0.7, 0.6),
    ),
]


@pytest.mark.parametrize(
    ("name", "knobs", "after"), SINGLE, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(SINGLE)]
)
def test_each_weight_goes_the_way_of_the_paper(
    name: str, knobs: dict[str, Any], after: Callable[[float, Floats], float]
) -> None:
    start, grads = drawn(5)
    found = ours(name, start, grads, **knobs)
    for weight, p in enumerate(start):
        seen: Floats = []
        for step, grad in enumerate(grads):
            seen.append(float(grad[weight]))
            p = after(float(p), seen)
            assert found[step][weight] == pytest.approx(p, rel=1e-11, abs=1e-12), (weight, step)


# --- one tensor at a time: generators of the weights after each step --------------------------


def length(values: Array) -> float:
    return math.sqrt(sum(float(v) ** 2 for v in values.flatten()))


def lamb(p: Array, gs: list[Array], lr: float, wd: float, clip: bool = False) -> Iterator[Array]:
    for t in range(1, len(gs) + 1):
        m = sum(0.1 * 0.9 ** (t - 1 - i) * gs[i] for i in range(t)) / (1 - 0.9**t)
        v = sum(0.001 * 0.999 ** (t - 1 - i) * gs[i] ** 2 for i in range(t)) / (1 - 0.999**t)
        u = m / (np.sqrt(v) + 1e-6) + wd * p
        ratio = length(p) / length(u)
        p = p - lr * (min(1.0, ratio) if clip else ratio) * u
        yield p


def lars(p: Array, gs: list[Array], lr: float, wd: float, c: float) -> Iterator[Array]:
    steps: list[Array] = []
    for t, g in enumerate(gs, start=1):
        steps.append(c * length(p) / (length(g) + wd * length(p) + 1e-8) * (g + wd * p))
        p = p - lr * sum(0.9 ** (t - 1 - i) * step for i, step in enumerate(steps))
        yield p


def novograd(p: Array, gs: list[Array], lr: float, wd: float, share: float) -> Iterator[Array]:
    steps: list[Array] = []
    for t in range(1, len(gs) + 1):
        lengths = [length(g) ** 2 for g in gs[:t]]
        v = 0.98 ** (t - 1) * lengths[0] + sum(
            0.02 * 0.98 ** (t - 1 - i) * lengths[i] for i in range(1, t)
        )
        steps.append(share * (gs[t - 1] / (math.sqrt(v) + 1e-8) + wd * p))
        p = p - lr * sum(0.95 ** (t - 1 - i) * step for i, step in enumerate(steps))
        yield p


def mars(p: Array, gs: list[Array], lr: float, gamma: float) -> Iterator[Array]:
    fixed: list[Array] = []
    for t, g in enumerate(gs, start=1):
        before = gs[t - 2] if t > 1 else g
        c = g + gamma * 0.95 / 0.05 * (g - before)
        fixed.append(c / max(1.0, length(c)))
        m = sum(0.05 * 0.95 ** (t - 1 - i) * c for i, c in enumerate(fixed)) / (1 - 0.95**t)
        v = sum(0.01 * 0.99 ** (t - 1 - i) * c**2 for i, c in enumerate(fixed)) / (1 - 0.99**t)
        p = p - lr * m / (np.sqrt(v) + 1e-8)
        yield p


def power(matrix: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return sum(
        value**exponent * np.outer(vector, vector)
        for value, vector in zip(values, vectors.T, strict=True)
    )


def shampoo(p: Array, gs: list[Array], lr: float, eps: float) -> Iterator[Array]:
    for t in range(1, len(gs) + 1):
        left = eps * np.eye(len(p)) + sum(g @ g.T for g in gs[:t])
        right = eps * np.eye(p.shape[1]) + sum(g.T @ g for g in gs[:t])
        p = p - lr * power(left, -0.25) @ gs[t - 1] @ power(right, -0.25)
        yield p


def soap(p: Array, gs: list[Array], lr: float, wd: float, every: int) -> Iterator[Array]:
    keep, eps = 0.95, 1e-8
    left, right = (1 - keep) * gs[0] @ gs[0].T, (1 - keep) * gs[0].T @ gs[0]
    rotate = [np.linalg.eigh(matrix)[1][:, ::-1] for matrix in (left, right)]
    v, m = np.zeros_like(p), np.zeros_like(p)
    yield p
    for t, g in enumerate(gs[1:], start=1):
        m = keep * m + (1 - keep) * g
        v = keep * v + (1 - keep) * (rotate[0].T @ g @ rotate[1]) ** 2
        inner = (rotate[0].T @ m @ rotate[1]) / (np.sqrt(v) + eps)
        rate = lr * math.sqrt(1 - keep**t) / (1 - keep**t)
        p = (p - rate * rotate[0] @ inner @ rotate[1].T) * (1 - lr * wd)
        left, right = keep * left + (1 - keep) * g @ g.T, keep * right + (1 - keep) * g.T @ g
        if t % every == 0:
            for side, matrix in enumerate((left, right)):
                sizes = np.diag(rotate[side].T @ matrix @ rotate[side])
                order = np.argsort(-sizes, kind="stable")
                v = np.take(v, order, axis=side)
                rotate[side] = np.linalg.qr(matrix @ rotate[side][:, order])[0]
        yield p


TENSOR: list[tuple[str, dict[str, Any], Callable[[Array, list[Array]], Iterator[Array]]]] = [
    ("lamb", {"lr": 0.02, "weight_decay": 0.3}, lambda p, gs: lamb(p, gs, 0.02, 0.3)),
    (
        "lamb",
        {"lr": 0.02, "weight_decay": 0.0, "always_adapt": True, "trust_clip": True},
        lambda p, gs: lamb(p, gs, 0.02, 0.0, clip=True),
    ),
    (
        "lars",
        {"lr": 0.5, "weight_decay": 0.3, "trust_coefficient": 0.01},
        lambda p, gs: lars(p, gs, 0.5, 0.3, 0.01),
    ),
    ("novograd", {"lr": 0.02, "weight_decay": 0.3}, lambda p, gs: novograd(p, gs, 0.02, 0.3, 1.0)),
    (
        "novograd",
        {"lr": 0.02, "grad_averaging": True},
        lambda p, gs: novograd(p, gs, 0.02, 0.0, 0.05),
    ),
    ("mars", {"lr": 0.02, "gamma": 0.1}, lambda p, gs: mars(p, gs, 0.02, 0.1)),
    ("shampoo", {"lr": 0.1, "eps": 1e-2}, lambda p, gs: shampoo(p, gs, 0.1, 1e-2)),
    (
        "soap",
        {"lr": 0.02, "weight_decay": 0.3, "precondition_frequency": 3},
        lambda p, gs: soap(p, gs, 0.02, 0.3, 3),
    ),
]


@pytest.mark.parametrize(
    ("name", "knobs", "path"), TENSOR, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(TENSOR)]
)
def test_each_tensor_goes_the_way_of_the_paper(
    name: str, knobs: dict[str, Any], path: Callable[[Array, list[Array]], Iterator[Array]]
) -> None:
    start, grads = drawn(3, 4)
    found = ours(name, start, grads, **knobs)
    for step, wanted in enumerate(path(start, grads)):
        np.testing.assert_allclose(found[step], wanted, rtol=1e-8, atol=1e-10, err_msg=str(step))


# --- the whole model --------------------------------------------------------------------------


def prodigy(p: Array, gs: list[Array], d0: float, lr: float, wd: float) -> Iterator[Array]:
    b1, b2, p0, d, best = 0.9, 0.999, p, d0, d0
    b3, r, s = math.sqrt(b2), 0.0, np.zeros_like(p)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for g in gs:
        r = b3 * r + d * d * lr / d0 * sum(float(a) for a in g * (p0 - p))
        s = b3 * s + d * d * lr / d0 * g
        m, v = b1 * m + (1 - b1) * d * g, b2 * v + (1 - b2) * (d * g) ** 2
        found = r / sum(abs(float(a)) for a in s)
        best = max(best, found)
        rate, d = d * lr, best
        p = p - rate * wd * p
        p = p - rate * m / (np.sqrt(v) + d * 1e-8)
        yield p


def dadapt_adam(p: Array, gs: list[Array], d0: float, lr: float) -> Iterator[Array]:
    b1, b2, d, r = 0.9, 0.999, d0, 0.0
    root, s = math.sqrt(b2), np.zeros_like(p)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for g in gs:
        rate = d * lr
        r = root * r + (1 - root) * rate * float((g * s / (np.sqrt(v) + 1e-8)).sum())
        s = root * s + (1 - root) * rate * g
        m, v = b1 * m + (1 - b1) * rate * g, b2 * v + (1 - b2) * g**2
        d = max(d, r / ((1 - root) * float(np.abs(s).sum())))
        p = p - m / (np.sqrt(v) + 1e-8)
        yield p


def dadapt_sgd(p: Array, gs: list[Array], d0: float, lr: float, keep: float) -> Iterator[Array]:
    d, first, past, rates = d0, length(gs[0]), p, []
    for t, _ in enumerate(gs, start=1):
        rates.append(d * lr / first)
        # 2 sum over i < j of rate_i rate_j <g_i, g_j> = |s|^2 - the sum of the squares
        s = sum(rate * g for rate, g in zip(rates, gs, strict=False))
        alone = sum(length(rate * g) ** 2 for rate, g in zip(rates, gs[:t], strict=True))
        d = max(d, (length(s) ** 2 - alone) / length(s))
        p = keep * p + (1 - keep) * (past - s)
        yield p


MODEL: list[tuple[str, dict[str, Any], Callable[[Array, list[Array]], Iterator[Array]]]] = [
    (
        "prodigy",
        {"d0": 0.05, "lr": 0.8, "weight_decay": 0.3},
        lambda p, gs: prodigy(p, gs, 0.05, 0.8, 0.3),
    ),
    ("dadapt_adam", {"d0": 0.05, "lr": 0.8}, lambda p, gs: dadapt_adam(p, gs, 0.05, 0.8)),
    (
        "dadapt_sgd",
        {"d0": 0.05, "lr": 0.8, "momentum": 0.6},
        lambda p, gs: dadapt_sgd(p, gs, 0.05, 0.8, 0.6),
    ),
]


@pytest.mark.parametrize(("name", "knobs", "path"), MODEL, ids=[name for name, _, _ in MODEL])
def test_whole_models_go_the_way_of_the_paper(
    name: str, knobs: dict[str, Any], path: Callable[[Array, list[Array]], Iterator[Array]]
) -> None:
    # Gradients that agree with each other, so that the estimate of the rate grows.
    start, grads = drawn(6)
    grads = [grad + 2.0 * np.sign(start) for grad in grads]
    found = ours(name, start, grads, **knobs)
    wanted = list(path(start, grads))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    fixed = ours(name, start, grads, **{**knobs, "growth_rate": 1.0})
    assert np.abs(fixed[-1] - wanted[-1]).max() > 1e-3  # the estimate has grown


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adam", "dadapt_sgd"])
def test_estimated_rate_does_not_know_the_unit_of_the_loss(name: str) -> None:
    start, grads = drawn(6)
    once = ours(name, start, grads)
    thrice = ours(name, start, [3.0 * grad for grad in grads])
    np.testing.assert_allclose(thrice, once, rtol=1e-6, atol=1e-9)


def schedule_free(
    start: Array, gs: list[Array], lr: float, share: float, warm: int, adam: bool, wd: float
) -> list[tuple[Array, Array]]:
    """(y, x) after each step, the average x written out as the weighted mean of all z."""
    z, y, weights, path, seen = start, start, [], [], []
    for t, g in enumerate(gs, start=1):
        rate = lr * min(1.0, t / warm) if warm else lr
        if adam:
            rate *= math.sqrt(1 - 0.999**t)
            v = sum(0.001 * 0.999 ** (t - 1 - i) * gs[i] ** 2 for i in range(t))
            g = g / (np.sqrt(v) + 1e-8)
        z = z - rate * (g + wd * y)
        weights.append(max([rate, *weights]))
        path.append(z)
        x = sum(w**2 * point for w, point in zip(weights, path, strict=True))
        x = x / sum(w**2 for w in weights)
        y = (1 - share) * z + share * x
        seen.append((y, x))
    return seen


@pytest.mark.parametrize("warm", [0, 5])
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_trains_between_path_and_average(name: str, warm: int) -> None:
    start, grads = drawn(6)
    entry, adam = optimizer[name], name.endswith("adamw")
    knobs = filled(entry, lr=0.05, warmup_steps=warm, weight_decay=0.3)
    knobs |= {"betas": (0.8, 0.999)} if adam else {"momentum": 0.8}
    params = torch.tensor(start)
    state = entry.facts.init(params, **knobs)
    for step, (y, x) in enumerate(schedule_free(start, grads, 0.05, 0.8, warm, adam, 0.3), 1):
        params, state = entry.function(params, torch.tensor(grads[step - 1]), state, step, **knobs)
        assert entry.facts.evaluate is not None
        np.testing.assert_allclose(params, y, rtol=1e-10, atol=1e-12)
        seen = entry.facts.evaluate(params, state, **knobs)
        np.testing.assert_allclose(seen, x, rtol=1e-9, atol=1e-11)


# --- wrappers ---------------------------------------------------------------------------------


def test_lookahead_goes_half_the_way_every_k_steps() -> None:
    start, grads = drawn(6)
    found = ours("lookahead", start, grads, base="signsgd", lr=0.1, k=4, alpha=0.3)
    slow, fast = start, start
    for step, grad in enumerate(grads, start=1):
        fast = fast - 0.1 * np.sign(grad)
        if step % 4 == 0:
            fast = slow = slow + 0.3 * (fast - slow)
        np.testing.assert_allclose(found[step - 1], fast, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "knobs"), [("lookahead", {"alpha": 1.0}), ("sam", {"rho": 0.0}), ("asam", {})]
)
def test_wrapper_that_does_nothing_is_its_base(name: str, knobs: dict[str, Any]) -> None:
    start, grads = drawn(6)
    wrapped = ours(name, start, grads, base="adam", lr=0.05, **knobs)
    np.testing.assert_allclose(wrapped, ours("adam", start, grads, lr=0.05), rtol=1e-12)


def test_sam_climbs_by_rho_along_the_gradient_of_the_whole_model() -> None:
    facts = optimizer["sam"].facts
    assert facts.second_pass is not None
    params, grads = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    climbed = facts.second_pass(params, grads, **filled(optimizer["sam"], rho=0.5))
    # Each row is a trial: one climbs by 0.5, the other has nowhere to go.
    torch.testing.assert_close(climbed, torch.tensor([[0.3, 0.4], [0.0, 0.0]]))


def test_asam_does_not_see_how_a_weight_is_scaled() -> None:
    entry = optimizer["asam"]
    params, scale = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([2.0, 10.0, 0.1]).double()
    grads = torch.tensor([0.3, -0.7, 2.0]).double()
    assert entry.facts.second_pass is not None
    knobs = filled(entry, eta=0.0)
    once = entry.facts.second_pass(params, grads, **knobs)
    # A weight that is c times as large has a gradient that is 1 / c times as large.
    scaled = entry.facts.second_pass(params * scale, grads / scale, **knobs)
    torch.testing.assert_close(scaled, once * scale, rtol=1e-12, atol=1e-12)
    with_norm = (params.abs() * grads).norm()
    torch.testing.assert_close(once, params + 0.5 * params**2 * grads / with_norm)


def test_sam_leaves_a_narrow_valley_that_sgd_stays_in() -> None:
    """Beside a narrow valley, the gradient of the worst place nearby pushes out of it."""

    def slope(x: torch.Tensor) -> torch.Tensor:
        narrow = 0.5 * torch.exp(-((x / 0.1) ** 2)) * (2 * x / 0.01)
        return narrow + 0.2 * (x - 1)

    def trained(name: str) -> float:
        entry = optimizer[name]
        knobs = filled(entry, lr=0.005, **({"rho": 0.3} if name == "sam" else {}))
        x = torch.tensor([0.02]).double()
        state = entry.facts.init(x, **knobs)
        for step in range(1, 2001):
            grads = slope(x)
            if entry.facts.second_pass is not None:
                grads = slope(entry.facts.second_pass(x, grads, **knobs))
            x, state = entry.function(x, grads, state, step, **knobs)
        return float(x)

    assert abs(trained("sgd")) < 0.05
    assert trained("sam") > 0.2


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_cautious_adamw_leaves_out_what_goes_against_the_gradient(weight_decay: float) -> None:
    start, grads = drawn(3, 4)
    base = filled(optimizer["cautious"], base="adamw")["base"]
    base.knobs["weight_decay"] = weight_decay
    found = ours("cautious", start, grads, base=base, lr=0.05)
    p = start
    for t, g in enumerate(grads, start=1):
        m = sum(0.1 * 0.9 ** (t - 1 - i) * grads[i] for i in range(t))
        v = sum(0.001 * 0.999 ** (t - 1 - i) * grads[i] ** 2 for i in range(t))
        kept = (m * g > 0).astype(float)
        u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = p * (1 - 0.05 * weight_decay) - 0.05 * u * kept / max(kept.mean(), 1e-3)
        np.testing.assert_allclose(found[t - 1], p, rtol=1e-10, atol=1e-12)


# --- what others publish, and what must not matter --------------------------------------------


def test_single_steps_that_keras_publishes() -> None:
    start, grads = [1.0, 2.0, 3.0, 4.0], [[1.0, 6.0, 7.0, 2.0]]
    np.testing.assert_allclose(ours("lion", start, grads, lr=0.5)[0], [0.5, 1.5, 2.5, 3.5])
    # Keras' Lamb adapts every tensor, and adds its epsilon of 1e-7 before the bias correction.
    lamb_step = ours("lamb", start, grads, lr=0.5, weight_decay=0.0, always_adapt=True)[0]
    np.testing.assert_allclose(lamb_step, [-0.3693, 0.6306, 1.6306, 2.6306], atol=1e-4)


def test_five_steps_of_lion_and_lamb_that_keras_publishes() -> None:
    grads = [np.full(10, 0.01), *[np.arange(0.1, 1.05, 0.1)] * 4]
    for name, knobs, golden in (
        ("lion", {}, [0.999, 0.998, 0.997, 0.996, 0.995]),
        (
            "lamb",
            {"weight_decay": 0.0, "always_adapt": True},
            [0.999, 0.9982, 0.9974, 0.9965, 0.9955],
        ),
    ):
        found = ours(name, np.ones(10), grads, lr=0.001, **knobs)
        for step, value in enumerate(golden):
            np.testing.assert_allclose(found[step], np.full(10, value), rtol=5e-4, atol=5e-4)


@pytest.mark.parametrize(
    "name", ["lion", "tiger", "signsgd", "lamb", "lars", "novograd", "adabelief", "adopt", "soap"]
)
def test_scale_of_the_gradient_does_not_matter(name: str) -> None:
    start, grads = drawn(3, 4)
    knobs: dict[str, Any] = {"weight_decay": 0.0}  # an L2 penalty has a scale of its own
    if "eps" in optimizer[name].defaults():
        knobs["eps"] = 1e-30
    if name == "adabelief":  # its warm-up steps are plain momentum
        knobs["rectify"] = False
    once = ours(name, start, grads, **knobs)
    large = ours(name, start, [1000.0 * grad for grad in grads], **knobs)
    np.testing.assert_allclose(large, once, rtol=1e-9, atol=1e-11)


def test_shampoo_and_soap_do_not_see_a_rotation_of_rows_and_columns() -> None:
    start, grads = drawn(3, 4)
    source = np.random.default_rng(1)
    left, right = (np.linalg.qr(source.normal(size=(n, n)))[0] for n in (3, 4))
    for name in ("shampoo", "soap"):
        once = ours(name, start, grads)
        turned = ours(name, left @ start @ right, [left @ grad @ right for grad in grads])
        np.testing.assert_allclose(turned[-1], left @ once[-1] @ right, rtol=1e-6, atol=1e-8)


def test_soap_without_bases_is_adam_from_the_second_gradient_on() -> None:
    start, grads = drawn(3, 4)
    knobs = {"betas": (0.9, 0.99), "lr": 0.02, "weight_decay": 0.0}
    still = ours("soap", start, grads, max_precondition_dim=2, **knobs)
    plain = ours("adamw", start, grads[1:], **knobs)
    np.testing.assert_allclose(still[0], start)
    np.testing.assert_allclose(still[1:], plain, rtol=1e-5)  # eps stands before the correction


def test_steps_of_lars_are_a_fixed_share_of_the_weights() -> None:
    start, grads = drawn(3, 4, steps=1)
    moved = ours("lars", start, grads, lr=1.0, trust_coefficient=0.02)[0]
    assert length(moved - start) == pytest.approx(0.02 * length(start), rel=1e-6)
