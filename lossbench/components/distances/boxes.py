"""How alike two boxes x1, y1, x2, y2 are: 1 where they are equal.

The losses of the same names (iou, giou, diou, ciou) are 1 minus these, and say what the letters
mean: intersection I, union U, enclosing box C with the diagonal c, distance of the centres rho.
"""

from lossbench.components.boxes import centre_share, empty_share, iou, shape_penalty
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor
from lossbench.registry import distance


@distance(slot="boxes", range=(0.0, 1.0), zero_at_equal=False)
def box_iou(x1: Tensor, x2: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """The share of their common area that two boxes both cover.

    Formula:    I / U
    Shapes:     x1 [..., 4], x2 [..., 4] -> [...]
    Range:      [0, 1]
    Knobs:
        eps: added to the area of the union.
    Reference:  Jaccard, The Distribution of the Flora in the Alpine Zone, 1912.
    """
    return iou(x1, x2, eps)


@distance(slot="boxes", range=(-1.0, 1.0), zero_at_equal=False)
def generalized_box_iou(x1: Tensor, x2: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """Overlap less the waste: the share of the smallest box around both that neither covers.

    Formula:    I / U - (C - U) / C
    Shapes:     x1 [..., 4], x2 [..., 4] -> [...]
    Range:      [-1, 1]
    Knobs:
        eps: added to denominators.
    Reference:  Rezatofighi et al., Generalized Intersection over Union, 2019.
    """
    return iou(x1, x2, eps) - empty_share(x1, x2, eps)


@distance(slot="boxes", range=(-1.0, 1.0), zero_at_equal=False)
def distance_box_iou(x1: Tensor, x2: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """Overlap less the distance of the centres, measured by the diagonal around both.

    Formula:    I / U - rho^2 / c^2
    Shapes:     x1 [..., 4], x2 [..., 4] -> [...]
    Range:      [-1, 1]
    Knobs:
        eps: added to denominators.
    Reference:  Zheng et al., Distance-IoU Loss: Faster and Better Learning for Bounding Box
                Regression, 2020.
    """
    return iou(x1, x2, eps) - centre_share(x1, x2, eps)


@distance(
    slot="boxes",
    range=(-2.0, 1.0),
    zero_at_equal=False,
    detached="the weight a of the penalty for the shape carries no gradient",
)
def complete_box_iou(x1: Tensor, x2: Tensor, *, eps: Positive = 1e-7) -> Tensor:
    """Overlap less the distance of the centres and the difference in the ratio of the sides.

    Formula:    I / U - rho^2 / c^2 - a v, with v and a as in the loss ciou
    Shapes:     x1 [..., 4], x2 [..., 4] -> [...]
    Range:      [-2, 1]
    Knobs:
        eps: added to denominators.
    Reference:  Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object
                Detection and Instance Segmentation, 2022.
    """
    return distance_box_iou(x1, x2, eps=eps) - shape_penalty(x1, x2, eps)
