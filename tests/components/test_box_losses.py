"""Losses of boxes at published numbers, against cells that are counted, and under what must hold.

Nothing is published for EIoU, Focal-EIoU, alpha-IoU, SIoU and WIoU: those are held by the numbers
of a second derivation, by limits in which they become others, and by invariances.
"""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossbench.components.boxes import require_boxes
from lossbench.errors import UsageError
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss

BOXES = [name for name, entry in loss.items() if entry.facts.prediction == "boxes"]
UNITLESS = ("iou", "giou", "diou", "ciou", "eiou", "siou", "focal_eiou", "alpha_iou", "wiou")
EXACT = 1e-15
"""An eps that changes no digit."""

NEEDED = {"mpdiou": {"width": 4.0, "height": 3.0}}


def values(name: str, prediction: Any, target: Any, **knobs: Any) -> Tensor:
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (prediction, target))
    entry = loss[name]
    state = {n: torch.tensor(float(v), dtype=torch.float64) for n, v in entry.facts.state.items()}  # type: ignore[arg-type]
    return reduce(loss_function(entry, {**NEEDED.get(name, {}), **knobs})(a, b, **state), "none")


def drawn(rows: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=source, dtype=torch.float64) * 4
    side = torch.rand(rows, 2, generator=source, dtype=torch.float64) * 3 + 0.1
    return torch.cat([corner, corner + side], dim=1)


# --- published numbers ------------------------------------------------------------------------

OUTER, QUARTER = [-1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]
BESIDE, DIAGONAL = [0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "prediction", "target", "expected"),
    [
        # torchvision's tests of its losses (after those of fvcore)
        ("giou", OUTER, OUTER, 0.0),
        ("giou", OUTER, QUARTER, 0.75),
        ("giou", QUARTER, BESIDE, 1.0),
        ("giou", QUARTER, DIAGONAL, 1.5),
        ("diou", OUTER, QUARTER, 0.8125),
        ("diou", OUTER, BESIDE, 1.1923),
        ("diou", OUTER, DIAGONAL, 1.25),
        ("ciou", OUTER, OUTER, 0.0),
        ("ciou", OUTER, QUARTER, 0.8125),
        ("ciou", OUTER, BESIDE, 1.1923),
        ("ciou", OUTER, DIAGONAL, 1.25),
        # TensorFlow Addons' tests
        ("iou", [4.0, 3.0, 7.0, 5.0], [3.0, 4.0, 6.0, 8.0], 14 / 16),
        ("iou", [5.0, 6.0, 10.0, 7.0], [14.0, 14.0, 15.0, 15.0], 1.0),
        ("giou", [4.0, 3.0, 7.0, 5.0], [3.0, 4.0, 6.0, 8.0], 1.07500000298023224),
        ("giou", [5.0, 6.0, 10.0, 7.0], [14.0, 14.0, 15.0, 15.0], 1.9333333373069763),
    ],
)
def test_published_numbers(
    name: str, prediction: list[float], target: list[float], expected: float
) -> None:
    assert values(name, [prediction], [target]).item() == pytest.approx(expected, abs=5e-5)


def test_published_sums_over_two_boxes() -> None:
    two, other = [QUARTER, QUARTER], [BESIDE, DIAGONAL]
    for name, total in (("giou", 2.5), ("diou", 2.45), ("ciou", 2.45)):
        assert values(name, two, other).sum().item() == pytest.approx(total, abs=5e-5)


# --- second derivations -----------------------------------------------------------------------


def test_the_overlap_is_the_share_of_cells_that_both_cover() -> None:
    """Boxes with whole corners on a grid: areas are numbers of cells."""
    source = torch.Generator().manual_seed(3)
    low = torch.randint(0, 6, (200, 2, 2), generator=source)
    boxes = torch.cat([low, low + torch.randint(1, 7, (200, 2, 2), generator=source)], dim=2)
    for a, b in boxes.tolist():
        cells_a, cells_b = (
            {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (a, b)
        )
        shared = len(cells_a & cells_b) / len(cells_a | cells_b)
        columns, rows = zip(*(cells_a | cells_b), strict=True)
        around = (max(columns) - min(columns) + 1) * (max(rows) - min(rows) + 1)
        waste = 1 - len(cells_a | cells_b) / around
        assert values("iou", [a], [b]).item() == pytest.approx(1 - shared, abs=1e-6)
        assert values("giou", [a], [b]).item() == pytest.approx(1 - shared + waste, abs=1e-6)
        if shared:
            log = values("iou", [a], [b], form="log").item()
            assert log == pytest.approx(-math.log(shared), abs=1e-6)


def by_hand(a: list[float], b: list[float]) -> dict[str, float]:
    """Compute the losses of two boxes that have insides, number by number as the papers write."""
    wa, ha, wb, hb = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
    inside = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(
        0.0, min(a[3], b[3]) - max(a[1], b[1])
    )
    iou = inside / (wa * ha + wb * hb - inside)
    cw, ch = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    dx, dy = abs(a[0] + a[2] - b[0] - b[2]) / 2, abs(a[1] + a[3] - b[1] - b[3]) / 2
    rho, diagonal = math.hypot(dx, dy), math.hypot(cw, ch)
    diou = 1 - iou + (rho / diagonal) ** 2
    v = 4 / math.pi**2 * (math.atan(wb / hb) - math.atan(wa / ha)) ** 2
    weight = v / (1 - iou + v) if v else 0.0
    eiou = diou + ((wa - wb) / cw) ** 2 + ((ha - hb) / ch) ** 2
    # SIoU's angle as in the paper: 1 - 2 sin^2(asin(sigma) - pi / 4).
    angle = 1 - 2 * math.sin(math.asin(dy / rho) - math.pi / 4) ** 2
    distance = sum(1 - math.exp(-(2 - angle) * (d / c) ** 2) for d, c in ((dx, cw), (dy, ch)))
    shape = sum((1 - math.exp(-abs(p - q) / max(p, q))) ** 4 for p, q in ((wa, wb), (ha, hb)))
    wise = math.exp((rho / diagonal) ** 2) * (1 - iou)
    outlying = (1 - iou) / 1.0
    return {
        "ciou": diou + weight * v,
        "eiou": eiou,
        "focal_eiou": iou**0.5 * eiou,
        "alpha_iou": 1 - iou**3,
        "siou": 1 - iou + (distance + shape) / 2,
        "wiou": wise * outlying / (3 * 1.9 ** (outlying - 3)),
        "wiou v1": wise,
        "wiou v2": wise * outlying**0.5,
        "alpha_iou ciou": 1 - iou**3 + (rho / diagonal) ** 6 + (weight * v) ** 3,
        "mpdiou": 1 - iou + sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / 25,
        "nwd": 1 - math.exp(-math.sqrt(rho**2 + ((wa - wb) ** 2 + (ha - hb) ** 2) / 4) / 12.8),
    }


def test_the_papers_number_by_number() -> None:
    a, b = drawn(50, seed=1), drawn(50, seed=2)
    knobs = {"v1": {"version": "v1"}, "v2": {"version": "v2"}, "ciou": {"base": "ciou"}}
    for row in range(50):
        for claim, expected in by_hand(a[row].tolist(), b[row].tolist()).items():
            name, _, more = claim.partition(" ")
            found = values(name, a[row : row + 1], b[row : row + 1], **knobs.get(more, {})).item()
            assert found == pytest.approx(expected, rel=1e-5, abs=2e-6), claim


def test_bounds_of_each_coordinate() -> None:
    """A box shifted along x by a tenth of its width, and one of twice the height."""
    found = values("bounded_iou", [[0.1, 0, 1.1, 1]], [[0.0, 0, 1, 1]], eps=EXACT)
    bound = 1 - 0.8 / 1.2
    torch.testing.assert_close(found, torch.tensor([[bound - 0.1, 0, 0, 0]]).double())
    found = values("bounded_iou", [[0, -0.5, 1, 1.5]], [[0.0, 0, 1, 1]], eps=EXACT)
    torch.testing.assert_close(found, torch.tensor([[0, 0, 0, 0.4]]).double())


def test_gaussians_of_boxes_are_as_far_apart_as_wasserstein_says() -> None:
    """The closed form for normal densities with diagonal covariance: means and deviations."""
    a, b = drawn(20, seed=5), drawn(20, seed=6)
    centres = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    deviations = (a[:, 2:] - a[:, :2] - b[:, 2:] + b[:, :2]) / 2
    distance = torch.cat([centres, deviations], dim=1).norm(dim=1)
    torch.testing.assert_close(values("nwd", a, b, constant=2.5), 1 - torch.exp(-distance / 2.5))


# --- limits and relations ---------------------------------------------------------------------


def test_equal_sizes_make_eiou_diou_and_equal_shapes_ciou_diou() -> None:
    a = drawn(30)
    moved = a + torch.tensor([0.3, -0.2, 0.3, -0.2])
    larger = a * 1.7
    torch.testing.assert_close(values("eiou", a, moved), values("diou", a, moved))
    torch.testing.assert_close(values("ciou", a, larger), values("diou", a, larger))


def test_equal_centres_make_diou_and_the_first_wiou_iou() -> None:
    a = drawn(30)
    half = (a[:, 2:] - a[:, :2]) / 2
    middle = a[:, :2] + half
    other = torch.cat([middle - 0.6 * half, middle + 0.6 * half], dim=1)
    expected = values("iou", a, other)
    torch.testing.assert_close(values("diou", a, other), expected)
    torch.testing.assert_close(values("wiou", a, other, version="v1"), expected)
    torch.testing.assert_close(expected, torch.full((30,), 0.64).double(), atol=1e-5, rtol=0)


def test_far_apart_giou_and_diou_tend_to_two() -> None:
    """Zheng et al.: both losses reach 2 in the limit, and diou falls as the gap closes."""
    gaps = torch.tensor([1.0, 10.0, 100.0, 1e4, 1e6]).double()
    box = torch.tensor([[0.0, 0, 1, 1]]).double().repeat(5, 1)
    away = box + torch.stack([gaps, gaps, gaps, gaps], dim=1)
    for name in ("giou", "diou", "ciou"):
        found = values(name, box, away)
        assert bool((found.diff() > 0).all())
        assert found[-1].item() == pytest.approx(2, abs=1e-4)


def test_diou_tells_apart_boxes_inside_a_box_where_giou_cannot() -> None:
    """Zheng et al., figure 2: a target within the prediction, in the corner and in the middle."""
    outer = [[0.0, 0, 4, 4]] * 2
    inner = [[0.0, 0, 2, 2], [1.0, 1, 3, 3]]
    assert values("giou", outer, inner).diff().item() == pytest.approx(0, abs=1e-9)
    assert values("iou", outer, inner).diff().item() == pytest.approx(0, abs=1e-9)
    assert values("diou", outer, inner).diff().item() == pytest.approx(-1 / 16, abs=1e-6)


@pytest.mark.parametrize("name", UNITLESS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    scale=st.floats(0.01, 100),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    seed=st.integers(0, 1000),
)
def test_neither_place_nor_unit_matters(
    name: str, scale: float, shift: tuple[float, float], seed: int
) -> None:
    a, b = drawn(8, seed), drawn(8, seed + 5000)
    by = torch.tensor([*shift, *shift]).double()
    there = values(name, scale * a + by, scale * b + by, eps=EXACT)
    torch.testing.assert_close(there, values(name, a, b, eps=EXACT), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in BOXES if name != "mpdiou"])
def test_the_axes_may_be_exchanged(name: str) -> None:
    a, b = drawn(20, seed=8), drawn(20, seed=9)
    turned = torch.tensor([1, 0, 3, 2])
    there = values(name, a[:, turned], b[:, turned])
    expected = values(name, a, b)
    torch.testing.assert_close(there, expected[:, turned] if there.dim() > 1 else expected)


# --- weights, state, and what carries no gradient ---------------------------------------------


def gradient(name: str, a: Tensor, b: Tensor, **knobs: Any) -> Tensor:
    leaf = a.clone().requires_grad_()
    (grad,) = torch.autograd.grad(values(name, leaf, b, **knobs).sum(), leaf)
    return grad


def test_the_weights_carry_no_gradient() -> None:
    """The gradient is that of the plain part, times the value of the weight."""
    a, b = drawn(20, seed=10), drawn(20, seed=11)
    overlap = 1 - values("iou", a, b)
    expected = overlap.unsqueeze(1).sqrt() * gradient("eiou", a, b)
    torch.testing.assert_close(gradient("focal_eiou", a, b), expected)
    lost = (1 - overlap).unsqueeze(1)
    first = gradient("wiou", a, b, version="v1")
    torch.testing.assert_close(gradient("wiou", a, b, version="v2"), lost.sqrt() * first)
    weight = lost / (3 * 1.9 ** (lost - 3))
    torch.testing.assert_close(gradient("wiou", a, b), weight * first)


def test_the_weight_of_the_shape_is_held_fast() -> None:
    """ciou - diou = a v, and with a held fast its gradient is a v'."""
    a, b = drawn(20, seed=12), drawn(20, seed=13)
    leaf = a.clone().requires_grad_()
    width, height = leaf[:, 2] - leaf[:, 0], leaf[:, 3] - leaf[:, 1]
    wide, high = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    v = 4 / math.pi**2 * (torch.atan(wide / high) - torch.atan(width / height)) ** 2
    (change,) = torch.autograd.grad(v.sum(), leaf)
    weight = (v / (values("iou", a, b) + v)).detach().unsqueeze(1)
    found = gradient("ciou", a, b) - gradient("diou", a, b)
    torch.testing.assert_close(found, weight * change, rtol=1e-4, atol=1e-6)


def test_the_enclosing_box_of_wiou_is_held_fast() -> None:
    a, b = drawn(20, seed=14), drawn(20, seed=15)
    leaf = a.clone().requires_grad_()
    middle = (leaf[:, :2] + leaf[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    lost = values("iou", leaf, b)
    stretched = torch.exp((middle**2).sum(1) / (around**2).sum(1)) * lost
    (expected,) = torch.autograd.grad(stretched.sum(), leaf)
    torch.testing.assert_close(gradient("wiou", a, b, version="v1"), expected, rtol=1e-5, atol=1e-7)


def test_alpha_above_one_weighs_the_gradient_by_the_overlap() -> None:
    """(1 - IoU^3)' = 3 IoU^2 (1 - IoU)'."""
    a, b = drawn(20, seed=16), drawn(20, seed=17)
    overlap = (1 - values("iou", a, b)).unsqueeze(1)
    torch.testing.assert_close(gradient("alpha_iou", a, b), 3 * overlap**2 * gradient("iou", a, b))
    for base in ("iou", "giou", "diou"):
        leaf = drawn(6, seed=18).requires_grad_()
        call = loss_function(loss["alpha_iou"], {"base": base})
        assert torch.autograd.gradcheck(
            lambda x, call=call: call(x, drawn(6, seed=19)).values, leaf
        )


def test_normalised_focal_eiou_divides_by_the_sum_of_the_weights() -> None:
    a, b = drawn(20, seed=20), drawn(20, seed=21)
    weight = (1 - values("iou", a, b)).sqrt()
    expected = (weight * values("eiou", a, b)).sum() / weight.sum()
    call = loss_function(loss["focal_eiou"], {"normalise": True})
    torch.testing.assert_close(reduce(call(a, b), "mean"), expected)
    apart = call(a, b + 100)
    assert reduce(apart, "mean").item() == pytest.approx(0, abs=1e-3), "no box meets its target"


def test_the_running_mean_of_wiou_forgets_half_in_seven_thousand_batches() -> None:
    a, b = drawn(20, seed=22), drawn(20, seed=23)
    lost = values("iou", a, b).mean().item()
    call = loss_function(loss["wiou"], {})
    state = {"iou_mean": torch.tensor(1.0).double()}
    for _ in range(700):  # a tenth of the way, and so the tenth root of a half
        state = dict(call(a, b, **state).state or {})
    left = 0.5**0.1
    assert state["iou_mean"].item() == pytest.approx(left + (1 - left) * lost, abs=1e-7)
    usual = torch.tensor(0.25).double()
    weight = values("iou", a, b) / 0.25
    expected = values("wiou", a, b, version="v1") * weight / (3 * 1.9 ** (weight - 3))
    torch.testing.assert_close(call(a, b, iou_mean=usual).values, expected, rtol=1e-5, atol=1e-8)


# --- boxes without an inside ------------------------------------------------------------------

DEGENERATE = {
    "a point": ([1.0, 1, 1, 1], [0.0, 0, 2, 2]),
    "two points": ([1.0, 1, 1, 1], [1.0, 1, 1, 1]),
    "a line": ([0.0, 1, 2, 1], [0.0, 0, 2, 2]),
    "two lines that cross": ([0.0, 1, 2, 1], [1.0, 0, 1, 2]),
    "corners exchanged": ([2.0, 2, 0, 0], [0.0, 0, 2, 2]),
    "both exchanged": ([2.0, 2, 0, 0], [5.0, 5, 4, 4]),
    "equal centres": ([0.0, 0, 2, 2], [0.5, 0.5, 1.5, 1.5]),
    "only width apart": ([0.0, 0, 2, 2], [3.0, 0, 5, 2]),
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_without_an_inside_stay_finite(name: str, case: str, dtype: torch.dtype) -> None:
    entry = loss[name]
    prediction, target = (torch.tensor([x], dtype=dtype) for x in DEGENERATE[case])
    state = {n: torch.tensor(1.0, dtype=dtype) for n in entry.facts.state}
    for a, b in ((prediction, target), (target, prediction)):
        leaf = a.clone().requires_grad_()
        found = loss_function(entry, NEEDED.get(name, {}))(leaf, b, **state).values
        (grad,) = torch.autograd.grad(found.sum(), leaf)
        assert bool(torch.isfinite(found).all()), found
        assert bool(torch.isfinite(grad).all()), grad


def test_a_box_with_exchanged_corners_covers_nothing() -> None:
    assert values("iou", [[2.0, 2, 0, 0]], [[0.0, 0, 2, 2]]).item() == 1
    assert values("iou", [[2.0, 0, 0, 2]], [[0.0, 0, 2, 2]]).item() == 1


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0, 0, 1, 1], [2.0, 0, 1, 1]], r"prediction: box 1 is \[2, 0, 1, 1\], and x2 < x1"),
        ([[0.0, 3, 1, 1]], "y2 < y1"),
        ([[0.0, 0, 1, 0]], "its area is 0"),
        ([[0.0, 0, 1]], r"shape \[1, 3\]"),
    ],
)
def test_the_first_box_without_an_inside_is_named(boxes: list[list[float]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_boxes(torch.tensor(boxes), "prediction")


def test_boxes_with_insides_are_accepted() -> None:
    require_boxes(drawn(10), "prediction")
    require_boxes(torch.zeros(0, 4), "prediction")
