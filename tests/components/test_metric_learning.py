"""Losses of distances, proxies and orders: at published numbers, against loops, in corners."""

import math
from itertools import permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.components.vocabulary import Terms
from lossbench.errors import UsageError
from lossbench.evaluate.losses import prepare
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss


def terms(name: str, *inputs: Any, **options: Any) -> Terms:
    entry = loss.find(name)
    learned = {n: options.pop(n) for n in [*entry.facts.parameters] if n in options}
    return loss_function(entry, options)(*inputs, **learned)


def value(name: str, *inputs: Any, reduction: str = "mean", **options: Any) -> Tensor:
    return reduce(terms(name, *inputs, **options), reduction)


def labelled(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of 3, 2, 1 and 2 samples, in mixed order."""
    source = torch.Generator().manual_seed(seed)
    embeddings = 0.6 * torch.randn(8, 3, generator=source, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
    return embeddings, labels[torch.randperm(8, generator=source)]


def distances(embeddings: Tensor) -> list[list[float]]:
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist").tolist()


def sides(labels: Tensor, i: int) -> tuple[list[int], list[int]]:
    """Return the positives and the negatives of an anchor."""
    rest = [j for j in range(len(labels)) if j != i]
    return [j for j in rest if labels[j] == labels[i]], [j for j in rest if labels[j] != labels[i]]


# --- published numbers ------------------------------------------------------------------------

APART = torch.tensor([0.1, 0.3, 1.3, 0.7, 1.1, 0.5], dtype=torch.float64)
ALIKE = torch.tensor([0, 0, 1, 1, 0, 1])


@pytest.mark.parametrize(("margin", "expected"), [(1.0, 0.621666), (2.0, 1.623333)])
def test_contrastive_at_the_numbers_of_tensorflow_addons(margin: float, expected: float) -> None:
    """Given as distances there; here also as points on a line that lie so far apart."""
    found = value("contrastive", APART, None, ALIKE, margin=margin)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    points = torch.tensor([[2.0, -1.0]]).double().expand(6, 2)
    moved = points + APART.unsqueeze(1) * torch.tensor([0.6, 0.8]).double()
    assert value("contrastive", points, moved, ALIKE, margin=margin).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_contrastive_one_by_one() -> None:
    found = value("contrastive", APART, None, ALIKE, reduction="none")
    expected = torch.tensor([0.81, 0.49, 1.69, 0.49, 0.0, 0.25]).double()
    torch.testing.assert_close(found, expected)


CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def test_npairs_at_the_numbers_of_tensorflow_addons() -> None:
    products = CORNERS @ CORNERS.T
    for given_as in ((CORNERS, CORNERS), (products, None)):
        found = value("npairs", *given_as, torch.arange(4))
        assert found.item() == pytest.approx(0.253856, abs=1e-6)
        single = value("npairs_multilabel", *given_as, torch.eye(4))
        assert single.item() == pytest.approx(0.253856, abs=1e-6)
        labels = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
        found = value("npairs_multilabel", *given_as, labels)
        assert found.item() == pytest.approx(1.420522, abs=1e-6)


def test_ranking_softmax_at_the_numbers_of_optax() -> None:
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0], [3.0, 1.0, 4.0, 2.0]])
    labels = torch.tensor([[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 1.0, 0.0]])
    total = math.log(sum(map(math.exp, (0, 1, 2, 3))))
    expected = torch.tensor([2 * total - 3, 3 * (total + 1) - 2 * 3 - 4])
    found = value("ranking_softmax", scores, labels, reduction="none")
    torch.testing.assert_close(found, expected)
    extreme = torch.tensor([[0.0, -2.1e26, 3.4e37, 42.0]])
    found = value("ranking_softmax", extreme, torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
    assert found.item() == pytest.approx(3.4e37, rel=1e-3)
    assert value("ranking_softmax", scores, torch.zeros(2, 4)) == 0


# --- by loops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_triplets_against_loops(seed: int, squared: bool, soft: bool) -> None:
    embeddings, labels = labelled(seed)
    d = [[x**2 if squared else x for x in row] for row in distances(embeddings)]

    def cost(near: float, far: float) -> float:
        return math.log(1 + math.exp(near - far)) if soft else max(0.0, near - far + 0.3)

    found: dict[str, list[float]] = {"all": [], "hard": [], "semi_hard": []}
    for i in range(len(labels)):
        positives, negatives = sides(labels, i)
        found["all"] += [cost(d[i][p], d[i][n]) for p in positives for n in negatives]
        if positives:
            worst = max(d[i][p] for p in positives)
            found["hard"].append(cost(worst, min(d[i][n] for n in negatives)))
        for p in positives:
            ranked = sorted(d[i][n] for n in negatives)
            chosen = next((far for far in ranked if far > d[i][p]), ranked[-1])
            found["semi_hard"].append(cost(d[i][p], chosen))
    for mining, costs in found.items():
        knobs = {"mining": mining, "soft": soft, "squared": squared, "margin": 0.3}
        mean = value("triplet", embeddings, labels, **knobs)
        assert mean.item() == pytest.approx(sum(costs) / len(costs))
        values = terms("triplet", embeddings, labels, **knobs).values
        assert int((values > 0).sum()) == sum(x > 0 for x in costs)


def test_all_triplets_are_those_of_torch() -> None:
    embeddings, labels = labelled(5)
    rows = [
        (i, p, n)
        for i in range(8) for p in sides(labels, i)[0] for n in sides(labels, i)[1]
    ]  # fmt: skip
    each = (embeddings[list(part)] for part in zip(*rows, strict=True))
    expected = F.triplet_margin_loss(*each, margin=1.0, eps=0.0)
    torch.testing.assert_close(value("triplet", embeddings, labels), expected)


@pytest.mark.parametrize("seed", range(3))
def test_lifted_structure_against_a_loop(seed: int) -> None:
    """Over all ordered pairs: the mean is the same as over i < j."""
    embeddings, labels = labelled(seed)
    d, costs = distances(embeddings), []
    for i, j in permutations(range(8), 2):
        if labels[i] == labels[j]:
            negatives = sides(labels, i)[1]
            ends = [math.exp(0.8 - d[end][k]) for end in (i, j) for k in negatives]
            costs.append(max(0.0, d[i][j] + math.log(sum(ends))) ** 2 / 2)
    found = value("lifted_structure", embeddings, labels, margin=0.8)
    assert found.item() == pytest.approx(sum(costs) / len(costs))
    total = value("lifted_structure", embeddings, labels, margin=0.8, reduction="sum")
    assert total.item() == pytest.approx(sum(costs) / 2)  # each pair once


@pytest.mark.parametrize("seed", range(3))
def test_angular_against_a_loop(seed: int) -> None:
    embeddings, labels = labelled(seed)
    u, costs = F.normalize(embeddings), []
    tangent = math.tan(math.radians(35)) ** 2
    for i in range(8):
        positives, negatives = sides(labels, i)
        for p in positives:
            toward = [4 * tangent * float((u[i] + u[p]) @ u[n]) for n in negatives]
            own = 2 * (1 + tangent) * float(u[i] @ u[p])
            costs.append(math.log(1 + sum(math.exp(x - own) for x in toward)))
    found = value("angular", embeddings, labels, alpha=35.0)
    assert found.item() == pytest.approx(sum(costs) / len(costs))


@pytest.mark.parametrize("seed", range(3))
def test_margin_against_a_loop(seed: int) -> None:
    embeddings, labels = labelled(seed)
    d, costs = distances(F.normalize(embeddings)), []
    for i, j in permutations(range(8), 2):
        beyond = d[i][j] - 1.2 if labels[i] == labels[j] else 1.2 - d[i][j]
        costs.append(max(0.0, 0.2 + beyond))
    active = [x for x in costs if x > 0]
    assert 0 < len(active) < len(costs)
    found = value("margin", embeddings, labels)
    assert found.item() == pytest.approx(sum(active) / len(active))


def test_npairs_with_shared_classes_and_lengths() -> None:
    source = torch.Generator().manual_seed(3)
    anchor, positive = torch.randn(2, 5, 3, generator=source, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 0])
    logs = torch.log_softmax(anchor @ positive.T, 1)
    alike = {0: [0, 2, 4], 1: [1], 2: [3]}
    for i, y in enumerate(labels.tolist()):
        expected = -sum(float(logs[i, j]) for j in alike[y]) / len(alike[y])
        expected += 0.1 * float(anchor[i] @ anchor[i] + positive[i] @ positive[i]) / 4
        found = terms("npairs", anchor, positive, labels, l2_reg=0.1).values[i]
        assert found.item() == pytest.approx(expected)


# --- proxies ----------------------------------------------------------------------------------


def test_proxies_against_loops() -> None:
    embeddings, labels = labelled(2)
    proxies = torch.randn(5, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    u, v = F.normalize(embeddings), F.normalize(proxies)
    away = [[float((x - p).square().sum()) for p in v] for x in u]
    for i, y in enumerate(labels.tolist()):
        chances = [math.exp(-3 * square) for square in away[i]]
        found = terms("proxy_nca", embeddings, labels, weight=proxies, scale=3.0).values[i]
        assert found.item() == pytest.approx(-math.log(chances[y] / sum(chances)))
    pull, push, present = 0.0, 0.0, set(labels.tolist())
    for j, p in enumerate(v):
        own = [math.exp(-8 * (float(x @ p) - 0.1)) for x in u[labels == j]]
        rest = [math.exp(8 * (float(x @ p) + 0.1)) for x in u[labels != j]]
        pull += math.log(1 + sum(own))
        push += math.log(1 + sum(rest))
    assert len(present) == 4  # the fifth proxy has no sample, and is only repelled
    found = value("proxy_anchor", embeddings, labels, weight=proxies, alpha=8.0)
    assert found.item() == pytest.approx(pull / 4 + push / 5)


def test_proxy_nca_is_normface_with_twice_the_scale() -> None:
    embeddings, labels = labelled(2)
    proxies = labelled(3)[0][:4]
    found = value("proxy_nca", embeddings, labels, weight=proxies, scale=7.0)
    expected = value("normface", embeddings, labels, weight=proxies, scale=14.0)
    torch.testing.assert_close(found, expected)


# --- orders -----------------------------------------------------------------------------------


def test_ranknet_is_bpr_and_the_logistic_loss_of_the_difference() -> None:
    better, worse = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.5, 3.0, 0.5])
    assert loss.find("bpr_loss") is loss["ranknet"]
    found = value("ranknet", better, worse, sigma=2.0, reduction="none")
    logistic = value("logistic", 2 * (better - worse), torch.ones(3), reduction="none")
    torch.testing.assert_close(found, logistic)
    torch.testing.assert_close(found[2], torch.tensor(math.log(2)))


# --- the same loss for other inputs -----------------------------------------------------------


def test_a_loss_is_found_in_the_form_that_takes_what_is_given() -> None:
    embeddings = [[-1.9540, 1.0780], [0.2380, -0.5703], [1.8745, -0.0195], [-0.6719, -1.9210]]
    params = {"temperature": 0.07, "form": "labels"}
    call = prepare(loss["nt_xent"], params, {"embeddings": embeddings}, [0, 0, 0, 1])
    assert call.entry is loss["nt_xent_labels"]
    assert call.terms().mean().item() == pytest.approx(8.968544, abs=1e-4)
    single = {"anchor": [[0, 0], [1, 1]], "positive": [[0.1, 0.1], [1.1, 1.1]]}
    call = prepare(loss["triplet"], {}, single | {"negative": [[1, 0], [0, 1]]})
    assert call.terms().values.tolist() == pytest.approx([0.1414, 0.1414], abs=1e-4)
    views = {"view1": embeddings, "view2": embeddings}
    assert prepare(loss["nt_xent"], {}, views).entry is loss["nt_xent"]


def test_distances_and_products_may_be_given_as_they_are() -> None:
    call = prepare(loss["contrastive"], {}, {"input": APART.tolist()}, ALIKE.tolist())
    assert call.terms().mean().item() == pytest.approx(0.621666, abs=1e-6)
    products = (CORNERS @ CORNERS.T).tolist()
    call = prepare(loss["npairs"], {}, {"input": products}, [0, 1, 2, 3])
    assert call.terms().mean().item() == pytest.approx(0.253856, abs=1e-6)
    with pytest.raises(UsageError, match="triplet_margin takes anchor, positive and negative"):
        prepare(loss["triplet_margin"], {}, {"anchor": [[0, 0]], "positive": [[1, 1]]})


@pytest.mark.parametrize("entry", [entry for entry in loss.values() if entry.facts.forms])
def test_forms_exist_and_take_other_inputs(entry: Any) -> None:
    for name in entry.facts.forms:
        assert set(loss[name].inputs) != set(entry.inputs)


# --- invariances and corners ------------------------------------------------------------------

NAMES: dict[str, dict[str, Any]] = {
    "all": {"name": "triplet"},
    "hard": {"name": "triplet", "mining": "hard"},
    "semi_hard": {"name": "triplet", "mining": "semi_hard", "soft": True},
    "lifted_structure": {"name": "lifted_structure"},
    "angular": {"name": "angular"},
    "margin": {"name": "margin"},
}


def of(case: str, embeddings: Tensor, labels: Tensor) -> Tensor:
    options = dict(NAMES[case])
    return value(options.pop("name"), embeddings, labels, **options)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_order_place_and_orientation_do_not_matter(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    order = torch.randperm(8, generator=source)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=source, dtype=torch.float64)).Q
    shift = torch.randn(3, generator=source, dtype=torch.float64)
    embeddings, labels = labelled(seed)
    for case in NAMES:
        plain = of(case, embeddings, labels)
        torch.testing.assert_close(of(case, embeddings[order], labels[order]), plain)
        moved = embeddings @ turn + (0 if case in ("angular", "margin") else shift)
        torch.testing.assert_close(of(case, moved, labels), plain)


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 3], [0]])
@pytest.mark.parametrize("case", [case for case in NAMES if case != "margin"])
def test_nothing_to_compare_costs_nothing(case: str, labels: list[int]) -> None:
    embeddings = labelled()[0][: len(labels)].clone().requires_grad_()
    found = of(case, embeddings, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(found, embeddings)
    assert found == 0
    assert bool((gradient == 0).all())


@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 3], [0, 0, 1, 1]])
@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["zero vectors", "all equal"])
@pytest.mark.parametrize("case", NAMES)
def test_equal_and_zero_vectors(case: str, scale: float, labels: list[int]) -> None:
    embeddings = torch.full((4, 3), scale, requires_grad=True)
    found = of(case, embeddings, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(found, embeddings)
    assert bool(torch.isfinite(found))
    assert bool(torch.isfinite(gradient).all())


def test_classes_that_are_far_apart_cost_nothing() -> None:
    embeddings = torch.tensor([[0.0, 0.0], [0.0, 0.1], [50.0, 0.0], [50.0, 0.1]])
    labels = torch.tensor([0, 0, 1, 1])
    for mining in ("all", "hard", "semi_hard"):
        assert value("triplet", embeddings, labels, mining=mining) == 0
    assert value("lifted_structure", embeddings, labels) == 0
