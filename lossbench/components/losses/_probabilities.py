"""Pieces of formulas with probabilities that stay finite, in value and gradient, at 0 and 1."""

from typing import Any

from lossbench.components.losses._classes import along_classes, class_dimension
from lossbench.lazy import Tensor, torch

LOWEST_LOG = -100.0
"""The bound of a logarithm, torch's own choice: certainty in the wrong answer costs 100 nats."""


def bounded_logs(probability: Tensor) -> tuple[Tensor, Tensor]:
    """Return max(ln p, -100) and max(ln(1 - p), -100) with finite gradients at p = 0 and 1.

    clamp() alone would not do: where the logarithm is infinite it multiplies an infinite
    derivative by 0, which is NaN. So the logarithm is never shown such a p.
    """
    never, always = probability <= 0, probability >= 1
    yes = torch.log(torch.where(never, 1.0, probability)).clamp(min=LOWEST_LOG)
    no = torch.log1p(-torch.where(always, 0.0, probability)).clamp(min=LOWEST_LOG)
    return torch.where(never, LOWEST_LOG, yes), torch.where(always, LOWEST_LOG, no)


def power(base: Tensor, exponent: Any) -> Tensor:
    """Return base ** exponent for base >= 0; at 0 the gradient is 0, where it might be infinite."""
    positive = ~(base <= 0)  # what is not a number stays so
    raised = torch.where(positive, base, 1.0) ** exponent
    return torch.where(positive, raised, torch.zeros_like(base) ** exponent)


def surprises(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return -ln p and -ln(1 - p) for p = sigmoid(logit): what a yes and what a no would cost."""
    zero = torch.zeros_like(logits)
    return torch.logaddexp(zero, -logits), torch.logaddexp(zero, logits)


def one_hot(target: Tensor, prediction: Tensor) -> Tensor:
    """Return labels [N, ...] as the distribution [N, C, ...] that is certain of them."""
    dim = class_dimension(prediction)
    classes = torch.arange(prediction.shape[dim], device=target.device)
    found = along_classes(classes, prediction) == target.unsqueeze(dim)
    return found.to(prediction.dtype)


def as_distribution(target: Tensor, prediction: Tensor) -> Tensor:
    """Return a target, labels or already a distribution, as the distribution over the classes."""
    return target if target.is_floating_point() else one_hot(target, prediction)


def missing(log_probability: Tensor) -> Tensor:
    """Return 1 - p from ln p, exact also where p is close to 1."""
    return -torch.expm1(log_probability)
