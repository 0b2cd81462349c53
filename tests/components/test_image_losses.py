"""Losses of images at kornia's numbers, against scipy's windows, and in what must hold."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lossbench.errors import UsageError
from lossbench.functional import namespace
from lossbench.kernels import loss_function, reduce
from lossbench.registry import loss


def found(name: str, *given: Any, reduction: str = "mean", **knobs: Any) -> Tensor:
    return reduce(loss_function(loss[name], knobs)(*given), reduction)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- kornia's numbers -------------------------------------------------------------------------


def test_published_total_variation() -> None:
    image = torch.tensor(
        [[[0.09094203, 0.32630223, 0.8066123], [0.10921168, 0.09534764, 0.48588026]]]
    )
    assert found("total_variation", image).item() == pytest.approx(1.69, abs=1e-3)
    four = torch.tensor([
        [[[0.8756, 0.0920], [0.8034, 0.3107]], [[0.3069, 0.2981], [0.9399, 0.7944]]],
        [[[0.3256, 0.9923], [0.2856, 0.9104]], [[0.4107, 0.4387], [0.2742, 0.0095]]],
    ])  # fmt: skip
    expected = torch.tensor([[1.5672, 1.2836], [1.4134, 0.8584]])
    got = found("total_variation", four, reduction="none")
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    ramp = torch.arange(5.0).unsqueeze(1).expand(5, 5)
    assert found("total_variation", ramp).item() == 20


def test_published_psnr() -> None:
    assert found("psnr", torch.ones(1), torch.tensor([1.2]), max_val=2.0).item() == pytest.approx(
        -20
    )
    assert found("psnr", images(2, 1, 4, 4), images(2, 1, 4, 4)).item() == pytest.approx(-100)


def test_published_lovasz_softmax() -> None:
    """kornia holds these against Berman's own code: all classes, each image by itself."""
    p = torch.tensor([[[[0.6, 0.21, 0.12]], [[0.29, 0.68, 0.19]], [[0.11, 0.11, 0.69]]]]).double()
    logits = p.log().requires_grad_()
    knobs = {"classes": "all", "per_image": True}
    value = found("lovasz_softmax", logits, torch.tensor([[[0, 1, 2]]]), **knobs)
    assert value.item() == pytest.approx((0.4 + 0.32 + 0.31) / 3)
    (grad,) = torch.autograd.grad(value, logits)
    expected = torch.tensor([
        [[[-0.08, 0.0476, 0.0276]], [[0.058, -0.0725333333, 0.0437]],
         [[0.022, 0.0249333333, -0.0713]]],
    ]).double()  # fmt: skip
    torch.testing.assert_close(grad, expected)
    absent = found("lovasz_softmax", logits, torch.zeros(1, 1, 3, dtype=torch.long), **knobs)
    assert absent.item() == pytest.approx((0.69 + 0.68 + 0.69) / 3)


# --- other derivations ------------------------------------------------------------------------


def ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. with scipy's Gaussian filter, of the places where the whole window fits."""

    def mean(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    sxx, syy, sxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    light = (2 * mx * my + 1e-4) / (mx * mx + my * my + 1e-4)
    return float((light * (2 * sxy + 9e-4) / (sxx + syy + 9e-4)).mean())


def test_ssim_is_that_of_scipys_windows() -> None:
    x = images(3, 2, 30, 24)
    y = (x + 0.2 * images(3, 2, 30, 24, seed=1)).clamp(max=1)
    got = found("ssim", x, y, reduction="none")
    for n in range(3):
        each = [ssim_by_scipy(x[n, c].numpy(), y[n, c].numpy()) for c in range(2)]
        assert got[n].item() == pytest.approx(1 - np.mean(each), rel=1e-9)


def test_ssim_of_plain_images_compares_brightness() -> None:
    x, y = torch.full((1, 1, 16, 16), 0.8).double(), torch.full((1, 1, 16, 16), 0.4).double()
    expected = 1 - (0.64 + 1e-4) / (0.64 + 0.16 + 1e-4)
    assert found("ssim", x, y).item() == pytest.approx(expected)


def test_an_image_and_its_negative_are_as_unlike_as_can_be() -> None:
    x = (images(1, 1, 32, 32) > 0.5).double()
    assert found("ssim", x, 1 - x).item() > 1.5
    assert found("ms_ssim", x, 1 - x).item() == pytest.approx(1)


def test_five_scales_are_five_similarities_of_halved_images() -> None:
    x = images(2, 1, 176, 180)
    y = (x + 0.3 * images(2, 1, 176, 180, seed=1)).clamp(max=1)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    # A huge k1 makes every brightness alike, so that only the part for contrast is left.
    products = torch.ones(2).double()
    a, b = x, y
    for scale, weight in enumerate(weights):
        flat = {"k1": 1e9} if scale < 4 else {}
        products = products * (1 - found("ssim", a, b, reduction="none", **flat)) ** weight
        a, b = (torch.nn.functional.avg_pool2d(image, 2) for image in (a, b))
    got = found("ms_ssim", x, y, reduction="none")
    torch.testing.assert_close(got, 1 - products, rtol=1e-7, atol=1e-9)


def test_images_too_small_for_five_scales_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 16 x 16"):
        found("ms_ssim", images(1, 1, 15, 30), images(1, 1, 15, 30))


def test_frequencies_without_focus_are_the_squared_error() -> None:
    """Parseval: the energy of a difference is that of its spectrum."""
    x, y = images(2, 3, 8, 6), images(2, 3, 8, 6, seed=1)
    plain = found("focal_frequency", x, y, alpha=0.0)
    torch.testing.assert_close(plain, torch.square(x - y).mean())
    spectrum = np.fft.fft2((x - y).numpy(), norm="ortho")
    size = np.abs(spectrum)
    weight = size / size.max((-2, -1), keepdims=True)
    got = found("focal_frequency", x, y, reduction="none").numpy()
    np.testing.assert_allclose(got, weight * size**2, rtol=1e-10, atol=1e-13)


def test_a_wave_is_one_frequency() -> None:
    at = torch.arange(8).double()
    wave = torch.cos(2 * math.pi * 2 * at / 8).expand(1, 1, 8, 8)
    got = found("focal_frequency", wave, torch.zeros_like(wave), reduction="none")
    assert (got > 1e-9).sum() == 2
    torch.testing.assert_close(got.sum(), torch.square(wave).sum())


def test_gradient_difference_sees_edges_and_no_brightness() -> None:
    x, y = images(2, 1, 5, 6), images(2, 1, 5, 6, seed=1)
    torch.testing.assert_close(
        found("gradient_difference", x + 0.3, y), found("gradient_difference", x, y)
    )
    assert found("gradient_difference", x, 1 - x).item() == pytest.approx(0, abs=1e-12)
    expected = sum(
        np.abs(np.abs(np.diff(x, axis=k)) - np.abs(np.diff(y, axis=k))).sum((2, 3)) for k in (2, 3)
    )
    got = found("gradient_difference", x, y, reduction="none")
    np.testing.assert_allclose(got, expected)


# --- features ---------------------------------------------------------------------------------


def layers(seed: int) -> list[Tensor]:
    return [images(2, 3, 4, 5, seed=seed), images(2, 6, 2, 2, seed=seed + 1)]


def test_perceptual_is_a_weighted_sum_of_squared_errors() -> None:
    x, y = layers(0), layers(10)
    each = [torch.square(a - b).mean((1, 2, 3)) for a, b in zip(x, y, strict=True)]
    got = found("perceptual", x, y, reduction="none")
    torch.testing.assert_close(got, each[0] + each[1])
    got = found("perceptual", x, y, reduction="none", weights=(0.5, 2.0))
    torch.testing.assert_close(got, 0.5 * each[0] + 2 * each[1])


def test_style_does_not_know_where_things_are() -> None:
    x, y = layers(0), layers(10)
    mixed = [a.flatten(2)[:, :, torch.randperm(a[0, 0].numel())].reshape(a.shape) for a in x]
    torch.testing.assert_close(found("style", mixed, y), found("style", x, y))
    assert found("style", mixed, x).item() == pytest.approx(0, abs=1e-20)
    gram = [np.einsum("nchw,ndhw->ncd", f, f) / f[0].numel() for f in (x[0], y[0])]
    expected = ((gram[0] - gram[1]) ** 2).sum((1, 2))
    np.testing.assert_allclose(found("style", x[:1], y[:1], reduction="none"), expected)


def test_layers_and_weights_must_be_as_many() -> None:
    with pytest.raises(UsageError, match="2 layers are compared with 1"):
        found("perceptual", layers(0), layers(1)[:1])
    with pytest.raises(UsageError, match="3 weights were given for 2 layers"):
        found("style", layers(0), layers(1), weights=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("name", ["ssim", "psnr"])
def test_the_unit_of_the_values_cancels_with_the_largest_one(name: str) -> None:
    draw = torch.Generator().manual_seed(3)
    x, y = (torch.rand(2, 1, 16, 16, generator=draw, dtype=torch.float64) for _ in range(2))
    call = getattr(namespace("loss"), name)
    torch.testing.assert_close(call(255 * x, 255 * y, max_val=255.0), call(x, y))
