"""Losses of boxes that look at coordinates rather than at areas.

Boxes [N, 4] are x1, y1, x2, y2; `eps` is added to denominators only.
"""

from lossbench.components.boxes import centre, size, squared_centre_distance
from lossbench.components.boxes import iou as overlap
from lossbench.components.losses._boxes import root
from lossbench.components.losses.regression import smooth_l1
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(target="boxes", prediction="boxes", zero_at_target=True)
def bounded_iou(
    prediction: Tensor, target: Tensor, *, beta: Positive = 0.2, eps: Positive = 1e-3
) -> Tensor:
    """What each coordinate by itself still allows of the overlap, the others being right.

    Formula:    smooth_l1(1 - B) for x, y, w and h each, with B the largest IoU possible:
                max(0, (w_t - 2 |dx|) / (w_t + 2 |dx|)) for x, min(w / w_t, w_t / w) for w
    Derivative: clip((1 - B) / beta, 0, 1) times -B'; 0 for x where the boxes cannot meet
    Shapes:     prediction [N, 4], target [N, 4] -> [N, 4]: x, y, w, h
    Range:      [0, 1]
    Knobs:
        beta: the loss below which it is quadratic.
        eps: added to denominators.
    Reference:  Tychsen-Smith & Petersson, Improving Object Localization with Fitness NMS and
                Bounded IoU Loss, 2018.
    """
    bounds = []
    for at, at_t, side_t in zip(centre(prediction), centre(target), size(target), strict=True):
        off = 2 * (at - at_t).abs()
        bounds.append(((side_t - off) / (side_t + off + eps)).clamp(min=0))
    for side, side_t in zip(size(prediction), size(target), strict=True):
        bounds.append(torch.minimum(side / (side_t + eps), side_t / (side + eps)))
    best = torch.stack(bounds, dim=-1)
    return smooth_l1(best, torch.ones_like(best), beta=beta)


@loss(target="boxes", prediction="boxes", zero_at_target=True, symmetric=True)
def mpdiou(
    prediction: Tensor, target: Tensor, *, width: Positive, height: Positive, eps: Positive = 1e-7
) -> Tensor:
    """IoU and the distances of the two corners, measured by the diagonal of the image.

    Formula:    1 - I / U + (d1^2 + d2^2) / (width^2 + height^2), with d1 the distance of the
                corners x1, y1 and d2 of the corners x2, y2
    Derivative: that of iou, and 2 (x - x_t) / (width^2 + height^2) for each coordinate
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, inf); [0, 3] for boxes within the image
    Knobs:
        width: of the image, in the units of the boxes.
        height: of the image, in the units of the boxes.
        eps: added to the area of the union.
    Reference:  Ma & Xu, MPDIoU: A Loss for Efficient and Accurate Bounding Box Regression, 2023.
    """
    corners = torch.square(prediction - target).sum(-1) / (width * width + height * height)
    return 1 - overlap(prediction, target, eps) + corners


@loss(target="boxes", prediction="boxes", zero_at_target=True, symmetric=True)
def nwd(prediction: Tensor, target: Tensor, *, constant: Positive = 12.8) -> Tensor:
    """Boxes as Gaussians: how far the mass must be moved. Forgiving for objects of a few pixels.

    Formula:    1 - exp(-W / constant), W^2 = dx^2 + dy^2 + ((w - w_t)^2 + (h - h_t)^2) / 4,
                the Wasserstein distance of normal densities with the deviations w / 2 and h / 2
    Derivative: exp(-W / constant) W' / constant; 0 at W = 0
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 1]
    Knobs:
        constant: the distance that costs 63 %: about the usual size of the objects.
    Reference:  Wang et al., A Normalized Gaussian Wasserstein Distance for Tiny Object Detection,
                2021.
    """
    (width, height), (width_t, height_t) = size(prediction), size(target)
    sides = torch.square(width - width_t) + torch.square(height - height_t)
    moved = root(squared_centre_distance(prediction, target) + sides / 4)
    return -torch.expm1(-moved / constant)
