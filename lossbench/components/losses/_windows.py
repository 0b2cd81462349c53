"""Local means under a Gaussian window, as structural similarity takes them."""

from lossbench.lazy import Tensor, torch


def gaussian(size: int, sigma: Tensor | float, like: Tensor) -> Tensor:
    """Return the weights of a Gaussian window; they add up to 1."""
    at = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-torch.square(at) / (2 * sigma * sigma)).to(like.dtype)
    return weights / weights.sum()


def local_means(x: Tensor, size: int, sigma: Tensor | float) -> Tensor:
    """Return of [M, 1, H, W] the weighted mean around each place where the window fits.

    A window larger than the image is cut to it.
    """
    height, width = x.shape[-2:]
    down = gaussian(min(size, height), sigma, x).reshape(1, 1, -1, 1)
    across = gaussian(min(size, width), sigma, x).reshape(1, 1, 1, -1)
    return torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, down), across)


def similarity(
    x: Tensor,
    y: Tensor,
    *,
    size: int,
    sigma: Tensor | float,
    luminance: Tensor | float,
    contrast: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """Return for images [N, C, H, W] the mean SSIM and the mean of its contrast part, [N, C].

    The two constants keep its quotients from 0 / 0.
    """
    lead = x.shape[:2]
    x, y = (image.reshape(-1, 1, *image.shape[-2:]) for image in (x, y))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
        local_means(image, size, sigma) for image in (x, y, x * x, y * y, x * y)
    )
    spread = (mean_xx - mean_x * mean_x) + (mean_yy - mean_y * mean_y)
    shared = mean_xy - mean_x * mean_y
    part = (2 * shared + contrast) / (spread + contrast)
    light = (2 * mean_x * mean_y + luminance) / (mean_x * mean_x + mean_y * mean_y + luminance)
    whole, part = ((v.flatten(1).mean(1).reshape(lead)) for v in (light * part, part))
    return whole, part
