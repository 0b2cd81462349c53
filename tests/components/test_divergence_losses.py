"""Entropy, divergences, scores and ordered classes: against SciPy and scikit-learn, at limits."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from lossbench import losses


def logits(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


def labels(*shape: int, classes: int) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(1))


def test_entropy_is_scipys_and_lies_between_certain_and_even() -> None:
    p = logits(9, 5).softmax(1)
    expected = scipy.stats.entropy(p.numpy(), axis=1)
    torch.testing.assert_close(losses.entropy(p, reduction="none"), torch.tensor(expected))
    ends = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    values = losses.entropy(ends, reduction="none").tolist()
    assert values == pytest.approx([0.0, math.log(4)])


def test_generalized_kl_div_is_scipys_and_kl_div_for_distributions() -> None:
    x, y = logits(6, 4), logits(6, 4, seed=2).exp()
    expected = torch.tensor(scipy.special.kl_div(y.numpy(), x.exp().numpy()))
    torch.testing.assert_close(losses.generalized_kl_div(x, y, reduction="none"), expected)
    logs = losses.generalized_kl_div(x, y.log(), log_target=True, reduction="none")
    torch.testing.assert_close(logs, expected)
    log_p, q = x.log_softmax(1), y / y.sum(1, keepdim=True)
    torch.testing.assert_close(
        losses.generalized_kl_div(log_p, q, reduction="sum"),
        losses.kl_div(log_p, q, reduction="sum"),
    )


def test_js_div_is_the_square_of_scipys_distance_and_symmetric() -> None:
    p, q = logits(7, 4).softmax(1), logits(7, 4, seed=2).softmax(1)
    expected = torch.tensor(jensenshannon(p.numpy(), q.numpy(), axis=1) ** 2)
    torch.testing.assert_close(losses.js_div(p, q, reduction="none"), expected)
    torch.testing.assert_close(losses.js_div(q, p, reduction="none"), expected)
    apart = losses.js_div(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert float(apart) == pytest.approx(math.log(2))


def test_brier_is_scikit_learns() -> None:
    x, y = logits(40, 2), labels(40, classes=2)
    positive = x.softmax(1)[:, 1].numpy()
    # scikit-learn's score of two classes counts one of them: half of the sum over both.
    expected = 2 * sklearn.metrics.brier_score_loss(y.numpy(), positive)
    assert float(losses.brier(x, y)) == pytest.approx(expected)
    wrong = torch.tensor([[1000.0, 0.0, 0.0]])
    assert losses.brier(wrong, torch.tensor([1])).item() == 2


def test_emd2_is_the_ranked_probability_score_and_grows_with_the_distance() -> None:
    x, y = logits(20, 5), labels(20, classes=5)
    cumulated = np.cumsum(x.softmax(1).numpy(), 1)
    steps = np.arange(5) >= y.numpy()[:, None]
    expected = ((cumulated - steps) ** 2).sum(1).mean()
    assert float(losses.emd2(x, y)) == pytest.approx(expected)
    certain = 1e3 * torch.eye(5, dtype=torch.float64)
    costs = losses.emd2(certain, torch.zeros(5, dtype=torch.long), reduction="none")
    assert costs.tolist() == [0, 1, 2, 3, 4]


def test_emd_of_power_one_is_scipys_wasserstein_distance() -> None:
    x, q = logits(6, 5), logits(6, 5, seed=3).softmax(1)
    places = np.arange(5)
    expected = [
        scipy.stats.wasserstein_distance(places, places, a, b)
        for a, b in zip(x.softmax(1).numpy(), q.numpy(), strict=True)
    ]
    assert losses.emd2(x, q, r=1, reduction="none").tolist() == pytest.approx(expected)


def test_coral_is_the_sum_of_cross_entropies_of_the_ranks() -> None:
    x, y = logits(12, 3), labels(12, classes=4)
    levels = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).double()[y]
    each = losses.bce_with_logits(x, levels, reduction="none")
    torch.testing.assert_close(losses.coral(x, y, reduction="none"), each.sum(1))


def test_distribution_focal_is_cross_entropy_to_the_two_bins_around() -> None:
    x = logits(4, 5)
    y = torch.tensor([0.0, 2.25, 4.0, 9.0], dtype=torch.float64)
    q = torch.tensor(
        [[1, 0, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    ).double()
    expected = losses.cross_entropy(x, q, reduction="none")
    torch.testing.assert_close(losses.distribution_focal(x, y, reduction="none"), expected)
    several = losses.distribution_focal(x.reshape(2, 10), y.reshape(2, 2), reduction="none")
    torch.testing.assert_close(several, expected.reshape(2, 2))
