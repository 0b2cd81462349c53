"""Losses that compare two images x and y [N, C, H, W] with values in [0, 1], or smooth one."""

import math

from lossbench.components.losses._probabilities import power
from lossbench.components.losses._windows import similarity
from lossbench.components.vocabulary import NonNegative, Positive, PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(target="image", prediction="image", zero_at_target=True, symmetric=True)
def ssim(
    prediction: Tensor,
    target: Tensor,
    *,
    window_size: PositiveInt = 11,
    sigma: Positive = 1.5,
    max_val: Positive = 1.0,
    k1: Positive = 0.01,
    k2: Positive = 0.03,
) -> Tensor:
    """What is missing from the structural similarity: of brightness, contrast and structure.

    Formula:    1 - mean over windows of (2 m_x m_y + C1) (2 s_xy + C2)
                / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2)), with means m, variances s^2 and
                covariance s_xy under a Gaussian window, C1 = (k1 max_val)^2, C2 = (k2 max_val)^2
    Derivative: by the quotient rule; m and s are sums over the window
    Shapes:     prediction [N, C, H, W], target [N, C, H, W] -> [N]
    Range:      [0, 2]
    Knobs:
        window_size: the side of the window, in pixels; cut to the image where that is smaller.
        sigma: the width of the Gaussian.
        max_val: the largest value that a pixel can have.
        k1: steadies the comparison of dark windows.
        k2: steadies the comparison of flat windows.
    Note:       only windows within the image count.
    Reference:  Wang et al., Image Quality Assessment: From Error Visibility to Structural
                Similarity, 2004.
    """
    whole, _ = similarity(
        prediction,
        target,
        size=window_size,
        sigma=sigma,
        luminance=(k1 * max_val) * (k1 * max_val),
        contrast=(k2 * max_val) * (k2 * max_val),
    )
    return 1 - whole.mean(1)


SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""How much each scale counts, from fine to coarse: as people judged images (Wang et al., 2003)."""


@loss(target="image", prediction="image", zero_at_target=True, symmetric=True)
def ms_ssim(
    prediction: Tensor,
    target: Tensor,
    *,
    window_size: PositiveInt = 11,
    sigma: Positive = 1.5,
    max_val: Positive = 1.0,
    k1: Positive = 0.01,
    k2: Positive = 0.03,
) -> Tensor:
    """Structural similarity at five scales: an image is also compared as seen from afar.

    Formula:    1 - SSIM_5^w5 prod_{j<5} CS_j^wj, with CS the part of SSIM for contrast and
                structure, the images halved from scale to scale,
                w = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
    Derivative: by the product rule; 0 where a scale's similarity is not positive
    Shapes:     prediction [N, C, H, W], target [N, C, H, W] of at least 16 x 16 -> [N]
    Range:      [0, 1]
    Knobs:
        window_size: the side of the window, in pixels; cut to the image where that is smaller.
        sigma: the width of the Gaussian.
        max_val: the largest value that a pixel can have.
        k1: steadies the comparison of dark windows.
        k2: steadies the comparison of flat windows.
    Note:       negative similarities count as 0; all windows are whole from 176 pixels upwards.
    Errors:     images below 16 x 16.
    Reference:  Wang, Simoncelli & Bovik, Multiscale Structural Similarity for Image Quality
                Assessment, 2003.
    """
    if min(prediction.shape[-2:]) < 2 ** (len(SCALES) - 1):
        raise UsageError(
            f"ms_ssim needs images of at least 16 x 16 pixels, got {list(prediction.shape)}",
            hint="use ssim for smaller ones",
        )
    x, y = prediction, target
    product = torch.ones_like(x[:, :, 0, 0])
    for scale, exponent in enumerate(SCALES):
        if scale:
            x, y = (torch.nn.functional.avg_pool2d(image, 2) for image in (x, y))
        whole, part = similarity(
            x,
            y,
            size=window_size,
            sigma=sigma,
            luminance=(k1 * max_val) * (k1 * max_val),
            contrast=(k2 * max_val) * (k2 * max_val),
        )
        last = scale == len(SCALES) - 1
        product = product * power((whole if last else part).clamp(min=0), exponent)
    return 1 - product.mean(1)


def _steps(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbours, down and across."""
    return images.diff(dim=-2), images.diff(dim=-1)


def _over_pixels(images: Tensor) -> Tensor:
    return images.flatten(-2).sum(-1)


@loss(inputs={"prediction": "image"})
def total_variation(prediction: Tensor) -> Tensor:
    """How much an image changes from pixel to pixel: noise costs, edges cost once, plains nothing.

    Formula:    sum |x_(i+1)j - x_ij| + |x_i(j+1) - x_ij| over the pixels
    Derivative: for each pixel the sum of the signs of its differences to its four neighbours
    Shapes:     prediction [..., H, W] -> [...]: one sum for each channel of each image
    Range:      [0, inf)
    Note:       takes no target: it is added to a loss that has one.
    Reference:  Rudin, Osher & Fatemi, Nonlinear Total Variation Based Noise Removal Algorithms,
                1992.
    """
    down, across = _steps(prediction)
    return _over_pixels(down.abs()) + _over_pixels(across.abs())


@loss(target="image", prediction="image", symmetric=True)
def psnr(
    prediction: Tensor, target: Tensor, *, max_val: Positive = 1.0, eps: Positive = 1e-10
) -> Tensor:
    """The noise of an image in decibels, for every image by itself: the mean error, by its log.

    Formula:    -10 log10(max_val^2 / MSE), with MSE / max_val^2 of at least eps
    Derivative: (20 / ln 10) (x - y) / (pixels MSE), which grows as the error vanishes; 0 below eps
    Shapes:     prediction [N, ...], target [N, ...] -> [N]
    Range:      (-inf, inf); from -100 for equal images to 0 for the largest error
    Knobs:
        max_val: the largest value that a pixel can have.
        eps: the least error that is told from none.
    Reference:  Huynh-Thu & Ghanbari, Scope of Validity of PSNR in Image/Video Quality Assessment,
                2008.
    """
    share = torch.square((prediction - target) / max_val)
    return (10 / math.log(10)) * torch.log(share.reshape(len(share), -1).mean(1).clamp(min=eps))


@loss(target="image", prediction="image", zero_at_target=True, symmetric=True)
def gradient_difference(prediction: Tensor, target: Tensor, *, alpha: Positive = 1.0) -> Tensor:
    """Compares the edges of two images: how steep they are, not which way they go.

    Formula:    sum ||dx_i| - |dy_i||^alpha over the differences d of neighbours, down and across
    Derivative: alpha ||dx_i| - |dy_i||^(alpha - 1) sign(|dx_i| - |dy_i|) sign(dx_i), from the
                differences to the pixels; 0 where they are equal
    Shapes:     prediction [..., H, W], target [..., H, W] -> [...]: one sum for each channel
    Range:      [0, inf)
    Knobs:
        alpha: the power of a difference; 1 or 2 in the paper.
    Note:       equal edges of equal steepness may lie at any brightness: add an l1 or mse.
    Reference:  Mathieu, Couprie & LeCun, Deep Multi-Scale Video Prediction beyond Mean Square
                Error, 2016.
    """
    total = torch.zeros_like(prediction[..., 0, 0])
    for own, other in zip(_steps(prediction), _steps(target), strict=True):
        total = total + _over_pixels(power((own.abs() - other.abs()).abs(), alpha))
    return total


@loss(
    target="image",
    prediction="image",
    zero_at_target=True,
    symmetric=True,
    detached="the weights of the frequencies carry no gradient",
)
def focal_frequency(prediction: Tensor, target: Tensor, *, alpha: NonNegative = 1.0) -> Tensor:
    """Compares spectra, with most weight on the frequencies that are worst: what blur leaves out.

    Formula:    w |F|^2, with F the orthonormal discrete Fourier transform of x - y,
                w = (|F| / max |F|)^alpha, the maximum over the frequencies of an image's channel
    Derivative: 2 times the inverse transform of w F, with w held fast
    Shapes:     prediction [N, C, H, W], target [N, C, H, W] -> [N, C, H, W], one for each frequency
    Range:      [0, inf)
    Knobs:
        alpha: how much more the worst frequencies count; 0 is mse (by Parseval's theorem).
    Reference:  Jiang et al., Focal Frequency Loss for Image Reconstruction and Synthesis, 2021.
    """
    # No transform takes half precision on every device.
    wide = torch.promote_types(prediction.dtype, torch.float32)
    spectrum = torch.view_as_real(torch.fft.fft2((prediction - target).to(wide), norm="ortho"))
    energy = torch.square(spectrum).sum(-1)
    size = energy.detach().sqrt()
    worst = size.amax((-2, -1), keepdim=True)
    weight = power(size / torch.where(worst == 0, 1.0, worst), alpha)
    return (weight * energy).to(prediction.dtype)
