"""Softmax and sigmoid with heavier tails: scores far off keep a share that does not vanish."""

from typing import Annotated

from annotated_types import Ge

from lossbench.components.declarations import Identity
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

Heavy = Annotated[float, Ge(1)]
"""A temperature from 1 (the usual exponential) upwards."""

Iterations = Annotated[int, Ge(5)]
"""How often the normaliser is improved; with fewer than 5 it would not have converged."""

IMPLICIT = (
    "the normaliser has the gradient of the equation that it solves, and after 5 steps it solves "
    "it to 1e-4 only"
)


def _exponential(u: Tensor, t: float | Tensor) -> Tensor:
    """Return exp_t(u) = max(0, 1 + (1 - t) u)^(1 / (1 - t)), for t other than 1."""
    return (1 + (1 - t) * u).clamp(min=0) ** (1 / (1 - t))


def _shares(x: Tensor, t: float | Tensor, num_iters: int) -> Tensor:
    """Return exp_t(x - norm), with the norm at which they add up to 1; t is above 1.

    The norm comes from a fixed-point iteration on constants. Its gradient is that of the equation
    which it solves, the escort distribution p^t / sum p^t, and not that of the iteration.
    """
    scores = x.detach()
    highest = scores.amax(-1, keepdim=True)
    relative = scores - highest
    scaled = relative
    for _ in range(num_iters):
        scaled = relative * _exponential(scaled, t).sum(-1, keepdim=True) ** (1 - t)
    total = _exponential(scaled, t).sum(-1, keepdim=True)
    norm = highest + (total ** (t - 1) - 1) / (t - 1)
    escort = _exponential(scores - norm, t) ** t
    escort = escort / escort.sum(-1, keepdim=True)
    return _exponential(x - norm - (escort * (x - scores)).sum(-1, keepdim=True), t)


def _tempered(x: Tensor, t: float | Tensor, num_iters: int) -> Tensor:
    """Return the shares along the last dimension, those of softmax where t is 1."""
    if not isinstance(t, torch.Tensor):
        return x.softmax(-1) if t == 1 else _shares(x, t, num_iters)
    safe = torch.where(t == 1, 2.0, t)
    return torch.where(t == 1, x.softmax(-1), _shares(x, safe, num_iters))


@activation(
    range=(0.0, 1.0),
    elementwise=False,
    detached=IMPLICIT,
    identities=(Identity("softmax", when={"t": 1.0}),),
)
def tempered_softmax(x: Tensor, *, t: Heavy, num_iters: Iterations = 5) -> Tensor:
    """Softmax whose probabilities fall off as a power of the scores, not exponentially.

    Formula:    exp_t(x - norm), with exp_t(u) = max(0, 1 + (1 - t) u)^(1 / (1 - t)) and the norm at
                which they add up to 1
    Derivative: d p_i / d x_j = p_i^t ([i = j] - q_j), with q = p^t / sum_k p_k^t
    Shapes:     [..., C] -> [..., C]
    Range:      (0, 1)
    Knobs:
        t: the temperature; 1 is softmax, above 1 the tails are heavy.
        num_iters: steps of the fixed-point iteration for the norm.
    Note:       after 5 steps, the authors' number, the sum is off by 1e-4 at most at t = 4. Second
                derivatives are not those of the function. Temperatures below 1 are not offered.
    Reference:  Amid, Warmuth, Anil & Koren, Robust Bi-Tempered Logistic Loss Based on Bregman
                Divergences, 2019.
    """
    return _tempered(x, t, num_iters)


def _against_zero(x: Tensor) -> Tensor:
    """Return scores for two classes, the other one's being 0."""
    return torch.stack([torch.zeros_like(x), x], -1)


def _sigmoid_slope(x: Tensor, *, t: float, num_iters: int) -> Tensor:
    """Return p^t (1 - q), with q = p^t / (p^t + (1 - p)^t)."""
    powers = _tempered(_against_zero(x), t, num_iters) ** t
    return powers[..., 1] * powers[..., 0] / powers.sum(-1)


@activation(
    range=(0.0, 1.0),
    detached=IMPLICIT,
    derivative=_sigmoid_slope,
    identities=(Identity("sigmoid", when={"t": 1.0}),),
)
def tempered_sigmoid(x: Tensor, *, t: Heavy, num_iters: Iterations = 5) -> Tensor:
    """Sigmoid with heavy tails: its plateaus are reached as a power of the input.

    Formula:    the second of tempered_softmax([0, x])
    Derivative: p^t q / (p^t + q^t) q^(t - 1), with q = 1 - p
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Knobs:
        t: the temperature; 1 is the sigmoid, above 1 the tails are heavy.
        num_iters: steps of the fixed-point iteration for the norm.
    Note:       as for tempered_softmax.
    Reference:  Amid, Warmuth, Anil & Koren, Robust Bi-Tempered Logistic Loss Based on Bregman
                Divergences, 2019.
    """
    return _tempered(_against_zero(x), t, num_iters)[..., 1]
