"""Distances against scipy and scikit-learn, published numbers, and what a distance must keep."""

from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance as reference
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from lossbench.errors import UsageError
from lossbench.kernels import distance_function, loss_function
from lossbench.registry import distance, loss


def found(name: str, *given: Any, pairwise: bool = False, **knobs: Any) -> Tensor:
    tensors = [torch.as_tensor(x) for x in given]
    return distance_function(distance[name], knobs, "formula", pairwise=pairwise)(*tensors)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- published numbers ------------------------------------------------------------------------

# torchvision's tests of box_iou, generalized_box_iou, distance_box_iou and complete_box_iou
BOXES = [[0.0, 0, 100, 100], [0, 0, 50, 50], [200, 200, 300, 300], [0, 0, 25, 25]]
MATRICES = {
    "box_iou": [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 1], [0.0625, 0.25, 0]],
    "generalized_box_iou": [
        [1, 0.25, -0.7778], [0.25, 1, -0.8611], [-0.7778, -0.8611, 1], [0.0625, 0.25, -0.8819],
    ],
    "distance_box_iou": [
        [1, 0.1875, -0.4444], [0.1875, 1, -0.5625], [-0.4444, -0.5625, 1],
        [-0.0781, 0.1875, -0.6267],
    ],
    "complete_box_iou": [
        [1, 0.1875, -0.4444], [0.1875, 1, -0.5625], [-0.4444, -0.5625, 1],
        [-0.0781, 0.1875, -0.6267],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
def test_published_matrices_of_boxes(name: str) -> None:
    got = found(name, BOXES, BOXES[:3], pairwise=True)
    torch.testing.assert_close(got, torch.tensor(MATRICES[name]).float(), rtol=0, atol=1e-4)


def test_published_boxes_that_nearly_agree() -> None:
    """torchvision's boxes with fractions."""
    boxes = [
        [285.3538, 185.5758, 1193.5110, 851.4551],
        [285.1472, 188.7374, 1192.4984, 851.0669],
        [279.2440, 197.9812, 1189.4746, 849.2019],
    ]
    expected = torch.tensor([[1, 0.9933, 0.9673], [0.9933, 1, 0.9737], [0.9673, 0.9737, 1]])
    for name in MATRICES:
        got = found(name, boxes, boxes, pairwise=True)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("similarity", "lost"),
    [
        ("box_iou", "iou"),
        ("generalized_box_iou", "giou"),
        ("distance_box_iou", "diou"),
        ("complete_box_iou", "ciou"),
    ],
)
def test_a_loss_of_boxes_is_one_less_the_similarity(similarity: str, lost: str) -> None:
    a, b = (x.abs().cumsum(1)[:, [0, 1, 2, 3]] for x in (drawn(30, 4), drawn(30, 4, seed=1)))
    values = loss_function(loss[lost], {})(a, b).values
    torch.testing.assert_close(1 - values, found(similarity, a, b))


# --- scipy and scikit-learn -------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.5])
def test_norms_are_those_of_scipy(p: float) -> None:
    a, b = drawn(7, 3), drawn(5, 3, seed=1)
    expected = torch.as_tensor(reference.cdist(a, b, "minkowski", p=p))
    torch.testing.assert_close(found("cdist", a, b, p=p), expected)
    near = found("pairwise_distance", a, b, p=p, eps=1e-12, pairwise=True)
    torch.testing.assert_close(near, expected)
    within = torch.as_tensor(reference.pdist(a, "minkowski", p=p))
    torch.testing.assert_close(found("pdist", a, p=p), within)


def test_cosine_and_hamming_are_those_of_scipy() -> None:
    a, b = drawn(7, 3), drawn(5, 3, seed=1)
    expected = torch.as_tensor(reference.cdist(a, b, "cosine"))
    torch.testing.assert_close(found("cosine_distance", a, b, pairwise=True), expected)
    torch.testing.assert_close(found("cosine_similarity", a, b, pairwise=True), 1 - expected)
    words, others = a.round().long(), b.round().long()
    expected = torch.as_tensor(reference.cdist(words, others, "hamming")).float()
    torch.testing.assert_close(found("hamming", words, others, pairwise=True), expected)


def test_mahalanobis_is_that_of_scipy() -> None:
    a, b = drawn(7, 3), drawn(5, 3, seed=1)
    precision = torch.linalg.inv(torch.cov(drawn(50, 3, seed=2).T))
    expected = torch.as_tensor(reference.cdist(a, b, "mahalanobis", VI=precision.numpy()))
    got = found("mahalanobis", a, b, precision, pairwise=True)
    torch.testing.assert_close(got, expected)
    plain = found("mahalanobis", a[:5], b, torch.eye(3).double())
    torch.testing.assert_close(plain, (a[:5] - b).norm(dim=1))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (6, 6), (5, 9), (40, 3)])
def test_wasserstein_is_that_of_scipy(n: int, m: int) -> None:
    a, b = drawn(4, n), drawn(4, m, seed=1)
    a[0, 0] = b[0, 0]  # a number that both heaps hold
    expected = [scipy.stats.wasserstein_distance(x, y) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(found("wasserstein_1d", a, b), torch.tensor(expected).double())


def test_wasserstein_of_equal_heaps_sorts_both() -> None:
    a, b = drawn(4, 9), drawn(4, 9, seed=1)
    expected = (a.sort(1).values - b.sort(1).values).abs().mean(1)
    torch.testing.assert_close(found("wasserstein_1d", a, b), expected)


def test_mmd_is_the_mean_of_the_kernels_of_scikit_learn() -> None:
    a, b = drawn(7, 3).numpy(), drawn(5, 3, seed=1).numpy()
    within = [rbf_kernel(x, gamma=1 / (2 * 1.7**2)).mean() for x in (a, b)]
    across = rbf_kernel(a, b, gamma=1 / (2 * 1.7**2)).mean()
    got = found("mmd_rbf", a, b, bandwidth=1.7).item()
    assert got == pytest.approx(sum(within) - 2 * across, rel=1e-12)


def test_mmd_sees_other_means_and_other_spreads() -> None:
    same, shifted, wider = (
        drawn(200, 2, seed=1),
        drawn(200, 2, seed=2) + 1,
        3 * drawn(200, 2, seed=3),
    )
    a = drawn(200, 2)
    least = found("mmd_rbf", a, same).item()
    assert least < 0.02
    assert found("mmd_rbf", a, shifted).item() > 10 * least
    assert found("mmd_rbf", a, wider).item() > 10 * least


# --- what a distance must keep ----------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), p=st.floats(1, 6))
def test_a_detour_is_never_shorter(seed: int, p: float) -> None:
    a, b, c = drawn(3, 8, 4, seed=seed)
    shape = drawn(4, 4, seed=seed)
    precision = shape @ shape.T + torch.eye(4)
    measures = (
        lambda x, y: found("pairwise_distance", x, y, p=p, eps=1e-15),
        lambda x, y: found("mahalanobis", x, y, precision),
        lambda x, y: found("wasserstein_1d", x, y),
        lambda x, y: found("hamming", x.round(), y.round()),
    )
    for apart in measures:
        assert bool((apart(a, c) <= apart(a, b) + apart(b, c) + 1e-9).all())


def test_neither_length_nor_order_matters_where_it_should_not() -> None:
    a, b = drawn(6, 5), drawn(6, 5, seed=1)
    torch.testing.assert_close(
        found("cosine_similarity", 7 * a, b / 9), found("cosine_similarity", a, b)
    )
    mixed = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(
        found("wasserstein_1d", a[:, mixed], b), found("wasserstein_1d", a, b)
    )
    torch.testing.assert_close(found("mmd_rbf", a[mixed], b), found("mmd_rbf", a[:5], b))


def test_directions_of_vectors_too_long_to_square() -> None:
    a = torch.tensor([[3e30, 4e30]])
    assert found("cosine_similarity", a, torch.tensor([[4e30, 3e30]])).item() == pytest.approx(0.96)
    assert found("pairwise_distance", a, torch.zeros(1, 2)).item() == pytest.approx(5e30)


def test_coordinates_may_lie_in_another_dimension() -> None:
    a, b = drawn(6, 5), drawn(6, 5, seed=1)
    expected = torch.cosine_similarity(a, b, dim=0)
    torch.testing.assert_close(found("cosine_similarity", a, b, dim=0), expected)
    torch.testing.assert_close(
        found("cosine_distance", a, b, dim=1, pairwise=True),
        found("cosine_distance", a, b, pairwise=True),
    )


def test_sets_have_no_matrix() -> None:
    with pytest.raises(UsageError, match="mmd_rbf compares two sets as wholes"):
        found("mmd_rbf", np.zeros((3, 2)), np.zeros((3, 2)), pairwise=True)
