"""What the losses over embeddings share: directions, angles, distances, and sums over pairs.

Which pairs count is said by masks, never by picking rows: shapes then do not depend on the data.
Every function has a finite gradient at zero vectors, at equal points, and where a mask is empty.
"""

import math
from typing import Annotated

from annotated_types import Ge, Le

from lossbench.components.losses._classes import pick
from lossbench.lazy import Tensor, torch

Angle = Annotated[float, Ge(0), Le(math.pi)]
"""A knob that is an angle, in radians."""


def norm(x: Tensor) -> Tensor:
    """Return the lengths [N, 1] of vectors [N, D], without overflow; the gradient at 0 is 0."""
    size = x.abs().amax(-1, keepdim=True).detach()
    size = torch.where(size == 0, 1.0, size)
    square = (x / size).square().sum(-1, keepdim=True)
    zero = square == 0
    return torch.where(zero, 0.0, size * torch.where(zero, 1.0, square).sqrt())


def unit(x: Tensor) -> Tensor:
    """Return the directions of vectors [..., D]; that of the zero vector is the zero vector.

    A direction does not depend on the length, so the largest coordinate is divided out first:
    squares then neither overflow nor vanish, and the gradient stays the same.
    """
    size = x.abs().amax(-1, keepdim=True).detach()
    x = x / torch.where(size == 0, 1.0, size)
    square = x.square().sum(-1, keepdim=True)
    return x / torch.where(square == 0, 1.0, square).sqrt()


def cosines(x1: Tensor, x2: Tensor) -> Tensor:
    """Return the cosines [N, M] between all vectors of [N, D] and all of [M, D]."""
    return unit(x1) @ unit(x2).mT


def bounded(cosine: Tensor) -> Tensor:
    """Keep cosines 1e-7 (or the least that their dtype tells from 0) away from -1 and 1.

    The derivative of the angle is infinite at both ends.
    """
    edge = 1 - max(1e-7, torch.finfo(cosine.dtype).eps)
    return cosine.clamp(-edge, edge)


def class_cosines(prediction: Tensor, weight: Tensor | None) -> Tensor:
    """Return the cosines [N, C] of features and class vectors; ready ones where none are given."""
    return bounded(prediction if weight is None else cosines(prediction, weight))


def class_mask(target: Tensor, classes: int) -> Tensor:
    """Return where [N, C] the true class is."""
    return target.unsqueeze(1) == torch.arange(classes, device=target.device)


def put(logits: Tensor, target: Tensor, own: Tensor) -> Tensor:
    """Return the logits [N, C] with others [N] at the true classes."""
    return torch.where(class_mask(target, logits.shape[1]), own.unsqueeze(1), logits)


def turned(cosine: Tensor, margin: Tensor | float) -> Tensor:
    """Return cos(t + m) for the cosine of t.

    Beyond t = pi - m, where it would rise again, it is c - m sin m: the logit keeps falling.
    """
    angle, margin = torch.acos(cosine), torch.zeros_like(cosine) + margin
    beyond = cosine - margin * torch.sin(margin)
    return torch.where(angle + margin < math.pi, torch.cos(angle + margin), beyond)


def surprise(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy [N] of logits [N, C] and class indices [N]."""
    return -pick(torch.log_softmax(logits, 1), target)


def squared_distances(x1: Tensor, x2: Tensor) -> Tensor:
    """Return the squared distances [N, M] of all vectors of [N, D] from all of [M, D]."""
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).square().sum(-1)


def root(square: Tensor) -> Tensor:
    """Return the square root; its gradient at 0 is 0, where the true one is infinite."""
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def others(count: int, like: Tensor) -> Tensor:
    """Return where [N, N] two samples are not the same one."""
    return ~torch.eye(count, dtype=torch.bool, device=like.device)


def pair_masks(target: Tensor) -> tuple[Tensor, Tensor]:
    """Return where [N, N] two different samples are of one class, and where they are not."""
    alike = target.unsqueeze(0) == target.unsqueeze(1)
    return alike & others(len(target), target), ~alike


def masked_logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    """Return ln sum e^x [N] over the entries of each row [N, M] that a mask keeps.

    Where it keeps none, the number is finite and means nothing: the caller leaves it out.
    """
    return torch.logsumexp(torch.where(_never_empty(mask), x, -math.inf), -1)


def log_one_plus(x: Tensor, mask: Tensor) -> Tensor:
    """Return ln(1 + sum e^x) [N] over the entries that a mask keeps: 0 where it keeps none."""
    total = masked_logsumexp(x, mask)
    return torch.where(mask.any(-1), torch.logaddexp(torch.zeros_like(total), total), 0.0)


def masked_largest(x: Tensor, mask: Tensor) -> Tensor:
    """Return the largest entry of each row that a mask keeps; of an empty row, any number."""
    return torch.where(_never_empty(mask), x, -math.inf).amax(-1)


def masked_least(x: Tensor, mask: Tensor) -> Tensor:
    """Return the least entry of each row that a mask keeps; of an empty row, any number."""
    return torch.where(_never_empty(mask), x, math.inf).amin(-1)


def _never_empty(mask: Tensor) -> Tensor:
    """Let rows that keep nothing keep everything, so that no infinity is left alone."""
    return mask | ~mask.any(-1, keepdim=True)


def share(counts: Tensor, like: Tensor) -> Tensor:
    """Return what the mean divides by: the values that count; all of them where none does.

    So the mean of a batch in which nothing can be compared is 0, and not 0 / 0.
    """
    return torch.where(counts.any(), counts.to(like.dtype), 1.0).to(like.dtype)
