"""Losses of views and of labelled embeddings: at published numbers, against loops, in corners."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.components.vocabulary import Terms
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss


def terms(name: str, *inputs: Tensor, **options: Any) -> Terms:
    entry = loss.find(name)
    more = {n: options.pop(n) for n in [*entry.facts.parameters] if n in options}
    for key, first in entry.facts.state.items():
        made = first(inputs[0].shape[-1]) if callable(first) else torch.tensor(first)
        more[key] = options.pop(key, made.to(inputs[0].dtype))
    return loss_function(entry, options)(*inputs, **more)


def value(name: str, *inputs: Tensor, reduction: str = "mean", **options: Any) -> Tensor:
    return reduce(terms(name, *inputs, **options), reduction)


def views(seed: int = 0, rows: int = 5, size: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, rows, size, generator=source, dtype=torch.float64)
    return first, first + 0.7 * second


def labelled(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of 3, 2, 1 and 2 samples, in mixed order."""
    source = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(8, 3, generator=source, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
    return embeddings, labels[torch.randperm(8, generator=source)]


def cosine(u: Tensor, v: Tensor) -> float:
    return float(u @ v / (u.norm() * v.norm()))


def logsum(numbers: list[float]) -> float:
    return math.log(sum(math.exp(x) for x in numbers))


# --- published numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "temperature", "expected"),
    [
        ([[1, 1, 0, 0]], [[1, 1, 0, 0]], 0.5, 0.0),
        ([[1, 1, 0, 0]] * 2, [[1, 1, 0, 0]] * 2, 0.5, 1.0986),
        ([[1, 2, 3, 4], [1, 1, 0, 0]], [[0, 0, 0, 0], [1, 1, 0, 0]], 0.5, 0.8719),
        ([[0, 0, 1, 1]], [[1, 1, 0, 0]], 0.05, 0.0),
    ],
)
def test_nt_xent_at_the_numbers_of_monai(
    first: list[list[int]], second: list[list[int]], temperature: float, expected: float
) -> None:
    pair = (torch.tensor(view, dtype=torch.float32) for view in (first, second))
    found = value("nt_xent", *pair, temperature=temperature)
    assert found.item() == pytest.approx(expected, abs=1e-4)


OPTAX = [[-1.9540, 1.0780], [0.2380, -0.5703], [1.8745, -0.0195], [-0.6719, -1.9210]]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("nt_xent_labels", [0, 0, 1, 1], 14.01032),
        ("nt_xent_labels", [0, 0, 0, 1], 8.968544),
        ("supcon", [0, 0, 1, 1], 14.01032),  # with one positive for each they are the same
    ],
)
def test_labels_at_the_numbers_of_optax(name: str, labels: list[int], expected: float) -> None:
    found = value(name, torch.tensor(OPTAX), torch.tensor(labels), temperature=0.07)
    assert found.item() == pytest.approx(expected, abs=1e-4)


KERAS = (
    torch.tensor(
        [
            [0.70014004, -0.42008403, 0.14002801, 0.56011203],
            [0.17609018, 0.70436073, -0.52827054, 0.44022545],
            [-0.34050261, 0.25537696, -0.68100522, 0.59587957],
            [0.32163376, -0.75047877, 0.53605627, -0.21442251],
            [0.51261459, -0.34174306, 0.17087153, 0.76892189],
        ]
    ),
    torch.tensor([1, 1, 2, 2, 3]),
)
KERAS_MORE = (
    torch.tensor(
        [
            [0.40824829, -0.54433105, 0.27216553, 0.68041382],
            [0.76376261, 0.10910895, -0.54554473, 0.32732684],
            [-0.74420841, 0.24806947, 0.49613894, -0.3721042],
            [0.52981294, -0.13245324, 0.79471941, -0.26490647],
            [0.54554473, -0.32732684, 0.10910895, 0.76376261],
            [-0.27216553, 0.68041382, 0.40824829, -0.54433105],
        ]
    ),
    torch.tensor([1, 1, 2, 2, 3, 4]),
)


def test_circle_at_the_numbers_of_keras() -> None:
    """One of the 5 samples has no positive: it does not count in the mean."""
    assert value("circle", *KERAS).item() == pytest.approx(188.3883, rel=1e-6)
    faces = value("circle", *KERAS, gamma=256.0, margin=0.25)
    assert faces.item() == pytest.approx(652.7617, rel=1e-6)
    each = value("circle", *KERAS_MORE, reduction="none")
    expected_each = torch.tensor([82.9116, 36.7942, 92.4590, 52.6798, 0.0, 0.0])
    torch.testing.assert_close(each, expected_each, rtol=0, atol=1e-3)
    assert value("circle", *KERAS_MORE, reduction="sum").item() == pytest.approx(264.845, abs=1e-3)


@pytest.mark.parametrize(
    ("lambd", "first", "second", "expected"),
    [
        (5e-3, [[1, 1, 0, 0]] * 2, [[1, 1, 0, 0]] * 2, 4.0),
        (5e-3, [[1, 0, 1, 1], [0, 1, 1, 0]], [[1, 1, 1, 0], [1, 1, 0, 1]], 5.2562),
        (5e-4, [[2, 3, 1, 2], [0, 1, 2, 5]], [[1, 2, 3, 4], [5, 6, 7, 8]], 5.0015),
        (
            5e-3,
            [[1, 2, 1, 1], [3, 1, 1, 2], [1, 1, 1, 1], [2, 1, 1, 0]],
            [
                [0, 1, -1, 0],
                [1 / 3, 0, -2 / 3, 1 / 3],
                [-2 / 3, -1, 7 / 3, 1 / 3],
                [1 / 3, 0, 1 / 3, -2 / 3],
            ],
            1.4736,
        ),
    ],
)
def test_barlow_twins_at_the_numbers_of_monai(
    lambd: float, first: list[list[float]], second: list[list[float]], expected: float
) -> None:
    pair = (torch.tensor(view, dtype=torch.float32) for view in (first, second))
    found = value("barlow_twins", *pair, lambd=lambd, unbiased=True)
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


# --- views, by loops --------------------------------------------------------------------------


def test_views_against_loops() -> None:
    first, second = views()
    count, t = len(first), 0.3
    both = [*first, *second]
    for i in range(count):
        row = [cosine(first[i], v) / t for v in second]
        column = [cosine(u, second[i]) / t for u in first]
        forth, back = logsum(row) - row[i], logsum(column) - column[i]
        info = terms("info_nce", first, second, temperature=t).values[i]
        assert info.item() == pytest.approx(forth)
        found = terms("clip", first, second, temperature=t).values[i]
        assert found.item() == pytest.approx((forth + back) / 2)
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        scaled = {k: cosine(both[i], both[k]) / t for k in range(2 * count) if k != i}
        own = scaled[partner]
        rest = [s for k, s in scaled.items() if k != partner]
        found = terms("nt_xent", first, second, temperature=t).values[i]
        assert found.item() == pytest.approx(logsum([*scaled.values()]) - own)
        found = terms("decoupled_contrastive", first, second, temperature=t).values[i]
        assert found.item() == pytest.approx(logsum(rest) - own)


def test_nt_xent_is_the_softplus_of_the_decoupled_one() -> None:
    """ln(e^p + sum e^n) - p = ln(1 + e^(lse(n) - p))."""
    pair = views(4)
    decoupled = value("dcl", *pair, temperature=0.2, reduction="none")
    coupled = value("nt_xent", *pair, temperature=0.2, reduction="none")
    torch.testing.assert_close(coupled, F.softplus(decoupled))


def test_supcon_with_one_positive_is_nt_xent() -> None:
    first, second = views(5)
    rows = torch.arange(len(first)).repeat(2)
    both = torch.cat([first, second])
    expected = value("nt_xent", first, second, temperature=0.2, reduction="none")
    for name in ("supcon", "nt_xent_labels"):
        found = value(name, both, rows, temperature=0.2, reduction="none")
        torch.testing.assert_close(found, expected)


def test_clip_learns_its_scale_up_to_a_bound() -> None:
    pair = views()
    at_50 = value("clip", *pair, temperature=0.02)
    learned = value("clip", *pair, temperature=0.1, log_scale=torch.tensor(math.log(5)))
    torch.testing.assert_close(learned, at_50)
    bounded = value("clip", *pair, log_scale=torch.tensor(20.0))
    torch.testing.assert_close(bounded, value("clip", *pair, temperature=0.01))


def test_siglip_is_a_binary_cross_entropy_of_all_pairs() -> None:
    first, second = views()
    logits = 10 * F.normalize(first) @ F.normalize(second).T - 10
    expected = F.binary_cross_entropy_with_logits(
        logits, torch.eye(5, dtype=torch.float64), reduction="sum"
    )
    torch.testing.assert_close(value("siglip", first, second), expected / 5)
    learned = value(
        "siglip", first, second, scale=2.0, bias=-7.0,
        log_scale=torch.tensor(5.0).log(), shift=torch.tensor(-3.0),
    )  # fmt: skip
    torch.testing.assert_close(learned, expected / 5)


# --- labels, by loops -------------------------------------------------------------------------


def supcon(own: list[float], rest: list[float]) -> float:
    return sum(logsum([*own, *rest]) - s for s in own) / len(own)


def nt_xent_labels(own: list[float], rest: list[float]) -> float:
    return sum(logsum([s, *rest]) - s for s in own)


def circle(own: list[float], rest: list[float]) -> float:
    g, m = 12.0, 0.3
    pull = logsum([-g * max(0.0, 1 + m - s) * (s - 1 + m) for s in own])
    push = logsum([g * max(0.0, s + m) * (s - m) for s in rest])
    return math.log(1 + math.exp(pull + push))


def multi_similarity(own: list[float], rest: list[float]) -> float:
    pull = math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in own)) / 2
    return pull + math.log(1 + sum(math.exp(40 * (s - 0.5)) for s in rest)) / 40


Anchor = Callable[[list[float], list[float]], float]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "by_hand", "scale", "knobs"),
    [
        ("supcon", supcon, 1 / 0.4, {"temperature": 0.4}),
        ("nt_xent_labels", nt_xent_labels, 1 / 0.4, {"temperature": 0.4}),
        ("circle", circle, 1.0, {"gamma": 12.0, "margin": 0.3}),
        ("multi_similarity", multi_similarity, 1.0, {"beta": 40.0}),
    ],
)
def test_labels_against_loops(
    name: str, by_hand: Anchor, scale: float, knobs: dict[str, float], seed: int
) -> None:
    embeddings, labels = labelled(seed)
    found = terms(name, embeddings, labels, **knobs)
    total, count = 0.0, 0
    for i in range(len(labels)):
        near = [j for j in range(len(labels)) if j != i]
        each = {j: scale * cosine(embeddings[i], embeddings[j]) for j in near}
        own = [each[j] for j in near if labels[j] == labels[i]]
        rest = [each[j] for j in near if labels[j] != labels[i]]
        alone = not own and name != "multi_similarity"
        expected = 0.0 if alone else by_hand(own, rest)
        assert found.values[i].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        total += expected
        count += {"nt_xent_labels": len(own), "multi_similarity": 1}.get(name, int(bool(own)))
    assert found.mean().item() == pytest.approx(total / count)


# --- without negatives ------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0, 1e-4), (5.0, 5.0, 5.0, 1e-6)])
def test_vicreg_as_its_three_terms(weights: tuple[float, float, float, float]) -> None:
    first, second = views(1, rows=32, size=6)
    invariance, variance, covariance, eps = weights
    expected = invariance * F.mse_loss(first, second)
    for view in (first, second):
        spread = torch.sqrt(view.var(0) + eps)
        matrix = torch.cov(view.T)
        apart = matrix.square().sum() - matrix.diagonal().square().sum()
        expected = expected + variance * F.relu(1 - spread).mean() / 2 + covariance * apart / 6
    found = value(
        "vicreg", first, second,
        invariance=invariance, variance=variance, covariance=covariance, eps=eps,
    )  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_barlow_twins_as_the_authors_compute_it() -> None:
    """With batch normalization without learned parameters."""
    first, second = views(2, rows=16, size=6)
    norm = torch.nn.BatchNorm1d(6, affine=False, dtype=torch.float64)
    matrix = norm(first).T @ norm(second) / 16
    aim = torch.full((6, 6), 5e-3).double().fill_diagonal_(1.0)
    expected = (aim * (matrix - torch.eye(6).double()).square()).sum()
    torch.testing.assert_close(value("barlow_twins", first, second), expected)


def test_byol_and_simsiam() -> None:
    first, second = views()
    expected = (F.normalize(first) - F.normalize(second)).square().sum(1)
    torch.testing.assert_close(value("byol", first, second, reduction="none"), expected)
    simsiam = value("simsiam", first, second, reduction="none")
    torch.testing.assert_close(simsiam, -F.cosine_similarity(first, second))
    leaves = [view.clone().requires_grad_() for view in (first, second)]
    (value("byol", *leaves) + value("simsiam", *leaves)).backward()
    assert leaves[0].grad is not None
    assert leaves[1].grad is None


def test_dino_against_torch_and_its_moving_center() -> None:
    student, teacher = views(3)
    center = torch.linspace(-1, 1, 4).double()
    found = terms("dino", student, teacher, center=center)
    wanted = torch.softmax((teacher - center) / 0.04, 1)
    expected = F.cross_entropy(student / 0.1, wanted, reduction="none")
    torch.testing.assert_close(found.values, expected)
    assert found.state is not None
    torch.testing.assert_close(found.state["center"], 0.9 * center + 0.1 * teacher.mean(0))


def test_alignment_and_uniformity_as_the_paper_has_them() -> None:
    first, second = views(6)
    x, y = F.normalize(first), F.normalize(second)
    align = (x - y).norm(dim=1).pow(3).mean()
    uniform = sum(torch.pdist(z).pow(2).mul(-1.5).exp().mean().log() for z in (x, y))
    found = value("align_uniform", first, second, alpha=3.0, t=1.5, lambd=0.5)
    torch.testing.assert_close(found, align + 0.5 * uniform / 2)


# --- invariances and corners ------------------------------------------------------------------

VIEWS = [
    "info_nce", "nt_xent", "decoupled_contrastive", "clip", "siglip", "barlow_twins", "vicreg",
    "byol", "simsiam", "dino", "align_uniform",
]  # fmt: skip
LABELS = ["supcon", "nt_xent_labels", "circle", "multi_similarity"]


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_samples_does_not_matter(seed: int) -> None:
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    embeddings, labels = labelled(seed)
    for name in LABELS:
        turned = value(name, embeddings[order], labels[order])
        torch.testing.assert_close(turned, value(name, embeddings, labels))
    first, second = views(seed, rows=8)
    for name in VIEWS:
        turned = value(name, first[order], second[order])
        torch.testing.assert_close(turned, value(name, first, second))


@pytest.mark.parametrize("name", [*VIEWS, *LABELS])
def test_a_batch_of_one(name: str) -> None:
    second = torch.tensor([0]) if name in LABELS else torch.tensor([[0.3, -0.1]])
    first = torch.tensor([[1.0, 2.0]], requires_grad=True)
    found = value(name, first, second)
    (gradient,) = torch.autograd.grad(found, first)
    assert bool(torch.isfinite(found))
    assert bool(torch.isfinite(gradient).all())
    if name in (*LABELS, "info_nce", "nt_xent", "decoupled_contrastive", "clip"):
        assert found == 0
        assert bool((gradient == 0).all())


@pytest.mark.parametrize("name", ["supcon", "nt_xent_labels", "circle"])
@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 3]], ids=["one class", "all alone"])
def test_nothing_to_compare_costs_nothing(name: str, labels: list[int]) -> None:
    embeddings = labelled()[0][:4].clone().requires_grad_()
    found = value(name, embeddings, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(found, embeddings)
    assert found == 0
    assert bool((gradient == 0).all())


@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["zero vectors", "all equal"])
@pytest.mark.parametrize("name", [*VIEWS, *LABELS])
def test_equal_and_zero_vectors(name: str, scale: float) -> None:
    first = torch.full((4, 3), scale, requires_grad=True)
    second = torch.tensor([0, 0, 1, 1]) if name in LABELS else torch.full((4, 3), scale)
    found = value(name, first, second)
    (gradient,) = torch.autograd.grad(found, first)
    assert bool(torch.isfinite(found))
    assert bool(torch.isfinite(gradient).all())
