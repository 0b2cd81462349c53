"""Games whose critic gives something else than a score: an energy, a loss, features or classes.

Also what holds two generators together that translate there and back.
"""

from typing import Literal

from lossbench.components.losses._adversarial import (
    DISCRIMINATOR,
    PLAYERS,
    both,
    need,
    per_sample,
)
from lossbench.components.vocabulary import NonNegative, Positive, Probability, Terms
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    inputs={"d_real": "scores", "d_fake": "scores", "real": "anything", "fake": "anything"},
    parts=PLAYERS,
    aliases=("loss_sensitive",),
)
def loss_sensitive_gan(
    d_real: Tensor | None,
    d_fake: Tensor,
    real: Tensor | None = None,
    fake: Tensor | None = None,
    *,
    lam: NonNegative = 1.0,
    p: Literal[1, 2] = 1,
    part: str,
) -> Tensor:
    """A real sample must cost less than a fake one, by as much as the two differ.

    Formula:    discriminator: R + lam max(0, delta + R - F), delta = mean |x - G|^p of a sample;
                generator: F. Here R and F are costs: high for what looks made
    Derivative: discriminator: by R, 1 + lam h; by F, -lam h, with h = [delta + R - F > 0].
                generator: by F, 1
    Shapes:     d_real, d_fake [N, ...], real, fake [N, ...] -> as d_real
    Range:      (-inf, inf)
    Knobs:
        lam: how much a broken margin counts.
        p: 1 for the mean difference, 2 for the mean square.
    Note:       not to be confused with least_squares_gan. The generator needs d_fake alone.
    Errors:     different numbers of real and fake samples: they are compared in pairs.
    Reference:  Qi, Loss-Sensitive Generative Adversarial Networks on Lipschitz Densities, 2020.
    """
    if part != DISCRIMINATOR:
        return d_fake
    scored, x, made = need(d_real, "d_real"), need(real, "real"), need(fake, "fake")
    if scored.shape != d_fake.shape or x.shape != made.shape:
        raise UsageError("loss_sensitive_gan compares pairs: as many real samples as fake ones")
    apart = (x - made).abs().flatten(1) if x.dim() > 1 else (x - made).abs().unsqueeze(1)
    delta = per_sample((apart if p == 1 else torch.square(apart)).mean(1), scored)
    return scored + lam * torch.relu(delta + scored - d_fake)


@loss(inputs={"d_real": "positive", "d_fake": "positive"}, parts=PLAYERS)
def ebgan(d_real: Tensor | None, d_fake: Tensor, *, margin: Positive = 10.0, part: str) -> Tensor:
    """The discriminator gives energies: none to real samples, and to fakes up to a margin.

    Formula:    discriminator: R + max(0, m - F); generator: F
    Derivative: discriminator: by R, 1; by F, -1 where F < m, else 0. generator: by F, 1
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      [0, inf)
    Knobs:
        margin: m, the energy above which a fake is far enough away.
    Note:       an energy is never negative: usually the error with which the discriminator, an
                autoencoder, rebuilds the sample.
    Reference:  Zhao, Mathieu & LeCun, Energy-based Generative Adversarial Networks, 2017.
    """
    if part == DISCRIMINATOR:
        return both(need(d_real, "d_real"), torch.relu(margin - d_fake))
    return d_fake


@loss(inputs={"d_real": "positive", "d_fake": "positive"}, parts=PLAYERS, state={"k": 0.0})
def began(
    d_real: Tensor | None,
    d_fake: Tensor,
    *,
    gamma: Probability = 0.5,
    lambda_k: NonNegative = 0.001,
    k: Tensor,
    part: str,
) -> Terms:
    """Energies again, with a balance: fakes count the more, the more the discriminator is ahead.

    Formula:    discriminator: R - k F; generator: F
                k becomes k + lambda_k (gamma mean R - mean F), within [0, 1]
    Derivative: discriminator: by R, 1; by F, -k. generator: by F, 1
    Shapes:     d_real [N, ...], d_fake [N, ...] -> [N, ...], or one value for different shapes
    Range:      (-inf, inf); [0, inf) for the generator
    Knobs:
        gamma: the energy of fakes that is aimed at, as a share of that of real samples.
        lambda_k: how fast k moves.
    Note:       k starts at 0 and moves once per step of the discriminator.
    Reference:  Berthelot, Schumm & Metz, BEGAN: Boundary Equilibrium Generative Adversarial
                Networks, 2017.
    """
    if part != DISCRIMINATOR:
        return Terms(d_fake, state={"k": k})
    real = need(d_real, "d_real")
    balance = gamma * real.detach().mean() - d_fake.detach().mean()
    moved = torch.clamp(k + lambda_k * balance, 0, 1).to(k.dtype)
    return Terms(both(real, -k.to(d_fake.dtype) * d_fake), state={"k": moved})


@loss(
    inputs={"d_real": "embedding", "d_fake": "embedding"},
    whole_batch=True,
    symmetric=True,
)
def feature_matching(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """A generator's loss: on average its samples shall have the features of the real ones.

    Formula:    |mean f(x) - mean f(G)|^2, f the features of a layer of the discriminator
    Derivative: by the features of a fake: 2 (mean f(G) - mean f(x)) / N
    Shapes:     d_real [N, ...], d_fake [M, ...] features -> one value
    Range:      [0, inf)
    Reference:  Salimans et al., Improved Techniques for Training GANs, 2016.
    """
    return torch.square(d_real.mean(0) - d_fake.mean(0)).sum()


def _named(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of each sample's class."""
    return -logits.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)


@loss(
    inputs={"d_real": "logits", "d_fake": "logits", "target": "index"},
    parts=PLAYERS,
    aliases=("auxiliary_classifier_gan",),
)
def acgan(d_real: Tensor | None, d_fake: Tensor, target: Tensor, *, part: str) -> Tensor:
    """The discriminator also names the class of a sample, and the generator makes one of a class.

    Formula:    discriminator: CE(R, y) + CE(F, y); generator: CE(F, y), CE the softmax cross
                entropy of the classifier's logits
    Derivative: by each logits: softmax(z) - onehot(y)
    Shapes:     d_real, d_fake [N, C], target [N] class indices -> [N]
    Range:      [0, inf)
    Note:       the class part only: it is added to a loss that tells real from fake.
    Reference:  Odena, Olah & Shlens, Conditional Image Synthesis with Auxiliary Classifier GANs,
                2017.
    """
    if part == DISCRIMINATOR:
        return both(_named(need(d_real, "d_real"), target), _named(d_fake, target))
    return _named(d_fake, target)


@loss(
    inputs={
        "x": "anything",
        "reconstructed_x": "anything",
        "y": "anything",
        "reconstructed_y": "anything",
    },
    whole_batch=True,
)
def cycle_consistency(
    x: Tensor,
    reconstructed_x: Tensor,
    y: Tensor,
    reconstructed_y: Tensor,
    *,
    weight: NonNegative = 1.0,
) -> Tensor:
    """Translated there and back, a sample shall be itself again, from either side.

    Formula:    w (mean |x - F(G(x))| + mean |y - G(F(y))|) / 2
    Derivative: by what comes back: w sign(F(G(x)) - x) / (2 n), n the number of values
    Shapes:     x and reconstructed_x alike, y and reconstructed_y alike -> one value
    Range:      [0, inf)
    Knobs:
        weight: w; the paper weighs the sum of both means by 10, which is 20 here.
    Reference:  Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
                Networks, 2017.
    """
    return weight * ((reconstructed_x - x).abs().mean() + (reconstructed_y - y).abs().mean()) / 2


@loss(
    name="identity",
    inputs={"x": "anything", "same_x": "anything", "y": "anything", "same_y": "anything"},
    whole_batch=True,
    aliases=("identity_mapping",),
)
def identity(
    x: Tensor, same_x: Tensor, y: Tensor, same_y: Tensor, *, weight: NonNegative = 1.0
) -> Tensor:
    """Given what is of its own kind already, a translator shall leave it alone.

    Formula:    w (mean |x - F(x)| + mean |y - G(y)|) / 2, F translating into x's kind, G into y's
    Derivative: by what comes out: w sign(F(x) - x) / (2 n), n the number of values
    Shapes:     x and same_x alike, y and same_y alike -> one value
    Range:      [0, inf)
    Knobs:
        weight: w; the paper weighs the sum of both means by 5, which is 10 here.
    Reference:  Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
                Networks, 2017.
    """
    return weight * ((same_x - x).abs().mean() + (same_y - y).abs().mean()) / 2
