"""Losses of segmentation at MONAI's numbers, against scikit-learn and scipy, and at empty masks."""

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from lossbench.components.losses._masks import border_distances, soft_skeleton
from lossbench.errors import UsageError
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss

DENSE = [name for name, entry in loss.items() if entry.facts.dense]


def found(name: str, prediction: Any, target: Any, reduction: str = "mean", **knobs: Any) -> Tensor:
    x = torch.as_tensor(prediction).double()
    y = torch.as_tensor(target)
    y = y.double() if y.is_floating_point() else y
    return reduce(loss_function(loss[name], knobs)(x, y), reduction)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indices(*shape: int, classes: int = 4, seed: int = 1) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


# --- numbers of MONAI's tests -----------------------------------------------------------------

SQUARE = [[[[1.0, -1.0], [-1.0, 1.0]]]]
CORNERS = [[[[1.0, 0.0], [1.0, 1.0]]]]
TWICE = SQUARE * 2
FULL_AND_LEFT = [[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, 0.0], [1.0, 0.0]]]]
LINES = [[[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]
CLASSES = [[1, 0, 0], [1, 1, 0]]
SIGMOID = {"activation": "sigmoid"}
SOFTMAX = {"activation": "softmax"}
FINER = {"smooth_nr": 1e-6, "smooth_dr": 1e-6}
COARSER = {"smooth_nr": 1e-4, "smooth_dr": 1e-4}


@pytest.mark.parametrize(
    ("name", "prediction", "target", "knobs", "expected"),
    [
        ("dice", SQUARE, CORNERS, FINER, 0.307576),
        ("dice", TWICE, FULL_AND_LEFT, COARSER, 0.416657),
        ("dice", LINES, CLASSES, SIGMOID | COARSER, 0.435050),
        ("dice", LINES, CLASSES, SOFTMAX | COARSER, 0.383713),
        ("dice", LINES, CLASSES, COARSER, 0.383713),
        ("dice", SQUARE, CORNERS, {"squared": True}, 0.178337),
        ("jaccard", SQUARE, CORNERS, {}, 0.470451),
        ("tversky", SQUARE, CORNERS, FINER | {"alpha": 0.3, "beta": 0.7}, 0.3589),
        ("tversky", SQUARE, CORNERS, FINER | {"alpha": 0.7, "beta": 0.3}, 0.247366),
        ("tversky", LINES, CLASSES, SIGMOID | COARSER, 0.435050),
        ("generalized_dice", SQUARE, CORNERS, FINER, 0.307576),
        ("generalized_dice", LINES, CLASSES, SIGMOID | COARSER, 0.469964),
        ("generalized_dice", LINES, CLASSES, SOFTMAX | COARSER, 0.414507),
        (
            "generalized_dice",
            [[[0.0, 10.0, 10.0, 10.0], [10.0, 0.0, 0.0, 0.0]]],
            [[1, 1, 0, 0]],
            {"weight_type": "simple", "smooth_nr": 0.0, "smooth_dr": 0.0},
            0.250023,
        ),
        ("hausdorff_dt", SQUARE, CORNERS, {}, 0.509329),
        ("hausdorff_dt", [SQUARE], [CORNERS], {}, 0.509329),
        (
            "hausdorff_dt",
            [[[[[1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [-1.0, 1.0]]]]],
            [[[[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]]],
            {},
            0.375718,
        ),
        (
            "hausdorff_dt",
            [SQUARE[0] * 2],
            [[[[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]],
            {},
            0.326994,
        ),
        (
            "unified_focal",
            [[[[-10.0, -10.0]], [[10.0, 10.0]], [[-10.0, -10.0]]]],
            [[[[1.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]],
            SOFTMAX,
            1.518984,
        ),
    ],
)
def test_published_numbers(
    name: str, prediction: Any, target: Any, knobs: dict[str, Any], expected: float
) -> None:
    got = found(name, prediction, target, **knobs).item()
    # MONAI's own tolerances
    tolerance = {"tversky": 1e-4, "unified_focal": 1e-3}.get(name, 1e-5)
    assert got == pytest.approx(expected, rel=tolerance)


def test_published_values_of_every_sample_and_class() -> None:
    values = found("dice", LINES, CLASSES, "none", **SIGMOID, **COARSER)
    expected = torch.tensor([[0.296529, 0.415136], [0.599976, 0.428559]]).double()
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    values = found("tversky", LINES, CLASSES, "none", **SOFTMAX, **COARSER)
    expected = torch.tensor([[0.210961, 0.295339], [0.599952, 0.428547]]).double()
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    values = found("generalized_dice", LINES, CLASSES, "none", **SOFTMAX, **COARSER)
    torch.testing.assert_close(
        values, torch.tensor([0.273476, 0.555539]).double(), rtol=1e-5, atol=1e-6
    )
    assert found("dice", LINES, CLASSES, "sum", **COARSER).item() == pytest.approx(
        1.534853, rel=1e-5
    )
    images = torch.tensor(LINES).unsqueeze(-1), torch.tensor(CLASSES).unsqueeze(-1)
    values = found("hausdorff_dt", *images, "none", **SIGMOID)
    expected = torch.tensor([[0.407765, 0.407765], [0.5, 0.5]]).double()
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


# --- other derivations ------------------------------------------------------------------------


def test_hard_masks_give_the_scores_of_scikit_learn() -> None:
    p, y = (indices(3, 2, 40, classes=2, seed=s).double() for s in (1, 2))
    plain = {"activation": "none", "smooth_nr": 0.0, "smooth_dr": 0.0}
    for name, knobs, score in (
        ("dice", {}, sklearn.metrics.f1_score),
        ("soft_f1", {}, sklearn.metrics.f1_score),
        ("jaccard", {}, sklearn.metrics.jaccard_score),
        ("soft_f1", {"beta": 2.0}, lambda a, b: sklearn.metrics.fbeta_score(a, b, beta=2)),
    ):
        values = found(name, p, y, "none", **plain, **knobs)
        for n in range(3):
            for c in range(2):
                assert values[n, c].item() == pytest.approx(1 - score(y[n, c], p[n, c]), abs=1e-12)


def test_lovasz_at_hard_predictions_is_one_less_the_jaccard_index() -> None:
    p, y = (indices(3, 2, 40, classes=2, seed=s).double() for s in (3, 4))
    values = found("lovasz_softmax", p, y, "none", activation="none", per_image=True)
    for n in range(3):
        scores = [sklearn.metrics.jaccard_score(y[n, c], p[n, c]) for c in range(2)]
        assert values[n].item() == pytest.approx(1 - np.mean(scores), abs=1e-12)


def by_levels(errors: Tensor, mask: Tensor) -> float:
    """Integrate 1 - Jaccard of the set of all pixels whose error exceeds a level, over levels."""
    total, below = 0.0, 0.0
    for level in sorted(set(errors.tolist())):
        wrong = errors >= level
        union = (wrong | (mask > 0)).sum().item()
        total += (level - below) * (wrong.sum().item() / union)
        below = level
    return total


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), pixels=st.integers(1, 30))
def test_the_lovasz_extension_is_the_integral_over_levels(seed: int, pixels: int) -> None:
    """The other definition of the extension (Choquet's integral), without sorting gradients."""
    x = (2 * drawn(2, 3, pixels, seed=seed)).round() / 2  # many errors are equal
    y = indices(2, 3, pixels, classes=2, seed=seed).double()
    hinge = torch.relu(1 - x * (2 * y - 1))
    values = found("lovasz_hinge", x, y, "none")
    whole = found("lovasz_hinge", x, y, "none", per_image=False)
    assert values.shape == (2, 3)
    assert whole.shape == (1, 3)
    for c in range(3):
        every = by_levels(hinge[:, c].flatten(), y[:, c].flatten())
        assert whole[0, c].item() == pytest.approx(every, abs=1e-9)
        for n in range(2):
            expected = by_levels(hinge[n, c], y[n, c])
            assert values[n, c].item() == pytest.approx(expected, abs=1e-9)


def test_lovasz_softmax_means_over_the_classes_that_are_present() -> None:
    x, y = drawn(3, 4, 20), indices(3, 20, classes=2)
    p, one_hot = x.softmax(1), F.one_hot(y, 4).movedim(-1, 1)
    each = [
        by_levels((one_hot[:, c] - p[:, c]).abs().flatten(), one_hot[:, c].flatten())
        for c in range(4)
    ]
    assert found("lovasz_softmax", x, y).item() == pytest.approx(np.mean(each[:2]))
    assert found("lovasz_softmax", x, y, classes="all").item() == pytest.approx(np.mean(each))


def test_log_cosh_dice_is_what_it_says() -> None:
    x, y = drawn(3, 4, 20), indices(3, 20)
    expected = torch.log(torch.cosh(found("dice", x, y, "none")))
    torch.testing.assert_close(found("log_cosh_dice", x, y, "none"), expected)


def test_jaccard_follows_from_dice() -> None:
    x, y = drawn(3, 4, 20), indices(3, 20)
    plain = {"smooth_nr": 0.0, "smooth_dr": 0.0}
    d = found("dice", x, y, "none", **plain)
    torch.testing.assert_close(found("jaccard", x, y, "none", **plain), 2 * d / (1 + d))


def test_combo_adds_dice_and_cross_entropy() -> None:
    x, y = drawn(3, 4, 5, 6), indices(3, 5, 6)
    expected = 2 * found("dice", x, y) + 0.5 * F.cross_entropy(x, y)
    torch.testing.assert_close(found("combo", x, y, lambda_dice=2.0, lambda_ce=0.5), expected)
    x, y = drawn(3, 1, 5, 6), indices(3, 1, 5, 6, classes=2).double()
    expected = found("dice", x, y) + F.binary_cross_entropy_with_logits(x, y)
    torch.testing.assert_close(found("combo", x, y), expected)


def test_distances_to_the_border_are_those_of_scipy() -> None:
    for shape in ((17,), (9, 14), (5, 6, 7)):
        mask = drawn(4, *shape) > 0.3
        inside, outside = border_distances(mask.double(), len(shape))
        for n in range(4):
            for got, expected in ((inside[n], mask[n]), (outside[n], ~mask[n])):
                wanted = torch.as_tensor(distance_transform_edt(expected.numpy())).float()
                torch.testing.assert_close(got, wanted)


def test_the_boundary_loss_weighs_by_signed_distances() -> None:
    y = torch.zeros(1, 1, 9, 9)
    y[..., 2:7, 3:8] = 1
    p = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    mask = y[0, 0].numpy().astype(bool)
    signed = distance_transform_edt(~mask) * ~mask - (distance_transform_edt(mask) - 1) * mask
    expected = (p[0, 0].double() * torch.as_tensor(signed)).mean()
    got = found("boundary", p, y, activation="none")
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


def test_thin_lines_are_their_own_skeletons_and_thick_ones_lose_their_sides() -> None:
    line = torch.zeros(1, 1, 11, 11)
    line[..., 5, 1:10] = 1
    thick = torch.zeros(1, 1, 11, 11)
    thick[..., 4:7, 1:10] = 1
    torch.testing.assert_close(soft_skeleton(line, 3), line)
    skeleton = soft_skeleton(thick, 3)
    assert skeleton[0, 0, 5, 2:9].min() == 1
    assert skeleton[0, 0, [4, 6], 3:8].max() == 0


def test_a_gap_in_a_line_costs_cl_dice_more_than_a_thinner_line() -> None:
    """Cutting a tube removes as many pixels as shaving its side, and breaks it."""
    tube = torch.zeros(1, 1, 11, 13)
    tube[..., 4:7, 1:12] = 1
    cut, shaved = tube.clone(), tube.clone()
    cut[..., 4:7, 5:8] = 0
    shaved[..., 4, 2:11] = 0
    assert cut.sum() == shaved.sum()
    costs = [found("cl_dice", x, tube, activation="none").item() for x in (tube, shaved, cut)]
    assert costs[0] == pytest.approx(0, abs=1e-7)
    assert costs[2] > 2 * costs[1]
    regions = [found("dice", x, tube, activation="none").item() for x in (shaved, cut)]
    assert regions[0] == pytest.approx(regions[1])


# --- what must hold ---------------------------------------------------------------------------

REGIONAL = [name for name in DENSE if name not in ("boundary", "hausdorff_dt", "cl_dice")]


@pytest.mark.parametrize("name", REGIONAL)
def test_the_order_of_pixels_does_not_matter(name: str) -> None:
    x, y = drawn(3, 4, 20), indices(3, 20)
    mixed = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found(name, x[..., mixed], y[..., mixed]), found(name, x, y))
    image = found(name, x.reshape(3, 4, 4, 5), y.reshape(3, 4, 5))
    torch.testing.assert_close(image, found(name, x, y))


@pytest.mark.parametrize("name", DENSE)
def test_indices_are_masks_with_a_softmax(name: str) -> None:
    x, y = drawn(3, 4, 5, 6), indices(3, 5, 6)
    one_hot = F.one_hot(y, 4).movedim(-1, 1).double()
    soft = {"activation": "softmax"} if "activation" in {k.name for k in loss[name].knobs} else {}
    torch.testing.assert_close(found(name, x, y, "none"), found(name, x, one_hot, "none", **soft))


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_and_full_masks_are_finite(name: str, dtype: torch.dtype) -> None:
    for value in (0.0, 1.0):
        for size in (-1e4, -1.0, 0.0, 1e4):
            x = torch.full((2, 1, 4, 4), size, dtype=dtype).requires_grad_()
            y = torch.full((2, 1, 4, 4), value, dtype=dtype)
            values = loss_function(loss[name], {})(x, y).values
            (grad,) = torch.autograd.grad(values.sum(), x)
            assert bool(torch.isfinite(values).all()), (value, size)
            assert bool(torch.isfinite(grad).all()), (value, size)


@pytest.mark.parametrize(
    "name", ["dice", "jaccard", "tversky", "focal_tversky", "soft_f1", "generalized_dice"]
)
def test_nothing_found_where_nothing_is_costs_nothing(name: str) -> None:
    empty = torch.zeros(2, 1, 4, 4)
    assert found(name, empty, empty, activation="none").item() == pytest.approx(0, abs=1e-9)
    plain = {"activation": "none", "smooth_nr": 0.0, "smooth_dr": 0.0}
    assert found(name, empty, empty, **plain).item() == 0
    assert found(name, empty + 1, empty, activation="none").item() == pytest.approx(1, abs=1e-3)


def test_small_and_large_masks_weigh_the_same_in_generalized_dice() -> None:
    """A mask of one pixel that is missed costs more under 1 / G^2 than under equal weights."""
    y = torch.zeros(1, 50, dtype=torch.long)
    y[0, 0] = 1
    missed = F.one_hot(torch.zeros_like(y), 2).movedim(-1, 1).double()
    costs = [
        found("generalized_dice", missed, y, activation="none", weight_type=kind).item()
        for kind in ("uniform", "simple", "square")
    ]
    assert costs[0] == pytest.approx(1 / 50)
    assert costs == sorted(costs)
    assert costs[2] > 0.9


def test_the_distances_of_hausdorff_carry_no_gradient() -> None:
    x, y = drawn(2, 1, 6, 6), indices(2, 1, 6, 6, classes=2).double()
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(found("hausdorff_dt", leaf, y, "sum"), leaf)
    p = x.sigmoid()
    weight = sum(
        torch.square(sum(border_distances(m, 2)).double())  # type: ignore[arg-type]
        for m in (p, y)
    )
    torch.testing.assert_close(grad, 2 * (p - y) * weight * p * (1 - p) / 36)


def test_one_channel_of_unified_focal_is_the_foreground() -> None:
    p = drawn(2, 1, 6, 6).sigmoid()
    y = indices(2, 1, 6, 6, classes=2).double()
    two = found("unified_focal", torch.cat([1 - p, p], 1), torch.cat([1 - y, y], 1), "none",
                activation="none")  # fmt: skip
    torch.testing.assert_close(found("unified_focal", p, y, "none", activation="none"), two)
    assert two.shape == (2, 2)


def test_unified_focal_without_focus_is_half_tversky_and_half_weighted_surprise() -> None:
    p = drawn(2, 3, 20).softmax(1)
    y = F.one_hot(indices(2, 20, classes=3), 3).movedim(-1, 1).double()
    got = found("unified_focal", p, y, "none", activation="none", gamma=0.0, delta=0.6)
    weights = torch.tensor([0.4, 0.6, 0.6]).double()
    surprise = weights * (-y * p.log()).mean(-1)
    regions = found("tversky", p, y, "none", activation="none", alpha=0.4, beta=0.6,
                    smooth_nr=1e-7, smooth_dr=1e-7)  # fmt: skip
    torch.testing.assert_close(got, (surprise + regions) / 2, rtol=1e-6, atol=1e-7)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"masks of shape \[2, 5, 6\] do not fit predictions"):
        found("dice", drawn(2, 4, 6, 6), indices(2, 5, 6))


def test_a_saturated_mistake_still_has_a_finite_price() -> None:
    sure = torch.full((1, 1, 2, 2), 1e4)
    assert found("combo", sure, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(1e4 + 1, rel=1e-6)
    assert math.isfinite(found("unified_focal", sure, torch.zeros(1, 1, 2, 2)).item())
