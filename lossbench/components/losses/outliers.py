"""Losses of the residual that let go of outliers: beyond a width, a larger error pulls less."""

from typing import Literal

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target="real",
    aliases=("lorentzian",),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, c: (
        (prediction - target) / (c * c + torch.square(prediction - target) / 2)
    ),
    identities=(Identity("barron_adaptive", when={"c": 2.0}, knobs={"alpha": 0.0, "c": 2.0}),),
)
def cauchy(prediction: Tensor, target: Tensor, *, c: Positive = 1.0) -> Tensor:
    """Logarithm of the squared error: an outlier still pulls, the less the farther it is.

    Formula:    ln(1 + (r / c)^2 / 2), with r = prediction - target
    Derivative: r / (c^2 + r^2 / 2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        c: the scale; errors of sqrt(2) c pull hardest.
    Reference:  Black & Anandan, The Robust Estimation of Multiple Motions, 1996.
    """
    return torch.log1p(torch.square((prediction - target) / c) / 2)


@loss(
    target="real",
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, c: (
        16
        * (prediction - target)
        * c**2
        / torch.square(torch.square(prediction - target) + 4 * c**2)
    ),
    identities=(Identity("barron_adaptive", when={"c": 2.0}, knobs={"alpha": -2.0, "c": 2.0}),),
)
def geman_mcclure(prediction: Tensor, target: Tensor, *, c: Positive = 1.0) -> Tensor:
    """Share of the squared error that is not beyond doubt: bounded, so an outlier is given up.

    Formula:    2 (r / c)^2 / ((r / c)^2 + 4), with r = prediction - target
    Derivative: 16 r c^2 / (r^2 + 4 c^2)^2
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, 2]
    Knobs:
        c: the scale; errors of 2 c / sqrt(3) pull hardest.
    Note:       in the scaling of Barron's family, in which all curves start as (r / c)^2 / 2.
    Reference:  Geman & McClure, Bayesian Image Analysis: An Application to Single Photon Emission
                Tomography, 1985.
    """
    square = torch.square((prediction - target) / c)
    return 2 * square / (square + 4)


@loss(
    target="real",
    aliases=("leclerc",),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, c: (
        (prediction - target) / c**2 * torch.exp(-torch.square((prediction - target) / c) / 2)
    ),
    identities=(Identity("barron_adaptive", when={"c": 2.0}, knobs={"alpha": "-inf", "c": 2.0}),),
)
def welsch(prediction: Tensor, target: Tensor, *, c: Positive = 1.0) -> Tensor:
    """Upside-down bell: errors well beyond its width cost 1 and pull no more.

    Formula:    1 - e^(-(r / c)^2 / 2), with r = prediction - target
    Derivative: (r / c^2) e^(-(r / c)^2 / 2)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, 1]
    Knobs:
        c: the width of the bell; errors of this size pull hardest.
    Reference:  Dennis & Welsch, Techniques for Nonlinear Least Squares and Robust Regression, 1978.
    """
    return -torch.expm1(-torch.square((prediction - target) / c) / 2)


@loss(
    target="real",
    aliases=("tukey", "biweight", "bisquare"),
    zero_at_target=True,
    symmetric=True,
    derivative=lambda prediction, target, *, c: (
        (prediction - target)
        * torch.square(1 - torch.clamp(torch.square((prediction - target) / c), max=1))
    ),
)
def tukey_biweight(prediction: Tensor, target: Tensor, *, c: Positive = 4.685) -> Tensor:
    """Parabola that flattens out completely: beyond `c` an error has no say at all.

    Formula:    c^2 / 6 (1 - (1 - (r / c)^2)^3) where |r| <= c, else c^2 / 6,
                with r = prediction - target
    Derivative: r (1 - (r / c)^2)^2 where |r| <= c, else 0
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        c: from where on errors are ignored. 4.685 standard deviations of the noise keep 95 % of
            the efficiency of least squares: scale residuals, or c, accordingly.
    Reference:  Beaton & Tukey, The Fitting of Power Series, Meaning Polynomials, Illustrated on
                Band-Spectroscopic Data, 1974.
    """
    share = torch.clamp(torch.square((prediction - target) / c), max=1.0)
    # 1 - (1 - t)^3, multiplied out: the difference would lose the digits of small residuals.
    return c**2 / 6 * share * (3 - 3 * share + torch.square(share))


def _barron_derivative(
    prediction: Tensor, target: Tensor, *, alpha: float | Literal["-inf"], c: float
) -> Tensor:
    scaled, square = (prediction - target) / c**2, torch.square((prediction - target) / c)
    if isinstance(alpha, str):
        return scaled * torch.exp(-square / 2)
    if alpha == 2:
        return scaled
    return scaled * (square / abs(alpha - 2) + 1) ** (alpha / 2 - 1)


@loss(
    target="real",
    aliases=("barron", "general_robust", "robust_adaptive"),
    zero_at_target=True,
    symmetric=True,
    derivative=_barron_derivative,
    identities=(
        Identity("half_mse", when={"alpha": 2.0}),
        Identity("pseudo_huber"),
        Identity("cauchy", when={"alpha": 0.0}),
        Identity("geman_mcclure", when={"alpha": -2.0}),
        Identity("welsch", when={"alpha": "-inf"}),
        Identity("cauchy", when={"alpha": 0.0, "c": 0.25}, knobs={"c": 0.25}),
        Identity("geman_mcclure", when={"alpha": -2.0, "c": 0.25}, knobs={"c": 0.25}),
        Identity("welsch", when={"alpha": "-inf", "c": 0.25}, knobs={"c": 0.25}),
    ),
)
def barron_adaptive(
    prediction: Tensor,
    target: Tensor,
    *,
    alpha: float | Literal["-inf"] = 1.0,
    c: Positive = 1.0,
) -> Tensor:
    """One family from least squares to indifference: `alpha` says how far outliers are trusted.

    Formula:    |a - 2| / a (((r / c)^2 / |a - 2| + 1)^(a / 2) - 1), with r = prediction - target,
                a = alpha; the limits (r / c)^2 / 2 at a = 2, ln(1 + (r / c)^2 / 2) at a = 0,
                1 - e^(-(r / c)^2 / 2) at a = -inf
    Derivative: (r / c^2) ((r / c)^2 / |a - 2| + 1)^(a / 2 - 1), or its limit
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        alpha: 2 is half_mse (times 1 / c^2), 1 a smooth L1, 0 cauchy, -2 geman_mcclure, -inf
            welsch: the lower, the less an outlier pulls.
        c: the width within which all of them are the parabola (r / c)^2 / 2.
    Note:       alpha is fixed here, and can be searched for. The paper also learns it, which needs
                the normalising constant of the distribution that belongs to it: without that
                penalty the lowest alpha always wins.
    Reference:  Barron, A General and Adaptive Robust Loss Function, 2019.
    """
    square = torch.square((prediction - target) / c)
    if isinstance(alpha, str):
        return -torch.expm1(-square / 2)
    shape = torch.zeros((), dtype=prediction.dtype, device=prediction.device) + alpha
    # In the branches that are not taken, what is divided by is 1, and every gradient finite.
    flat = torch.abs(shape) < torch.finfo(prediction.dtype).eps  # then it is 0 to the last digit
    power = torch.where(flat, 1.0, shape)
    width = torch.where(shape == 2, 1.0, torch.abs(shape - 2))
    general = width / power * torch.expm1(power / 2 * torch.log1p(square / width))
    limit = torch.where(shape == 2, square / 2, torch.log1p(square / 2))
    return torch.where(flat | (shape == 2), limit, general)
