"""Losses that fit a distribution: negative log-likelihoods and the divergence between two."""

import math
from typing import Any

from lossbench.components.vocabulary import Positive, PredictionKind
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="distribution",
    prediction="log_probabilities",
    log_target="log_target",
    kernel="torch.nn.functional.kl_div",
    aliases=("kl_divergence",),
    prefer_formula="torch has no batching rule for its kernel: a fused group would loop over it",
)
def kl_div(prediction: Tensor, target: Tensor, *, log_target: bool = False) -> Tensor:
    """Nats lost by believing the predicted distribution where the target one is true.

    Formula:    y (ln y - x), 0 where y = 0, with x = prediction; with log_target e^y (y - x)
    Derivative: -y; with log_target -e^y
    Shapes:     prediction [N, C, ...] (log-probabilities), target [N, C, ...] -> [N, C, ...]
    Range:      (-inf, inf)
    Knobs:
        log_target: the target is given as log-probabilities, too.
    Note:       single values may be negative, the sum over the classes is not. The mean divides by
                all N C values; reduction "batchmean" divides by N, which gives the divergence.
    Reference:  Kullback & Leibler, On Information and Sufficiency, 1951.
    """
    if log_target:
        return torch.exp(target) * (target - prediction)
    return torch.xlogy(target, target) - target * prediction


def _poisson_prediction(*, log_input: bool, **_: Any) -> PredictionKind:
    """Return what the network gives: the logarithm of the mean (any number), or the mean."""
    return "log" if log_input else "positive"


@loss(
    target=("count", "real"),
    kernel="torch.nn.functional.poisson_nll_loss",
    prediction_by_knobs=_poisson_prediction,
    largest=80.0,
)
def poisson_nll(
    prediction: Tensor,
    target: Tensor,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: Positive = 1e-8,
) -> Tensor:
    """Negative log-likelihood of a count: errors weigh less where the mean is large.

    Formula:    e^x - y x, with x = prediction, the logarithm of the mean; with log_input = false
                x - y ln(x + eps). full adds y ln y - y + ln(2 pi y) / 2 where y > 1
    Derivative: e^x - y; with log_input = false 1 - y / (x + eps)
    Shapes:     prediction [N, ...], target [N, ...], counts -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        log_input: the prediction is the logarithm of the mean, not the mean itself.
        full: add what does not depend on the prediction (Stirling's approximation of ln y!).
        eps: keeps the logarithm finite at a mean of 0.
    Note:       in float32 e^x is infinite from x = 88.7 on.
    Reference:  Nelder & Wedderburn, Generalized Linear Models, 1972.
    """
    if log_input:
        values = torch.exp(prediction) - target * prediction
    else:
        values = prediction - target * torch.log(prediction + eps)
    if not full:
        return values
    large = target > 1
    count = torch.where(large, target, 1.0)  # ln 0 in the branch not taken would spoil gradients
    stirling = count * torch.log(count) - count + torch.log(2 * math.pi * count) / 2
    return values + torch.where(large, stirling, 0.0)


def _gaussian_kernel(given: dict[str, Any]) -> dict[str, Any]:
    """Return what torch's Gaussian likelihood is called with: it says `var`."""
    return {"var": given["variance"], "full": given["full"], "eps": given["eps"]}


@loss(
    target="real",
    heads={"variance": "positive"},
    kernel="torch.nn.functional.gaussian_nll_loss",
    kernel_knobs=_gaussian_kernel,
    prefer_formula="torch's kernel looks for negative variances with an `if` on the values, which "
    "neither vmap nor a traced step can follow",
)
def gaussian_nll(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    *,
    full: bool = False,
    eps: Positive = 1e-6,
) -> Tensor:
    """Squared error in units of a variance that the network predicts as well.

    Formula:    (ln v + r^2 / v) / 2, with r = prediction - target, v = max(variance, eps);
                full adds ln(2 pi) / 2
    Derivative: r / v; with respect to the variance (1 / v - r^2 / v^2) / 2
    Shapes:     prediction [N, ...], target [N, ...], variance [N, ...] or [N, 1] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        full: add the constant, which changes no gradient.
        eps: the smallest variance, for numerical stability.
    Reference:  Nix & Weigend, Estimating the Mean and Variance of the Target Probability
                Distribution, 1994.
    """
    if variance.dim() == prediction.dim() - 1:
        variance = variance.unsqueeze(-1)  # one variance per sample
    # The bound is added as a constant, so that a variance below it still gets its gradient.
    bounded = variance + (torch.clamp(variance, min=eps) - variance).detach()
    values = (torch.log(bounded) + torch.square(prediction - target) / bounded) / 2
    return values + math.log(2 * math.pi) / 2 if full else values
