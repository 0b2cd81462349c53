"""Geometry of boxes [..., 4], given by their corners x1, y1, x2, y2; shapes broadcast.

A box whose corners are exchanged (x2 < x1) has no inside: its size counts as 0. Every denominator
has `eps` added, so that boxes of no size give finite values and gradients, and nothing else has.
"""

import math

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch


def centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates of the middle."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2


def size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return width and height."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1).clamp(min=0), (y2 - y1).clamp(min=0)


def areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas of the intersection and of the union."""
    width, height = size(
        torch.cat(
            [torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1
        )
    )
    (width_a, height_a), (width_b, height_b) = size(a), size(b)
    inside = width * height
    return inside, width_a * height_a + width_b * height_b - inside


def iou(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return the intersection over the union, in [0, 1]."""
    inside, union = areas(a, b)
    return inside / (union + eps)


def enclosing_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return width and height of the smallest box around both."""
    return size(
        torch.cat(
            [torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1
        )
    )


def empty_share(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return the share of the enclosing box that neither covers, in [0, 1): GIoU's penalty."""
    _, union = areas(a, b)
    width, height = enclosing_size(a, b)
    around = width * height
    return (around - union) / (around + eps)


def squared_centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return rho^2, the squared distance of the centres."""
    (x_a, y_a), (x_b, y_b) = centre(a), centre(b)
    return torch.square(x_a - x_b) + torch.square(y_a - y_b)


def squared_diagonal(a: Tensor, b: Tensor) -> Tensor:
    """Return c^2, the squared diagonal of the smallest box around both."""
    width, height = enclosing_size(a, b)
    return torch.square(width) + torch.square(height)


def centre_share(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return rho^2 / c^2, in [0, 1): DIoU's penalty."""
    return squared_centre_distance(a, b) / (squared_diagonal(a, b) + eps)


def shape_penalty(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return a v, in [0, 1]: CIoU's penalty for another ratio of the sides.

    v is the difference of the diagonals' angles, as a share of a right angle and squared; its
    weight a = v / (1 - IoU + v) grows with the overlap and carries no gradient.
    """
    (width_a, height_a), (width_b, height_b) = size(a), size(b)
    turn = torch.atan(width_a / (height_a + eps)) - torch.atan(width_b / (height_b + eps))
    v = torch.square(turn) * (4 / math.pi**2)
    weight = v / (1 - iou(a, b, eps) + v + eps)
    return weight.detach() * v


def require_boxes(boxes: Tensor, label: str) -> None:
    """Refuse boxes that have no inside; the losses themselves stay finite on them.

    Raises UsageError naming the first one.
    """
    if boxes.shape[-1:] != (4,):
        raise UsageError(
            f"{label} has shape {list(boxes.shape)}, and boxes are x1, y1, x2, y2",
            hint="give four numbers per box, the corners with the smaller and the larger values",
        )
    flat = boxes.reshape(-1, 4)
    wrong = (flat[:, 2:] <= flat[:, :2]).any(1)
    if not bool(wrong.any()):
        return
    first = int(wrong.nonzero()[0])
    x1, y1, x2, y2 = flat[first].tolist()
    reason = "x2 < x1" if x2 < x1 else "y2 < y1" if y2 < y1 else "its area is 0"
    raise UsageError(
        f"{label}: box {first} is [{x1:g}, {y1:g}, {x2:g}, {y2:g}], and {reason}",
        hint="boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2",
    )
