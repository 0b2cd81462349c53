"""Softmax with margins and norms: against loops in plain Python, each other, and their limits."""

import math
import statistics
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import lossbench
from lossbench.errors import UsageError
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss

SAMPLES, SIZE, CLASSES = 9, 5, 4


def value(name: str, *inputs: Any, reduction: str = "none", **options: Any) -> Tensor:
    entry = loss.find(name)
    learned = {n: options.pop(n) for n in [*entry.facts.parameters] if n in options}
    state = {n: options.pop(n) for n in [*entry.facts.state] if n in options}
    return reduce(loss_function(entry, options)(*inputs, **learned, **state), reduction)


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    features = torch.randn(SAMPLES, SIZE, generator=source, dtype=torch.float64) * 2
    vectors = torch.randn(CLASSES, SIZE, generator=source, dtype=torch.float64)
    return features, torch.randint(CLASSES, (SAMPLES,), generator=source), vectors


def cosine(u: Tensor, v: Tensor) -> float:
    return float(u @ v / (u.norm() * v.norm()))


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(z - logits[label]) for z in logits))


def psi(angle: float, m: int) -> float:
    """Walk to the interval in which the angle lies, as the paper defines it."""
    k = 0
    while angle > (k + 1) * math.pi / m:
        k += 1
    return (-1) ** k * math.cos(m * angle) - 2 * k


# --- by loops ---------------------------------------------------------------------------------


def true_logit(name: str, f: Tensor, w: Tensor, knobs: dict[str, Any]) -> float:
    """Return the logit of the true class, before any scale."""
    c = cosine(f, w)
    angle, length = math.acos(c), float(f.norm())
    if name == "cosface":
        return c - knobs["margin"]
    if name == "arcface":
        m = knobs["margin"]
        return math.cos(angle + m) if angle <= math.pi - m else c - m * math.sin(m)
    mixed = (knobs["lambd"] * c + psi(angle, knobs["margin"])) / (1 + knobs["lambd"])
    return mixed * length * (float(w.norm()) if name == "l_softmax" else 1.0)


CASES = [
    ("cosface", {"scale": 30.0, "margin": 0.35}),
    ("arcface", {"scale": 64.0, "margin": 0.5}),
    ("arcface", {"scale": 8.0, "margin": 2.5}),
    ("l_softmax", {"margin": 1, "lambd": 0.0}),
    ("l_softmax", {"margin": 4, "lambd": 0.0}),
    ("l_softmax", {"margin": 3, "lambd": 5.0}),
    ("a_softmax", {"margin": 4, "lambd": 0.0, "scale": 1.0}),
    ("a_softmax", {"margin": 7, "lambd": 2.0, "scale": 0.5}),
]


@pytest.mark.parametrize(("name", "knobs"), CASES)
def test_margins_against_a_loop(name: str, knobs: dict[str, Any]) -> None:
    features, labels, vectors = draw()
    found = value(name, features, labels, weight=vectors, **knobs)
    for i, (f, y) in enumerate(zip(features, labels.tolist(), strict=True)):
        plain = {
            "l_softmax": lambda w, f=f: float(f @ w),
            "a_softmax": lambda w, f=f: float(f @ w / w.norm()),
        }.get(name, lambda w, f=f: cosine(f, w))
        logits = [plain(w) for w in vectors]
        logits[y] = true_logit(name, f, vectors[y], knobs)
        scaled = [knobs.get("scale", 1.0) * z for z in logits]
        assert found[i].item() == pytest.approx(cross_entropy(scaled, y), rel=1e-9, abs=1e-12)


def test_large_margin_softmax_by_multiple_angles() -> None:
    """cos(4 t) = 8 c^4 - 8 c^2 + 1, without any angle."""
    angle = torch.linspace(0.01, math.pi - 0.01, 300, dtype=torch.float64)
    c = torch.cos(angle)
    turn = torch.div(4 * angle, math.pi, rounding_mode="floor")
    own = (-1) ** turn * (8 * c**4 - 8 * c**2 + 1) - 2 * turn
    labels = torch.zeros(300, dtype=torch.long)
    logits = torch.stack([own, torch.zeros_like(own)], 1)
    ready = torch.stack([c, torch.zeros_like(c)], 1)
    expected = F.cross_entropy(logits, labels, reduction="none")
    for name in ("l_softmax", "a_softmax"):
        torch.testing.assert_close(value(name, ready, labels), expected)


def test_curricularface_against_a_loop() -> None:
    features, labels, vectors = draw(3)
    hardness, scale, margin = torch.tensor(0.3, dtype=torch.float64), 16.0, 0.5
    found = loss_function(loss["curricularface"], {"scale": scale, "margin": margin})(
        features, labels, weight=vectors, hardness=hardness
    )
    own = [cosine(f, vectors[y]) for f, y in zip(features, labels.tolist(), strict=True)]
    mean = 0.99 * 0.3 + 0.01 * sum(own) / len(own)
    assert found.state is not None
    assert found.state["hardness"].item() == pytest.approx(mean)
    hard = 0
    for i, (f, y) in enumerate(zip(features, labels.tolist(), strict=True)):
        limit = math.cos(math.acos(own[i]) + margin)
        logits = []
        for j, w in enumerate(vectors):
            c = cosine(f, w)
            hard += j != y and c > limit
            logits.append(c * (mean + c) if c > limit else c)
        logits[y] = true_logit("arcface", f, vectors[y], {"margin": margin})
        expected = cross_entropy([scale * z for z in logits], y)
        assert found.values[i].item() == pytest.approx(expected)
    assert 0 < hard < SAMPLES * (CLASSES - 1)


def test_magface_against_a_loop() -> None:
    """Features from below the shortest to above the longest length that tells anything."""
    features, labels, vectors = draw(1)
    wanted = torch.tensor([1, 9, 11, 20, 40, 60, 90, 109, 200], dtype=torch.float64)
    features = F.normalize(features) * wanted.unsqueeze(1)
    found = value("magface", features, labels, weight=vectors, scale=16.0)
    for i, (f, y) in enumerate(zip(features, labels.tolist(), strict=True)):
        a = min(max(float(wanted[i]), 10.0), 110.0)
        margin = 0.45 + (0.8 - 0.45) * (a - 10) / 100
        logits = [cosine(f, w) for w in vectors]
        logits[y] = true_logit("arcface", f, vectors[y], {"margin": margin})
        expected = cross_entropy([16 * z for z in logits], y) + 20 * (1 / a + a / 110**2)
        assert found[i].item() == pytest.approx(expected, rel=1e-9)
    inner = features[2:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: value("magface", x, labels[2:8], weight=vectors, scale=4.0), [inner]
    )


def test_magface_refuses_a_wrong_order() -> None:
    features, labels, vectors = draw()
    with pytest.raises(UsageError, match="lengths are from the smaller to the larger"):
        value("magface", features, labels, weight=vectors, lengths=(110.0, 10.0))
    with pytest.raises(UsageError, match="margins are from the smaller to the larger"):
        value("magface", features, labels, weight=vectors, margins=(0.8, 0.45))


@pytest.mark.parametrize("h", [0.333, 50.0])  # 50: the quality meets both its bounds
def test_adaface_against_a_loop(h: float) -> None:
    features, labels, vectors = draw(1)
    entry = loss["adaface"]
    found = loss_function(entry, {"scale": 16.0, "h": h, "momentum": 0.4})(
        features,
        labels,
        weight=vectors,
        mean_length=torch.tensor(5.0).double(),
        length_deviation=torch.tensor(2.0).double(),
    )
    lengths = [float(f.norm()) for f in features]
    mean = 0.4 * 5 + 0.6 * statistics.mean(lengths)
    deviation = 0.4 * 2 + 0.6 * statistics.stdev(lengths)
    assert found.state is not None
    assert found.state["mean_length"].item() == pytest.approx(mean)
    assert found.state["length_deviation"].item() == pytest.approx(deviation)
    for i, (f, y) in enumerate(zip(features, labels.tolist(), strict=True)):
        quality = min(max(h * (lengths[i] - mean) / (deviation + 0.001), -1), 1)
        logits = [cosine(f, w) for w in vectors]
        angle = min(max(math.acos(logits[y]) - 0.4 * quality, 0), math.pi)
        logits[y] = math.cos(angle) - 0.4 * (1 + quality)
        expected = cross_entropy([16 * z for z in logits], y)
        assert found.values[i].item() == pytest.approx(expected, rel=1e-9)


def test_subcenter_arcface_takes_the_nearest_center() -> None:
    features, labels, vectors = draw()
    one = value("subcenter_arcface", features, labels, weight=vectors.unsqueeze(1))
    torch.testing.assert_close(one, value("arcface", features, labels, weight=vectors))
    centers = torch.stack([vectors, draw(1)[2], draw(2)[2]], 1)
    nearest = torch.stack(
        [F.cosine_similarity(features.unsqueeze(1), centers[:, k], dim=-1) for k in range(3)]
    ).amax(0)
    found = value("subcenter_arcface", features, labels, weight=centers)
    torch.testing.assert_close(found, value("arcface", nearest, labels))


def test_l2_softmax_and_center_against_torch() -> None:
    features, labels, vectors = draw()
    short = 16 * F.normalize(features) @ vectors.T
    torch.testing.assert_close(
        value("l2_softmax", features, labels, weight=vectors),
        F.cross_entropy(short, labels, reduction="none"),
    )
    torch.testing.assert_close(
        value("l2_softmax", features, labels, weight=F.normalize(vectors)),
        value("normface", features, labels, weight=vectors, scale=16.0),
    )
    torch.testing.assert_close(
        value("center", features, labels, centers=vectors),
        F.mse_loss(features, vectors[labels], reduction="none").sum(1) / 2,
    )


def test_gradient_descent_moves_a_center_as_the_authors_do() -> None:
    features, labels, vectors = draw()
    centers = vectors.clone().requires_grad_()
    value("center", features, labels, centers=centers, reduction="sum").backward()
    assert centers.grad is not None
    for j in range(CLASSES):
        own = features[labels == j]
        step = (vectors[j] - own).sum(0) / (1 + len(own))
        torch.testing.assert_close(centers.grad[j] / (1 + len(own)), step)


# --- each other -------------------------------------------------------------------------------


def test_without_margin_all_are_one() -> None:
    features, labels, vectors = draw()
    plain = value("normface", features, labels, weight=vectors, scale=64.0)
    for name in ("arcface", "cosface", "am_softmax"):
        torch.testing.assert_close(value(name, features, labels, weight=vectors, margin=0.0), plain)
    torch.testing.assert_close(
        value("l_softmax", features, labels, weight=vectors, margin=1),
        F.cross_entropy(features @ vectors.T, labels, reduction="none"),
    )
    # With features of length 64, SphereFace with m = 1 is normface too.
    torch.testing.assert_close(
        value("a_softmax", 64 * F.normalize(features), labels, weight=vectors, margin=1), plain
    )


NAMES = ("normface", "l2_softmax", "cosface", "l_softmax", "a_softmax", "arcface")


@pytest.mark.parametrize("name", NAMES)
def test_ready_cosines_are_unit_vectors(name: str) -> None:
    features, labels, vectors = (draw()[0], draw()[1], F.normalize(draw()[2]))
    features = F.normalize(features)
    torch.testing.assert_close(
        value(name, features @ vectors.T, labels),
        value(name, features, labels, weight=vectors),
    )


def test_weighted_softmax_is_cross_entropy_with_weights() -> None:
    assert loss.find("weighted_softmax") is loss["cross_entropy"]


def test_temperature() -> None:
    """A temperature of 4 flattens: two logits 4 apart are as two logits 1 apart."""
    logits, label = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
    soft = lossbench.losses.temperature_softmax(logits, label, temperature=4.0)
    assert soft.item() == pytest.approx(math.log(1 + math.exp(-1)))


# --- invariances and limits -------------------------------------------------------------------

ANGULAR = ("normface", "cosface", "arcface", "curricularface")


@pytest.mark.parametrize("name", ANGULAR)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_lengths_do_not_matter(name: str, factor: float, seed: int) -> None:
    features, labels, vectors = draw(seed)
    more = {"hardness": torch.tensor(0.2).double()} if name == "curricularface" else {}
    torch.testing.assert_close(
        value(name, factor * features, labels, weight=vectors / factor, **more),
        value(name, features, labels, weight=vectors, **more),
    )


@given(seed=st.integers(0, 200), margin=st.floats(0.01, 1.5))
@settings(max_examples=40, deadline=None)
def test_a_margin_only_makes_it_harder(seed: int, margin: float) -> None:
    features, labels, vectors = draw(seed)
    plain = value("normface", features, labels, weight=vectors, scale=64.0)
    for name in ("arcface", "cosface"):
        harder = value(name, features, labels, weight=vectors, margin=margin)
        assert bool((harder >= plain - 1e-9).all())


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["l_softmax", "arcface"])
def test_the_loss_never_falls_as_the_angle_grows(name: str, m: int) -> None:
    angle = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    ready = torch.stack([torch.cos(angle), torch.zeros_like(angle)], 1)
    knobs = {"margin": m} if name == "l_softmax" else {"margin": m / 4, "scale": 1.0}
    values = value(name, ready, torch.zeros(500, dtype=torch.long), **knobs)
    beyond = angle + m / 4 > math.pi
    # Where arcface changes its form it steps, but each form rises by itself.
    for part in (beyond, ~beyond) if name == "arcface" else (angle > 0,):
        assert bool((values[part].diff() >= -1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*ANGULAR, "l_softmax", "a_softmax", "l2_softmax"])
def test_finite_where_angles_end(name: str, dtype: torch.dtype) -> None:
    """At the class vector, opposite to it, and at the zero vector."""
    vectors = torch.eye(3, dtype=dtype)
    features = torch.stack([vectors[0], -vectors[0], 0 * vectors[0]]).requires_grad_()
    weight = vectors.clone().requires_grad_()
    more = {"hardness": torch.zeros((), dtype=dtype)} if name == "curricularface" else {}
    values = value(name, features, torch.zeros(3, dtype=torch.long), weight=weight, **more)
    values.sum().backward()
    for tensor in (values, features.grad, weight.grad):
        assert tensor is not None
        assert bool(torch.isfinite(tensor).all())
