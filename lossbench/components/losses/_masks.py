"""What the losses of segmentation share: probabilities and masks, counts, distances to a border."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from lossbench.components.losses._probabilities import one_hot
from lossbench.components.vocabulary import PredictionKind
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch

Activation = Literal["auto", "softmax", "sigmoid", "none"]
"""What turns predictions into probabilities: `auto` takes softmax for class indices and sigmoid for
masks of zeros and ones, or where there is one channel only; `none` is for probabilities."""


def wants(activation: str = "auto", **_: Any) -> PredictionKind:
    """Return what a loss with this knob wants from the network."""
    return "probabilities" if activation == "none" else "logits"


DENSE: Mapping[str, Any] = {
    "target": ("index", "zero_one"),
    "prediction": "logits",
    "prediction_by_knobs": wants,
    "dense": True,
}
"""What every loss of segmentation declares."""


def resolve(activation: str, prediction: Tensor, target: Tensor) -> str:
    """Return which activation `auto` stands for."""
    if activation != "auto":
        return activation
    indices = not target.is_floating_point() and target.dim() < prediction.dim()
    return "softmax" if indices and prediction.shape[1] > 1 else "sigmoid"


def masks(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the target as masks of the prediction's shape and dtype.

    Raises UsageError where it is neither indices [N, d...] nor masks [N, C, d...].
    """
    if target.shape == prediction.shape:
        return target.to(prediction.dtype)
    if target.shape != prediction.shape[:1] + prediction.shape[2:]:
        raise UsageError(
            f"masks of shape {list(target.shape)} do not fit predictions of shape "
            f"{list(prediction.shape)}",
            hint="give class indices [N, d...], or zeros and ones [N, C, d...]",
        )
    if prediction.shape[1] == 1:
        return target.unsqueeze(1).to(prediction.dtype)
    return one_hot(target.long(), prediction)


def probabilities(prediction: Tensor, target: Tensor, activation: str) -> Tensor:
    """Return the probabilities [N, C, d...] that the predictions stand for."""
    chosen = resolve(activation, prediction, target)
    if chosen == "none":
        return prediction
    return prediction.softmax(1) if chosen == "softmax" else prediction.sigmoid()


def flat_pair(prediction: Tensor, target: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Return probabilities and masks, both [N, C, pixels]."""
    p, y = probabilities(prediction, target, activation), masks(prediction, target)
    lead = prediction.shape[:2]
    return p.reshape(*lead, -1), y.reshape(*lead, -1)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole; nothing of nothing is all of it."""
    nothing = whole <= 0
    return torch.where(nothing, 1.0, part / torch.where(nothing, 1.0, whole))


def counts(prediction: Tensor, target: Tensor, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return true positives, false positives and false negatives [N, C], each a soft count."""
    p, y = flat_pair(prediction, target, activation)
    both = (p * y).sum(-1)
    return both, (p * (1 - y)).sum(-1), ((1 - p) * y).sum(-1)


# --- distances on a grid ----------------------------------------------------------------------


def _distance_to_outside(inside: Tensor, spatial: int) -> Tensor:
    """Return for each pixel within a mask the distance to the nearest one outside it, else 0.

    The squares of distances are minimised along one dimension after another (Felzenszwalb &
    Huttenlocher, Distance Transforms of Sampled Functions, 2012), which is exact.
    """
    shape = inside.shape[-spatial:]
    far = 1.0 + sum(side * side for side in shape)
    squared = torch.where(inside, far, 0.0)
    for dim, side in zip(range(-spatial, 0), shape, strict=True):
        at = torch.arange(side, device=inside.device, dtype=squared.dtype)
        steps = torch.square(at.unsqueeze(1) - at)
        along = squared.movedim(dim, -1).unsqueeze(-2)
        squared = (along + steps).amin(-1).movedim(-1, dim)
    return squared.sqrt()


def border_distances(mask: Tensor, spatial: int) -> tuple[Tensor, Tensor]:
    """Return the distances of pixels inside to the outside, and of those outside to the inside.

    Both are 0 for a mask [..., d...] that is empty or full: it has no border.
    """
    mask = mask > 0.5
    dims = tuple(range(-spatial, 0))
    bordered = (mask.any(dims, keepdim=True) & (~mask).any(dims, keepdim=True)) if dims else mask

    def distance(inside: Tensor) -> Tensor:
        return torch.where(bordered, _distance_to_outside(inside, spatial), 0.0)

    return distance(mask), distance(~mask)


# --- skeletons --------------------------------------------------------------------------------


def _pool(x: Tensor, window: tuple[int, ...]) -> Tensor:
    """Return the maximum within a window around each pixel; beyond the edge there is nothing."""
    functions: dict[int, Callable[..., Tensor]] = {
        1: torch.nn.functional.max_pool1d,
        2: torch.nn.functional.max_pool2d,
        3: torch.nn.functional.max_pool3d,
    }
    padding = tuple(side // 2 for side in window)
    return functions[len(window)](x, window, stride=1, padding=padding)


def _eroded(x: Tensor) -> Tensor:
    """Return the minimum over a pixel and its neighbours along the axes."""
    spatial = x.dim() - 2
    windows = (tuple(3 if i == axis else 1 for i in range(spatial)) for axis in range(spatial))
    least = x
    for window in windows:
        least = torch.minimum(least, -_pool(-x, window))
    return least


def soft_skeleton(x: Tensor, iterations: int) -> Tensor:
    """Return what thins out last: a mask [N, C, d...] less its opening, again and again eroded."""
    box = (3,) * (x.dim() - 2)
    skeleton = torch.relu(x - _pool(_eroded(x), box))
    for _ in range(iterations):
        x = _eroded(x)
        ridge = torch.relu(x - _pool(_eroded(x), box))
        skeleton = skeleton + torch.relu(ridge - skeleton * ridge)
    return skeleton
