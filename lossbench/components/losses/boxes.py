"""Losses that compare a box with another by their overlap, and by what is left where none is.

Boxes [N, 4] are x1, y1, x2, y2. I is the area of the intersection, U that of the union, C that of
the smallest enclosing box with the size cw x ch and the diagonal c; rho is the distance of the
centres. `eps` is added to denominators only. A box with x2 < x1 counts as one without an inside.
"""

from typing import Literal

from lossbench.components.boxes import (
    areas,
    centre,
    centre_share,
    empty_share,
    enclosing_size,
    shape_penalty,
    size,
    squared_centre_distance,
)
from lossbench.components.boxes import iou as overlap
from lossbench.components.losses._boxes import root
from lossbench.components.losses._probabilities import power
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(target="boxes", prediction="boxes", zero_at_target=True, symmetric=True)
def iou(
    prediction: Tensor,
    target: Tensor,
    *,
    form: Literal["linear", "log"] = "linear",
    eps: Positive = 1e-7,
) -> Tensor:
    """The share of the two boxes that they do not have in common.

    Formula:    1 - I / U; in the form of logarithms -ln(I / U), with I / U of at least eps
    Derivative: -(I' U - I U') / U^2, with I' and U' the lengths of the edges that move; 0 where
                the boxes do not meet. The form of logarithms divides that by I / U
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, inf); [0, 1] in the linear form
    Knobs:
        form: linear, or log, which pulls harder the less the boxes overlap.
        eps: added to the area of the union.
    Note:       boxes that do not meet give no gradient: that is what giou and diou are for.
    Reference:  Yu et al., UnitBox: An Advanced Object Detection Network, 2016.
    """
    if form == "linear":
        return 1 - overlap(prediction, target, eps)
    inside, union = areas(prediction, target)
    return -torch.log((inside / (union + eps)).clamp(min=eps))


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    aliases=("generalized_box_iou",),
)
def giou(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """IoU and the waste: the share of the smallest box around both that neither covers.

    Formula:    1 - I / U + (C - U) / C
    Derivative: that of iou, and (U C' - U' C) / C^2, which does not vanish where the boxes are
                apart
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 2]
    Knobs:
        eps: added to denominators.
    Reference:  Rezatofighi et al., Generalized Intersection over Union, 2019.
    """
    return 1 - overlap(prediction, target, eps) + empty_share(prediction, target, eps)


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    aliases=("distance_box_iou",),
)
def diou(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """IoU and the distance of the centres, measured by the diagonal of the box around both.

    Formula:    1 - I / U + rho^2 / c^2
    Derivative: that of iou, and (2 rho rho' - (rho^2 / c^2) (c^2)') / c^2, which draws the centres
                together also where the boxes are apart
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 2]
    Knobs:
        eps: added to denominators.
    Reference:  Zheng et al., Distance-IoU Loss: Faster and Better Learning for Bounding Box
                Regression, 2020.
    """
    return 1 - overlap(prediction, target, eps) + centre_share(prediction, target, eps)


@loss(
    target="boxes",
    prediction="boxes",
    zero_at_target=True,
    symmetric=True,
    aliases=("complete_box_iou",),
    detached="the weight a of the penalty for the shape carries no gradient",
)
def ciou(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """DIoU and the ratio of the sides: overlap, centre and shape in one.

    Formula:    1 - I / U + rho^2 / c^2 + a v,
                with v = (4 / pi^2) (atan(w_t / h_t) - atan(w / h))^2, a = v / (1 - I / U + v)
    Derivative: that of diou, and a v', with a held fast
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 3]
    Knobs:
        eps: added to denominators.
    Note:       the paper lets a = 0 where I / U < 1/2; the reference codes do not, and so here.
    Reference:  Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object
                Detection and Instance Segmentation, 2022.
    """
    apart = centre_share(prediction, target, eps) + shape_penalty(prediction, target, eps)
    return 1 - overlap(prediction, target, eps) + apart


@loss(target="boxes", prediction="boxes", zero_at_target=True, symmetric=True)
def eiou(prediction: Tensor, target: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """DIoU and the differences of width and of height, each by itself.

    Formula:    1 - I / U + rho^2 / c^2 + (w - w_t)^2 / cw^2 + (h - h_t)^2 / ch^2
    Derivative: that of diou, and that of the two quotients, the enclosing sizes included
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 4]
    Knobs:
        eps: added to denominators.
    Note:       diou where the two boxes have the same size.
    Reference:  Zhang et al., Focal and Efficient IOU Loss for Accurate Bounding Box Regression,
                2022.
    """
    (width, height), (width_t, height_t) = size(prediction), size(target)
    cw, ch = enclosing_size(prediction, target)
    wider = torch.square(width - width_t) / (torch.square(cw) + eps)
    higher = torch.square(height - height_t) / (torch.square(ch) + eps)
    apart = centre_share(prediction, target, eps)
    return 1 - overlap(prediction, target, eps) + apart + wider + higher


@loss(target="boxes", prediction="boxes", zero_at_target=True, symmetric=True)
def siou(
    prediction: Tensor, target: Tensor, *, theta: Positive = 4.0, eps: Positive = 1e-7
) -> Tensor:
    """IoU, the distance of the centres along the axes, and the sides; diagonal detours cost less.

    Formula:    1 - I / U + (D + O) / 2, with the angle's L = sin(2 asin(min(|dx|, |dy|) / rho)),
                D = sum over x, y of 1 - exp(-(2 - L) (d / c)^2), c the enclosing side cw or ch,
                O = sum over w, h of (1 - exp(-|w - w_t| / max(w, w_t)))^theta
    Derivative: that of iou, and half of D' and O' by the chain rule; L = 2 s sqrt(1 - s^2) with
                s = min(|dx|, |dy|) / rho. 0 for the angle where the centres coincide
    Shapes:     prediction [N, 4], target [N, 4] -> [N]
    Range:      [0, 3]
    Knobs:
        theta: how little a small difference of the sides counts; the paper uses 2 to 6.
        eps: added to denominators.
    Reference:  Gevorgyan, SIoU Loss: More Powerful Learning for Bounding Box Regression, 2022.
    """
    (x, y), (x_t, y_t) = centre(prediction), centre(target)
    along_x, along_y = (x - x_t).abs(), (y - y_t).abs()
    rho = root(squared_centre_distance(prediction, target))
    sine = torch.minimum(along_x, along_y) / (rho + eps)
    steep = 2 - 2 * sine * torch.sqrt(1 - torch.square(sine))  # sine <= 1 / sqrt(2)
    distance, shape = torch.zeros_like(x), torch.zeros_like(x)
    for offset, side in zip((along_x, along_y), enclosing_size(prediction, target), strict=True):
        distance = distance - torch.expm1(-steep * torch.square(offset / (side + eps)))
    for own, other in zip(size(prediction), size(target), strict=True):
        unlike = (own - other).abs() / (torch.maximum(own, other) + eps)
        shape = shape + power(-torch.expm1(-unlike), theta)
    return 1 - overlap(prediction, target, eps) + (distance + shape) / 2
