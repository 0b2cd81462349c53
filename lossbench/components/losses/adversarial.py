"""Losses of two players: a discriminator, which tells real from fake, and a generator, which fakes.

Both minimise. R and F are the raw scores of real and of made samples, of any shape. Where both are
of one shape their terms are added value by value; where there are more of one than of the other,
the means are, and the loss is one value. The generator does without the real scores where its loss
does not look at them.
"""

from lossbench.components.losses._adversarial import DISCRIMINATOR, PLAYERS, both, certain, need
from lossbench.components.vocabulary import Probability
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _told_apart(real: Tensor, fake: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross entropy of a discriminator whose real samples are labelled 1 - s / 2."""
    return both(certain(real) + label_smoothing / 2 * real, certain(-fake))


@loss(
    inputs={"d_real": "scores", "d_fake": "scores"},
    parts=PLAYERS,
    aliases=("minimax", "gan"),
)
def minimax_gan(
    d_real: Tensor | None, d_fake: Tensor, *, label_smoothing: Probability = 0.0, part: str
) -> Tensor:
    """One player's gain is the other's loss: a cross entropy, made small here and large there.

    Formula:    discriminator: -ln D(R) - ln (1 - D(F)), D the sigmoid; smoothed with s:
                -(1 - s/2) ln D(R) - (s/2) ln (1 - D(R)) - ln (1 - D(F))
                generator: ln (1 - D(F))
    Derivative: discriminator: by R, D(R) - 1 + s/2; by F, D(F). generator: by F, -D(F)
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      (-inf, inf); [0, inf) for the discriminator, (-inf, 0] for the generator
    Knobs:
        label_smoothing: s; the label of real samples becomes 1 - s / 2.
    Note:       the generator's gradient vanishes where the discriminator is sure; and its loss has
                no constant for the real samples, which some libraries add.
    Reference:  Goodfellow et al., Generative Adversarial Nets, 2014.
    """
    if part == DISCRIMINATOR:
        return _told_apart(need(d_real, "d_real"), d_fake, label_smoothing)
    return -certain(-d_fake)


@loss(
    inputs={"d_real": "scores", "d_fake": "scores"},
    parts=PLAYERS,
    aliases=("non_saturating", "modified_gan"),
)
def non_saturating_gan(
    d_real: Tensor | None, d_fake: Tensor, *, label_smoothing: Probability = 0.0, part: str
) -> Tensor:
    """The minimax game with a generator that learns most where it is found out (-log D trick).

    Formula:    discriminator: as minimax_gan; generator: -ln D(F), D the sigmoid
    Derivative: discriminator: by R, D(R) - 1 + s/2; by F, D(F). generator: by F, D(F) - 1
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      [0, inf)
    Knobs:
        label_smoothing: s; the label of real samples becomes 1 - s / 2.
    Reference:  Goodfellow et al., Generative Adversarial Nets, 2014.
    """
    if part == DISCRIMINATOR:
        return _told_apart(need(d_real, "d_real"), d_fake, label_smoothing)
    return certain(d_fake)


@loss(
    inputs={"d_real": "scores", "d_fake": "scores"},
    parts=PLAYERS,
    aliases=("wasserstein", "wgan"),
)
def wasserstein_gan(d_real: Tensor | None, d_fake: Tensor, *, part: str) -> Tensor:
    """The critic's scores measure how far fakes must be moved to become real ones.

    Formula:    discriminator: F - R; generator: -F
    Derivative: discriminator: by R, -1; by F, 1. generator: by F, -1
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      (-inf, inf)
    Note:       holds for a critic of bounded slope: its weights are clipped to 0.01 after each of
                its five steps per step of the generator, or a penalty is added (wgan_gp).
    Reference:  Arjovsky, Chintala & Bottou, Wasserstein Generative Adversarial Networks, 2017.
    """
    return both(-need(d_real, "d_real"), d_fake) if part == DISCRIMINATOR else -d_fake


@loss(
    inputs={"d_real": "scores", "d_fake": "scores"},
    parts=PLAYERS,
    aliases=("least_squares",),
)
def least_squares_gan(
    d_real: Tensor | None,
    d_fake: Tensor,
    *,
    a: float = 0.0,
    b: float = 1.0,
    c: float = 1.0,
    part: str,
) -> Tensor:
    """Scores are pulled to a label from both sides: fakes far on the right side still learn.

    Formula:    discriminator: (R - b)^2 / 2 + (F - a)^2 / 2; generator: (F - c)^2 / 2
    Derivative: discriminator: by R, R - b; by F, F - a. generator: by F, F - c
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      [0, inf)
    Knobs:
        a: the discriminator's label of fakes.
        b: the discriminator's label of real samples.
        c: what the generator wants its fakes to be given; -1, 1, 0 are other usual labels.
    Note:       not to be confused with loss_sensitive_gan: both have been given the same letters.
    Reference:  Mao et al., Least Squares Generative Adversarial Networks, 2017.
    """
    if part == DISCRIMINATOR:
        real = need(d_real, "d_real")
        return both(torch.square(real - b) / 2, torch.square(d_fake - a) / 2)
    return torch.square(d_fake - c) / 2


@loss(inputs={"d_real": "scores", "d_fake": "scores"}, parts=PLAYERS)
def hinge_gan(d_real: Tensor | None, d_fake: Tensor, *, part: str) -> Tensor:
    """The discriminator is content with a margin of 1 on either side.

    Formula:    discriminator: max(0, 1 - R) + max(0, 1 + F); generator: -F
    Derivative: discriminator: by R, -1 where R < 1; by F, 1 where F > -1; else 0.
                generator: by F, -1
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      (-inf, inf); [0, inf) for the discriminator
    Reference:  Lim & Ye, Geometric GAN, 2017.
                Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """
    if part == DISCRIMINATOR:
        return both(torch.relu(1 - need(d_real, "d_real")), torch.relu(1 + d_fake))
    return -d_fake


@loss(
    inputs={"d_real": "scores", "d_fake": "scores"},
    parts=PLAYERS,
    independent=False,
    aliases=("relativistic_average", "ragan"),
)
def relativistic_average_gan(d_real: Tensor | None, d_fake: Tensor, *, part: str) -> Tensor:
    """Real samples should look more real than fakes do on average, and fakes less than real ones.

    Formula:    discriminator: -ln D(R - mean F) - ln (1 - D(F - mean R)), D the sigmoid
                generator: -ln D(F - mean R) - ln (1 - D(R - mean F))
    Derivative: discriminator: by R, (D(R - mean F) - 1) / N - mean D(F - mean R) / N, and so on
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      [0, inf)
    Note:       the generator looks at the real scores too.
    Reference:  Jolicoeur-Martineau, The Relativistic Discriminator: A Key Element Missing from
                Standard GAN, 2019.
    """
    real = need(d_real, "d_real")
    above, below = real - d_fake.mean(), d_fake - real.mean()
    if part == DISCRIMINATOR:
        return both(certain(above), certain(-below))
    return both(certain(-above), certain(below))
