"""Regression by whole distributions: mixtures, the batch as a set of answers, latent codes."""

import math

from lossbench.components.samples import ROWS, Draw
from lossbench.components.vocabulary import NonNegative, Positive, PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _mixture_inputs(draw: Draw) -> dict[str, Tensor]:
    """Draw mixtures of up to twelve components, and one target for each."""
    return {
        "prediction": draw.real(ROWS, 12),
        "mean": draw.real(ROWS, 12),
        "scale": draw.positive(ROWS, 12),
        "target": Draw(draw.sort, draw.dtype, seed=7).target("real", (ROWS, 1)),
    }


def _mixture_mean(raw: Tensor, *, components: int, **_: object) -> dict[str, Tensor]:
    """Return the mean of each mixture."""
    weight, mean, _scale = raw.unflatten(1, (3, components, -1)).unbind(1)
    return {"values": (weight.softmax(1) * mean).sum(1)}


@loss(
    target="real",
    prediction="logits",
    heads={"mean": "real", "scale": "positive"},
    outputs=lambda size, *, components, **_: size * components,
    show=_mixture_mean,
    sample=_mixture_inputs,
    aliases=("mixture_density",),
)
def mdn(
    prediction: Tensor,
    target: Tensor,
    mean: Tensor,
    scale: Tensor,
    *,
    components: PositiveInt = 3,
    eps: Positive = 1e-3,
) -> Tensor:
    """Negative log-likelihood under a mixture of bells: for questions with several answers.

    Formula:    -ln sum_k p_k N(y; mean_k, s_k), with p = softmax(prediction), y = target,
                s = max(scale, eps)
    Derivative: by prediction_k p_k - q_k, by mean_k q_k (mean_k - y) / s_k^2, with q_k the share of
                component k in the sum
    Shapes:     prediction, mean, scale [N, K d], target [N, d] -> [N, d]; all that belongs to the
                first component comes first
    Range:      (-inf, inf)
    Knobs:
        components: K, the number of bells for each value of the target.
        eps: the least width of a bell. A width near 0 at a single target would buy any likelihood.
    Note:       every value of the target has a mixture of its own. Metrics see the mixture's mean.
    Reference:  Bishop, Mixture Density Networks, 1994.
    """
    shape = (components, -1)
    log_weight = torch.log_softmax(prediction.unflatten(1, shape), 1)
    # The bound is added as a constant, so that a width below it still gets its gradient.
    width = scale + (torch.clamp(scale, min=eps) - scale).detach()
    width, middle = width.unflatten(1, shape), mean.unflatten(1, shape)
    apart = (middle - target.reshape(len(target), 1, -1)) / width
    log_bell = -torch.square(apart) / 2 - torch.log(width) - math.log(2 * math.pi) / 2
    return -torch.logsumexp(log_weight + log_bell, 1)


@loss(target=("real", "count"), independent=False, aliases=("batch_monte_carlo",))
def balanced_mse(prediction: Tensor, target: Tensor, *, sigma: Positive = 1.0) -> Tensor:
    """Recognise one's own target among those of the batch: rare targets count as much as common.

    Formula:    -ln softmax_j(-|x_i - y_j|^2 / (2 sigma^2)) at j = i, with x = prediction,
                y = target, j over the samples of the batch
    Derivative: sum_j ([j = i] - p_j) (y_j - x_i) / -sigma^2, with p that softmax
    Shapes:     prediction [N, ...], target [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        sigma: the standard deviation of the noise: how near two targets count as the same.
    Note:       one sample alone always costs 0. The authors' code multiplies by 2 sigma^2.
    Reference:  Ren et al., Balanced MSE for Imbalanced Visual Regression, 2022.
    """
    x, y = prediction.reshape(len(prediction), 1, -1), target.reshape(1, len(target), -1)
    logits = -torch.square((x - y) / sigma).sum(-1) / 2
    return -torch.diagonal(torch.log_softmax(logits, 1))


@loss(inputs={"mean": "real", "log_variance": "real"}, largest=80.0, aliases=("vae_kl",))
def elbo_gaussian_kl(mean: Tensor, log_variance: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """Nats that a latent code costs: how far its bell is from the standard one.

    Formula:    beta / 2 (m^2 + v - 1 - ln v), with m = mean, ln v = log_variance
    Derivative: beta m; with respect to log_variance beta / 2 (v - 1)
    Shapes:     mean [N, ...], log_variance [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        beta: the price of a nat: 1 gives the bound on the evidence, more a beta-VAE.
    Note:       the bound sums over the values of a code: reduction `batchmean`. The other part of
                it is the loss of the reconstruction.
    Reference:  Kingma & Welling, Auto-Encoding Variational Bayes, 2014; Higgins et al., beta-VAE,
                2017.
    """
    return beta / 2 * (torch.square(mean) + torch.expm1(log_variance) - log_variance)
