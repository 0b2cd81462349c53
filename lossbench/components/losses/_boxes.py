"""What the losses over boxes share beyond their geometry."""

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch


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


def root(squared: Tensor) -> Tensor:
    """Return the square root; at 0 its gradient is 0."""
    nothing = squared <= 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, squared).sqrt())
