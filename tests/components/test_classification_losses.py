"""Classification losses beyond torch: published numbers, second derivations, limits."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench import losses
from lossbench.errors import UsageError
from lossbench.kernels import loss_function
from lossbench.registry import loss


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(shape, generator=source(seed), dtype=torch.float64)


def labels(*shape: int, classes: int, seed: int = 1) -> Tensor:
    return torch.randint(classes, shape, generator=source(seed))


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- focal losses -----------------------------------------------------------------------------


def test_focal_at_the_numbers_that_keras_publishes() -> None:
    x, y = float64([-18.6, 0.51, 2.94, -12.8]), float64([0, 1, 0, 0])
    assert float(losses.focal(x, y, alpha=None)) == pytest.approx(0.691, abs=5e-4)
    assert float(losses.focal(x, y, alpha=None, gamma=3)) == pytest.approx(0.647, abs=5e-4)
    p = float64([[0.05, 0.95, 1e-7], [0.1, 0.8, 0.1]])
    q = float64([[0, 1, 0], [0, 0, 1]])
    assert float(losses.softmax_focal(p.log(), q, alpha=0.25)) == pytest.approx(0.23315276, 1e-6)
    assert float(losses.softmax_focal(p.log(), q.argmax(1), alpha=0.25)) == pytest.approx(
        0.23315276, 1e-6
    )


def test_focal_is_the_formula_of_document_003_on_probabilities() -> None:
    """With p clipped to [1e-8, 1 - 1e-8]: -0.25 y (1-p)^2 ln p - 0.75 (1-y) p^2 ln(1-p)."""
    x, y = logits(50), labels(50, classes=2).double()
    p = x.sigmoid().clamp(1e-8, 1 - 1e-8)
    written = -0.25 * y * (1 - p) ** 2 * p.log() - 0.75 * (1 - y) * p**2 * (1 - p).log()
    torch.testing.assert_close(losses.focal(x, y, reduction="none"), written)


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 30), st.floats(0, 6), st.booleans())
def test_focal_never_exceeds_cross_entropy_and_is_blind_to_a_change_of_sides(
    x: float, gamma: float, yes: bool
) -> None:
    at, y = float64([x]), float64([float(yes)])
    value = losses.focal(at, y, alpha=None, gamma=gamma)
    plain = losses.bce_with_logits(at, y, impl="formula")
    assert float(value) <= float(plain) * (1 + 1e-12)
    torch.testing.assert_close(losses.focal(-at, 1 - y, alpha=None, gamma=gamma), value)


def test_softmax_focal_of_two_classes_is_focal_of_their_difference() -> None:
    x, y = logits(20, 2), labels(20, classes=2)
    ours = losses.softmax_focal(x, y, alpha=(0.75, 0.25), gamma=1.5)
    torch.testing.assert_close(ours, losses.focal(x[:, 1] - x[:, 0], y.double(), gamma=1.5))


def test_quality_focal_of_certain_targets_is_focal() -> None:
    x, y = logits(40), labels(40, classes=2).double()
    torch.testing.assert_close(
        losses.quality_focal(x, y, beta=3), losses.focal(x, y, alpha=None, gamma=3)
    )
    assert float(losses.quality_focal(float64([0.0]), float64([0.5]))) == 0


def test_varifocal_of_the_background_is_focal_and_of_objects_weighted_cross_entropy() -> None:
    x, none = logits(40), torch.zeros(40, dtype=torch.float64)
    background = losses.focal(x, none, alpha=0.25)
    torch.testing.assert_close(losses.varifocal(x, none, alpha=0.75), background)
    quality = torch.rand(40, generator=source(2), dtype=torch.float64)
    objects = quality * F.binary_cross_entropy_with_logits(x, quality, reduction="none")
    torch.testing.assert_close(losses.varifocal(x, quality, reduction="none"), objects)


def test_gaussian_focal_of_peaks_alone_is_focal_on_probabilities() -> None:
    x, y = logits(40), labels(40, classes=2).double()
    torch.testing.assert_close(
        losses.gaussian_focal(x.sigmoid(), y), losses.focal(x, y, alpha=None)
    )
    near, far = (losses.gaussian_focal(float64([0.6]), float64([y])) for y in (0.9, 0.1))
    torch.testing.assert_close(near / far, float64((0.1 / 0.9) ** 4))


def test_focal_cosine_forgets_the_length_and_is_torchs_cosine_embedding() -> None:
    x, y = logits(20, 5), labels(20, classes=5)
    torch.testing.assert_close(losses.focal_cosine(7 * x, y), losses.focal_cosine(x, y))
    alone = losses.focal_cosine(x, y, focal_weight=0)
    ones = torch.ones(20)
    torch.testing.assert_close(alone, F.cosine_embedding_loss(x, F.one_hot(y, 5).double(), ones))


# --- rare answers -----------------------------------------------------------------------------


def test_balanced_cross_entropy_of_a_batch_weighs_both_sides_alike() -> None:
    y = float64([1, 0, 0, 0, 0, 0, 0, 0])
    x = torch.zeros(8, dtype=torch.float64)
    values = losses.balanced_cross_entropy(x, y, alpha="batch", reduction="none")
    assert float(values[0]) == pytest.approx(float(values[1:].sum()))
    torch.testing.assert_close(values[0], float64(7 / 8 * math.log(2)))


def test_ghm_c_on_a_batch_counted_by_hand() -> None:
    """g = 0.1, 0.15, 0.55, 0.95 lie in three of ten bins, of 2, 1 and 1 values."""
    p = float64([[0.1, 0.15], [0.45, 0.05]])
    y = float64([[0, 0], [1, 1]])
    x = torch.logit(p)
    weight = float64([[4 / (2 * 3), 4 / (2 * 3)], [4 / 3, 4 / 3]])
    cost = F.binary_cross_entropy(p, y, reduction="none")
    counts = torch.zeros(10, dtype=torch.float64)
    terms = loss_function(loss["ghm_c"], {})(x, y, running_counts=counts)
    torch.testing.assert_close(terms.values, weight * cost)
    torch.testing.assert_close(terms.mean(), (weight * cost).sum() / 4)
    assert terms.state is not None
    assert terms.state["running_counts"].tolist() == [0, 2, 0, 0, 0, 1, 0, 0, 0, 1]


def test_ghm_c_ignores_what_is_below_zero_and_gives_every_filled_bin_the_same_weight() -> None:
    x, y = logits(200), labels(200, classes=2).double()
    hidden = y.clone()
    hidden[::3] = -1
    counts = torch.zeros(10, dtype=torch.float64)
    apply = loss_function(loss["ghm_c"], {})
    terms = apply(x, hidden, running_counts=counts)
    seen = hidden >= 0
    alone = apply(x[seen], hidden[seen], running_counts=counts)
    torch.testing.assert_close(terms.mean(), alone.mean())
    assert terms.weight is not None
    assert float(terms.weight.sum()) == int(seen.sum())
    weight = terms.values[seen] / F.binary_cross_entropy_with_logits(
        x[seen], y[seen], reduction="none"
    )
    size = (x[seen].sigmoid() - y[seen]).abs()
    sums = [float(weight[(size * 10).long() == b].sum()) for b in range(10)]
    filled = [value for value in sums if value]
    assert filled == pytest.approx([sum(filled) / len(filled)] * len(filled))
    assert sum(filled) == pytest.approx(int(seen.sum()))


def test_ghm_c_with_momentum_begins_too_large_and_settles() -> None:
    x, y = logits(60), labels(60, classes=2).double()
    counts = torch.zeros(10, dtype=torch.float64)
    plain = loss_function(loss["ghm_c"], {})(x, y, running_counts=counts).mean()
    apply = loss_function(loss["ghm_c"], {"momentum": 0.75})
    for step in range(60):
        terms = apply(x, y, running_counts=counts)
        assert terms.state is not None
        counts = terms.state["running_counts"]
        # After n equal batches the running count is (1 - momentum^n) of the true one.
        torch.testing.assert_close(terms.mean(), plain / (1 - 0.75 ** (step + 1)))


def test_asymmetric_without_its_asymmetry_is_focal() -> None:
    x, y = logits(40), labels(40, classes=2).double()
    torch.testing.assert_close(
        losses.asymmetric(x, y, gamma_pos=2, gamma_neg=2, clip=0),
        losses.focal(x, y, alpha=None),
    )
    plain = losses.asymmetric(x, y, gamma_pos=0, gamma_neg=0, clip=0)
    torch.testing.assert_close(plain, losses.bce_with_logits(x, y))
    easy = torch.logit(float64([0.05, 0.01]))
    assert losses.asymmetric(easy, torch.zeros(2).double(), reduction="none").tolist() == [0, 0]


# --- hinges over classes ----------------------------------------------------------------------


def test_hinges_over_classes_by_hand_and_at_kerass_number() -> None:
    x = float64([[1.0, 3.0, 2.5], [-1.0, -4.0, -3.0]])
    values = losses.multiclass_hinge(x, torch.tensor([1, 0]), reduction="none")
    assert values.tolist() == [0.5, 0.0]
    # The true class competes with a 0 of its own: 1 + 0 - (-1) is left.
    hot = float64([[0, 1, 0], [1, 0, 0]])
    assert losses.categorical_hinge(x, hot, reduction="none").tolist() == [0.5, 2.0]
    published = losses.categorical_hinge(
        float64([[0.6, 0.4], [0.4, 0.6]]), float64([[0, 1], [0, 0]])
    )
    assert float(published) == pytest.approx(1.4)


def test_multiclass_hinge_of_two_classes_is_hinge_of_their_difference() -> None:
    x, y = logits(30, 2), labels(30, classes=2)
    difference, sign = x[:, 1] - x[:, 0], (2 * y - 1).double()
    torch.testing.assert_close(
        losses.multiclass_hinge(x, y, margin=0.7), losses.hinge(difference, sign, margin=0.7)
    )


# --- smoothed, soft, penalised ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(2, 4.5317), (1, 3.7153), (-1, 2.0827), (0, 2.8990), (5.45, 7.3480)]
)
def test_poly1_at_the_numbers_of_optax(epsilon: float, expected: float) -> None:
    x, q = float64([[0.14, 1.456, 2.356, -0.124, -2.47]]), float64([[0.1, 0.15, 0.2, 0.25, 0.3]])
    assert float(losses.poly1_cross_entropy(x, q, epsilon=epsilon)) == pytest.approx(
        expected, abs=5e-5
    )


def test_confidence_penalty_takes_away_entropy() -> None:
    x, y = logits(10, 4), labels(10, classes=4)
    p = x.softmax(1)
    expected = F.cross_entropy(x, y) - 0.1 * losses.entropy(p)
    torch.testing.assert_close(losses.confidence_penalty(x, y), expected)


def test_jsd_of_equal_splits_is_the_clean_cross_entropy() -> None:
    x, y = logits(8, 4), labels(8, classes=4)
    threefold = losses.jsd_cross_entropy(x.repeat(3, 1), y.repeat(3))
    torch.testing.assert_close(threefold, F.cross_entropy(x, y, label_smoothing=0.1))


def test_jsd_penalises_disagreement_by_the_jensen_shannon_divergence() -> None:
    x, y = logits(12, 4), labels(4, classes=4)
    ours = losses.jsd_cross_entropy(x, y.repeat(3), alpha=2, label_smoothing=0)
    p = x.softmax(1).reshape(3, 4, 4)
    mean = p.mean(0)
    parts = [F.kl_div(mean.log(), split, reduction="batchmean") for split in p]
    torch.testing.assert_close(ours, F.cross_entropy(x[:4], y) + 2 * sum(parts) / 3)


def test_jsd_refuses_a_batch_that_is_no_three_splits() -> None:
    with pytest.raises(UsageError, match="3 splits do not divide a batch of 8"):
        losses.jsd_cross_entropy(logits(8, 4), labels(8, classes=4))


def test_distillation_is_torchs_divergence_and_nothing_between_equals() -> None:
    x, t = logits(9, 5), logits(9, 5, seed=3)
    expected = 16 * F.kl_div(
        (x / 4).log_softmax(1), (t / 4).log_softmax(1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(losses.distillation_kl(x, t), expected)
    assert float(losses.distillation_kl(x, x + 3)) == pytest.approx(0, abs=1e-14)


def test_a_hot_distillation_becomes_half_the_squared_distance_of_centred_logits() -> None:
    """For T -> inf: T^2 KL -> sum (x - t)^2 / (2 C), both centred; the paper's section 2.1."""
    x, t = logits(9, 5), logits(9, 5, seed=3)
    apart = (x - x.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    limit = (apart**2).sum(1).mean() / 10
    got = losses.distillation_kl(x, t, temperature=1e4)
    torch.testing.assert_close(got, limit, rtol=1e-3, atol=0)
