"""What the losses over classes share: where the classes lie, and the weight of a sample."""

from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch


def class_dimension(prediction: Tensor) -> int:
    """Return the dimension of the classes: 1 in a batch [N, C, ...], 0 in a single sample [C]."""
    return 0 if prediction.dim() == 1 else 1


def require_class_weights(weight: Tensor | None, classes: int) -> None:
    """Refuse class weights that are more or fewer than the classes."""
    if weight is not None and weight.shape != (classes,):
        raise UsageError(
            f"weight has {weight.numel()} values, but there are {classes} classes",
            hint="give one weight per class, in the order of the classes",
        )


def used_labels(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return which samples count, and labels in which an ignored sample bears class 0.

    An ignored label is no index (-100 by default), and gathering at it would fail.
    """
    used = target != ignore_index
    return used, torch.where(used, target, 0)


def pick(values: Tensor, labels: Tensor) -> Tensor:
    """Return of [N, C, ...] the entries of the labelled classes, [N, ...]."""
    dim = class_dimension(values)
    return values.gather(dim, labels.unsqueeze(dim)).squeeze(dim)


def label_weight(target: Tensor, weight: Tensor | None, ignore_index: int, like: Tensor) -> Tensor:
    """Return each sample's share in the mean: its class's weight, 0 where it is ignored."""
    used, labels = used_labels(target, ignore_index)
    if weight is None:
        return used.to(like.dtype)
    return torch.where(used, weight[labels], 0.0)


def along_classes(weight: Tensor, prediction: Tensor) -> Tensor:
    """Shape class weights [C] so that they broadcast against [N, C, ...]."""
    behind = prediction.dim() - class_dimension(prediction) - 1
    return weight.reshape(-1, *(1,) * behind)
