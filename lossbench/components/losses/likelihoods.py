"""Losses that fit a distribution: negative log-likelihoods and the divergence between two."""

import math
from typing import Annotated, Any

from annotated_types import Ge, Le

from lossbench.components.declarations import Identity
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


def _prediction_of_mean(*, log_input: bool, **_: Any) -> PredictionKind:
    """Return what the network gives: the logarithm of the mean (any number), or the mean."""
    return "log" if log_input else "positive"


def _poisson_derivative(
    prediction: Tensor, target: Tensor, *, log_input: bool, eps: float, **_: Any
) -> Tensor:
    return torch.exp(prediction) - target if log_input else 1 - target / (prediction + eps)


@loss(
    target=("count", "real"),
    kernel="torch.nn.functional.poisson_nll_loss",
    derivative=_poisson_derivative,
    prediction_by_knobs=_prediction_of_mean,
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


def _gamma_derivative(prediction: Tensor, target: Tensor, *, log_input: bool, eps: float) -> Tensor:
    if log_input:
        return 1 - target * torch.exp(-prediction)
    return (1 - target / (prediction + eps)) / (prediction + eps)


@loss(
    target="real",
    prediction_by_knobs=_prediction_of_mean,
    largest=80.0,
    derivative=_gamma_derivative,
    identities=(Identity("tweedie", knobs={"power": 2.0}),),
)
def gamma_nll(
    prediction: Tensor, target: Tensor, *, log_input: bool = True, eps: Positive = 1e-8
) -> Tensor:
    """Negative log-likelihood of a positive quantity whose spread grows with its mean.

    Formula:    x + y e^-x, with x = prediction, the logarithm of the mean; with log_input = false
                ln(x + eps) + y / (x + eps)
    Derivative: 1 - y e^-x; with log_input = false (1 - y / (x + eps)) / (x + eps)
    Shapes:     prediction [N, ...], target [N, ...], positive -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        log_input: the prediction is the logarithm of the mean, not the mean itself.
        eps: keeps logarithm and quotient finite at a mean of 0.
    Note:       up to what does not depend on the prediction, and up to the gamma distribution's
                shape, which only scales it. Half the deviance is this less its value at x = ln y.
    Reference:  McCullagh & Nelder, Generalized Linear Models, 1989.
    """
    if log_input:
        return prediction + target * torch.exp(-prediction)
    mean = prediction + eps
    return torch.log(mean) + target / mean


@loss(
    target=("real", "count"),
    prediction="log",
    largest=80.0,
    derivative=lambda prediction, target, *, power: (
        torch.exp(prediction * (2 - power)) - target * torch.exp(prediction * (1 - power))
    ),
    identities=(
        Identity("poisson_nll", when={"power": 1.0}),
        Identity("gamma_nll", when={"power": 2.0}),
    ),
)
def tweedie(
    prediction: Tensor, target: Tensor, *, power: Annotated[float, Ge(1), Le(2)] = 1.5
) -> Tensor:
    """Negative log-likelihood of what is often exactly 0 and else positive: rain, insurance claims.

    Formula:    -y e^(x (1 - p)) / (1 - p) + e^(x (2 - p)) / (2 - p), with x = prediction, the
                logarithm of the mean, p = power; e^x - y x at p = 1, x + y e^-x at p = 2
    Derivative: e^(x (2 - p)) - y e^(x (1 - p))
    Shapes:     prediction [N, ...], target [N, ...], at least 0 -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        power: the variance grows as this power of the mean: 1 is poisson_nll, 2 gamma_nll.
    Note:       up to what does not depend on the prediction, which grows beyond all bounds towards
                the two ends: there gradients pass over smoothly, values do not.
    Reference:  Jorgensen, Exponential Dispersion Models, 1987.
    """
    shape = torch.zeros((), dtype=prediction.dtype, device=prediction.device) + power
    # In the branch that is not taken the divisor is 1.
    first = torch.where(shape == 1, 1.0, 1 - shape)
    second = torch.where(shape == 2, 1.0, 2 - shape)
    pull = torch.where(shape == 1, prediction, torch.exp(prediction * first) / first)
    push = torch.where(shape == 2, prediction, torch.exp(prediction * second) / second)
    return push - target * pull


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
    derivative=lambda prediction, target, variance, *, eps, **_: (
        (prediction - target) / torch.clamp(variance, min=eps)
    ),
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


@loss(
    target="real",
    heads={"scale": "positive"},
    derivative=lambda prediction, target, scale, *, eps: (
        torch.sign(prediction - target) / torch.clamp(scale, min=eps)
    ),
)
def laplace_nll(
    prediction: Tensor, target: Tensor, scale: Tensor, *, eps: Positive = 1e-6
) -> Tensor:
    """Absolute error in units of a scale that the network predicts as well.

    Formula:    |r| / b + ln(2 b), with r = prediction - target, b = max(scale, eps)
    Derivative: sign(r) / b; with respect to the scale 1 / b - |r| / b^2
    Shapes:     prediction [N, ...], target [N, ...], scale [N, ...] or [N, 1] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        eps: the smallest scale, for numerical stability.
    Note:       with a scale that is known, l1 does the same: only factor and constant differ.
    Reference:  Laplace, Memoire sur la probabilite des causes par les evenements, 1774.
    """
    if scale.dim() == prediction.dim() - 1:
        scale = scale.unsqueeze(-1)  # one scale per sample
    # The bound is added as a constant, so that a scale below it still gets its gradient.
    bounded = scale + (torch.clamp(scale, min=eps) - scale).detach()
    return torch.abs(prediction - target) / bounded + torch.log(2 * bounded)


@loss(
    target="real",
    symmetric=True,
    derivative=lambda prediction, target, *, df, scale: (
        (df + 1) * (prediction - target) / (df * scale**2 + torch.square(prediction - target))
    ),
)
def student_t_nll(
    prediction: Tensor, target: Tensor, *, df: Positive = 3.0, scale: Positive = 1.0
) -> Tensor:
    """Negative log-likelihood under noise with heavy tails: outliers are expected now and then.

    Formula:    (df + 1) / 2 ln(1 + r^2 / (df s^2)) + ln s + ln(df pi) / 2 + ln Gamma(df / 2)
                - ln Gamma((df + 1) / 2), with r = prediction - target, s = scale
    Derivative: (df + 1) r / (df s^2 + r^2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      (-inf, inf)
    Knobs:
        df: degrees of freedom: 1 is Cauchy noise, many are nearly Gaussian.
        scale: the width of the noise.
    Reference:  Lange, Little & Taylor, Robust Statistical Modeling Using the t Distribution, 1989.
    """
    zero = torch.zeros((), dtype=prediction.dtype, device=prediction.device)
    freedom, width = zero + df, zero + scale
    normaliser = torch.lgamma(freedom / 2) - torch.lgamma((freedom + 1) / 2)
    normaliser = normaliser + torch.log(width) + torch.log(math.pi * freedom) / 2
    unlikely = torch.log1p(torch.square((prediction - target) / scale) / df)
    return (df + 1) / 2 * unlikely + normaliser
