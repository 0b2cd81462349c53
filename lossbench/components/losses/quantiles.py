"""Losses of the residual whose optimum is chosen: a quantile, an expectile, or a whole tube.

What is predicted too high and what is predicted too low may weigh differently.
"""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative, Positive, Probability
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def _share(prediction: Tensor, target: Tensor, below: float) -> Tensor:
    """Return the weight of each residual: `below` where the prediction is not too high."""
    return torch.abs(below - (prediction > target).to(prediction.dtype))


@loss(
    target="real",
    aliases=("pinball",),
    zero_at_target=True,
    derivative=lambda prediction, target, *, quantile: (
        (1 + torch.sign(prediction - target)) / 2 - quantile
    ),
    identities=(Identity("l1", times=0.5),),
)
def quantile(prediction: Tensor, target: Tensor, *, quantile: Probability = 0.5) -> Tensor:
    """L1 with two slopes: its optimum is the value below which a share `quantile` lies.

    Formula:    max(q d, (q - 1) d), with d = target - prediction, q = quantile
    Derivative: -q where the prediction is too low, 1 - q where it is too high; at d = 0 the mean
                of both
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        quantile: the share of targets that shall lie below the prediction; 0.5 is the median.
    Reference:  Koenker & Bassett, Regression Quantiles, 1978.
    """
    missing = target - prediction
    return torch.maximum(quantile * missing, (quantile - 1) * missing)


@loss(
    target="real",
    zero_at_target=True,
    derivative=lambda prediction, target, *, q: (
        2 * _share(prediction, target, q) * (prediction - target)
    ),
    identities=(Identity("mse", times=0.5),),
)
def expectile(prediction: Tensor, target: Tensor, *, q: Probability = 0.5) -> Tensor:
    """Square with two weights: to the mean what a quantile is to the median.

    Formula:    |q - [r > 0]| r^2, with r = prediction - target
    Derivative: 2 |q - [r > 0]| r
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        q: the weight of a prediction that is too low, against 1 - q for one that is too high; 0.5
            gives the mean.
    Reference:  Newey & Powell, Asymmetric Least Squares Estimation and Testing, 1987.
    """
    return _share(prediction, target, q) * torch.square(prediction - target)


@loss(
    target="real",
    zero_at_target=True,
    derivative=lambda prediction, target, *, quantile, k: (
        _share(prediction, target, quantile) * torch.clamp(prediction - target, min=-k, max=k) / k
    ),
    identities=(
        Identity("huber", times=0.5),
        Identity("smooth_l1", when={"k": 0.25}, knobs={"beta": 0.25}, times=0.5),
    ),
)
def quantile_huber(
    prediction: Tensor, target: Tensor, *, quantile: Probability = 0.5, k: Positive = 1.0
) -> Tensor:
    """Quantile loss with the tip of huber, as reinforcement learning takes it for returns.

    Formula:    |q - [r > 0]| h(r) / k, with r = prediction - target, q = quantile, and
                h(r) = r^2 / 2 where |r| <= k, else k (|r| - k / 2)
    Derivative: |q - [r > 0]| clip(r, -k, k) / k
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        quantile: the share of targets that shall lie below the prediction, nearly.
        k: the residual at which the quadratic becomes a straight line.
    Reference:  Dabney et al., Distributional Reinforcement Learning with Quantile Regression, 2018.
    """
    size = torch.abs(prediction - target)
    inner = torch.clamp(size, max=k)
    return _share(prediction, target, quantile) * (inner / k) * (size - inner / 2)


def _tube_derivative(prediction: Tensor, target: Tensor, *, eps: float, squared: bool) -> Tensor:
    residual = prediction - target
    beyond = torch.relu(torch.abs(residual) - eps)
    slope = 2 * beyond if squared else (beyond > 0).to(beyond.dtype)
    return torch.sign(residual) * slope


@loss(
    target="real",
    aliases=("svr",),
    zero_at_target=True,
    symmetric=True,
    derivative=_tube_derivative,
    identities=(
        Identity("l1", when={"eps": 0.0}),
        Identity("mse", when={"eps": 0.0, "squared": True}),
    ),
)
def epsilon_insensitive(
    prediction: Tensor, target: Tensor, *, eps: NonNegative = 0.1, squared: bool = False
) -> Tensor:
    """L1 outside a tube: what is within `eps` of the target is good enough.

    Formula:    max(0, |r| - eps), with r = prediction - target; squared: its square
    Derivative: sign(r) where |r| > eps, else 0; squared: 2 sign(r) max(0, |r| - eps)
    Shapes:     prediction [N, ...], target [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        eps: half the width of the tube in which errors are free.
        squared: square what lies outside the tube.
    Reference:  Vapnik, The Nature of Statistical Learning Theory, 1995.
    """
    beyond = torch.relu(torch.abs(prediction - target) - eps)
    return torch.square(beyond) if squared else beyond
