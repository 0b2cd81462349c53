"""Penalties for a steep critic: losses of its gradient by its input, one gradient per sample.

The gradient is that of D(x) by x, [N, ...]. Where to take it differs: each docstring says at which
points. It carries its own graph, so that the penalty can be differentiated by the critic's weights.
"""

from lossbench.components.declarations import Identity
from lossbench.components.losses._adversarial import DISCRIMINATOR, PLAYERS, both, need, per_sample
from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _square(gradient: Tensor) -> Tensor:
    """Return the squared length of every sample's gradient."""
    return torch.square(gradient.reshape(len(gradient), -1)).sum(1)


def _too_steep(gradient: Tensor, target: float, eps: float, *, one_sided: bool) -> Tensor:
    """Return the squared distance of every slope from the target, as a share of the target."""
    excess = torch.sqrt(_square(gradient) + eps) / target - 1
    return torch.square(torch.relu(excess) if one_sided else excess)


@loss(inputs={"gradient": "anything"}, aliases=("wasserstein_gradient_penalty",))
def gradient_penalty(
    gradient: Tensor,
    *,
    lam: NonNegative = 10.0,
    target: Positive = 1.0,
    one_sided: bool = False,
    eps: Positive = 1e-10,
) -> Tensor:
    """A critic shall have slope 1 everywhere between the real samples and the fakes.

    Formula:    lam (|g| / target - 1)^2, |g| = sqrt(sum g_i^2 + eps); one_sided: 0 below the target
    Derivative: 2 lam (|g| / target - 1) g_i / (target |g|)
    Shapes:     gradient [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        lam: how much the penalty counts.
        target: the slope that is wanted.
        one_sided: let flatter ones be.
        eps: keeps the root differentiable at a gradient of 0.
    Note:       the gradient is taken at points u x + (1 - u) G, one even random u per pair of a
                real sample x and a fake G.
    Reference:  Gulrajani et al., Improved Training of Wasserstein GANs, 2017.
    """
    return lam * _too_steep(gradient, target, eps, one_sided=one_sided)


@loss(
    inputs={"gradient": "anything"},
    identities=(Identity("gradient_penalty"),),
)
def dragan_penalty(
    gradient: Tensor,
    *,
    lam: NonNegative = 10.0,
    target: Positive = 1.0,
    one_sided: bool = False,
    eps: Positive = 1e-10,
) -> Tensor:
    """A discriminator shall have slope 1 around the real samples.

    Formula:    lam (|g| / target - 1)^2, |g| = sqrt(sum g_i^2 + eps); one_sided: 0 below the target
    Derivative: 2 lam (|g| / target - 1) g_i / (target |g|)
    Shapes:     gradient [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        lam: how much the penalty counts.
        target: the slope that is wanted.
        one_sided: let flatter ones be.
        eps: keeps the root differentiable at a gradient of 0.
    Note:       the gradient is taken at x + s u / 2: real samples, with even random noise u in
                (0, 1) and s the standard deviation of all values of the batch.
    Reference:  Kodali et al., On Convergence and Stability of GANs, 2017.
    """
    return lam * _too_steep(gradient, target, eps, one_sided=one_sided)


@loss(inputs={"gradient": "anything"}, aliases=("r1",))
def r1_penalty(gradient: Tensor, *, gamma: NonNegative = 10.0) -> Tensor:
    """A discriminator shall be flat where the data lie.

    Formula:    (gamma / 2) |g|^2
    Derivative: gamma g_i
    Shapes:     gradient [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        gamma: how much the penalty counts.
    Note:       the gradient is taken at the real samples.
    Reference:  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually Converge?,
                2018.
    """
    return gamma / 2 * _square(gradient)


@loss(inputs={"gradient": "anything"}, aliases=("r2",), identities=(Identity("r1_penalty"),))
def r2_penalty(gradient: Tensor, *, gamma: NonNegative = 10.0) -> Tensor:
    """A discriminator shall be flat where the fakes lie.

    Formula:    (gamma / 2) |g|^2
    Derivative: gamma g_i
    Shapes:     gradient [N, ...] -> [N]
    Range:      [0, inf)
    Knobs:
        gamma: how much the penalty counts.
    Note:       the gradient is taken at the fakes.
    Reference:  Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually Converge?,
                2018.
    """
    return gamma / 2 * _square(gradient)


@loss(
    inputs={"d_real": "scores", "d_fake": "scores", "gradient": "anything"},
    parts=PLAYERS,
    identities=(Identity("wasserstein_gan", when={"lam": 0.0}),),
    aliases=("wasserstein_gp", "wasserstein_gan_gp"),
)
def wgan_gp(
    d_real: Tensor | None,
    d_fake: Tensor,
    gradient: Tensor | None = None,
    *,
    lam: NonNegative = 10.0,
    target: Positive = 1.0,
    one_sided: bool = False,
    eps: Positive = 1e-10,
    part: str,
) -> Tensor:
    """The Wasserstein game with a critic whose slope is held at 1 by a penalty.

    Formula:    discriminator: F - R + lam (|g| / target - 1)^2, |g| = sqrt(sum g_i^2 + eps);
                generator: -F
    Derivative: discriminator: by R, -1; by F, 1; by g, 2 lam (|g| / target - 1) g_i / (target |g|).
                generator: by F, -1
    Shapes:     d_real, d_fake [N, ...], gradient [N, ...] -> as d_real, or one value where there
                are not as many of each
    Range:      (-inf, inf)
    Knobs:
        lam: how much the penalty counts.
        target: the slope that is wanted.
        one_sided: let flatter ones be.
        eps: keeps the root differentiable at a gradient of 0.
    Note:       the gradient is taken at points u x + (1 - u) G, one even random u per pair of a
                real sample x and a fake G. The generator needs d_fake alone.
    Reference:  Gulrajani et al., Improved Training of Wasserstein GANs, 2017.
    """
    if part != DISCRIMINATOR:
        return -d_fake
    score = both(-need(d_real, "d_real"), d_fake)
    steep = lam * _too_steep(need(gradient, "gradient"), target, eps, one_sided=one_sided)
    if score.dim() and len(score) == len(steep):
        return score + per_sample(steep, score)
    return score.mean() + steep.mean()
