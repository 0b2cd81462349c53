"""Rectifiers: the identity for positive inputs, something small for negative ones.

Each is written as `where(x <= 0, ..., x)`, never `where(x > 0, x, ...)` with a constant behind it:
a NaN fails every comparison, so it falls through to `x` and stays visible. Where a branch holds an
exponential, its argument is first made harmless for the inputs of the other branch (`safe`): the
gradient of `where` multiplies the branch not taken by 0, and 0 times infinity is NaN.
"""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

INFINITY = float("inf")

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""The pair that keeps mean 0 and variance 1 from layer to layer (Klambauer et al., 2017)."""


@activation(
    kernel="torch.nn.functional.relu",
    range=(0.0, INFINITY),
    kinks=(0.0,),
    derivative=lambda x: x > 0,
)
def relu(x: Tensor) -> Tensor:
    """Pass what is positive, block the rest: cheap, no plateau on the right, dead on the left.

    Formula:    max(0, x)
    Derivative: 1 where x > 0, else 0
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Reference:  Nair & Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, 2010.
    """
    return torch.where(x <= 0, 0.0, x)


@activation(
    kernel="torch.nn.functional.relu6",
    range=(0.0, 6.0),
    kinks=(0.0, 6.0),
    derivative=lambda x: (x > 0) & (x < 6),
    identities=(Identity("hardtanh", knobs={"min_val": 0.0, "max_val": 6.0}),),
)
def relu6(x: Tensor) -> Tensor:
    """ReLU with a ceiling, so that a few bits suffice to store the result.

    Formula:    min(max(0, x), 6)
    Derivative: 1 where 0 < x < 6, else 0
    Shapes:     [...] -> [...]
    Range:      [0, 6]
    Reference:  Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010.
    """
    return torch.where(x <= 0, 0.0, torch.where(x >= 6, 6.0, x))


@activation(
    kernel="torch.nn.functional.leaky_relu",
    kinks=(0.0,),
    derivative=lambda x, *, negative_slope: torch.where(x > 0, 1.0, negative_slope),
    identities=(
        Identity("relu", when={"negative_slope": 0.0}),
        Identity("identity", when={"negative_slope": 1.0}),
    ),
)
def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """ReLU with a small slope on the left, so that no unit dies.

    Formula:    max(0, x) + negative_slope min(0, x)
    Derivative: 1 where x > 0, else negative_slope
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        negative_slope: the slope for negative inputs; 0 is ReLU, 1 the identity.
    Reference:  Maas, Hannun & Ng, Rectifier Nonlinearities Improve Neural Network Acoustic
                Models, 2013.
    """
    return torch.where(x > 0, x, negative_slope * x)


def _interval(*, lower: float, upper: float) -> None:
    """Refuse an interval whose ends are exchanged."""
    if lower > upper:
        raise UsageError(
            f"rrelu: lower = {lower} is above upper = {upper}",
            hint="give the smallest slope as lower, the largest one as upper",
        )


@activation(
    kernel="torch.nn.functional.rrelu",
    kinks=(0.0,),
    random=True,
    check=_interval,
    derivative=lambda x, *, lower, upper: torch.where(x > 0, 1.0, (lower + upper) / 2),
    identities=(
        Identity("leaky_relu", when={"lower": 0.1, "upper": 0.3}, knobs={"negative_slope": 0.2}),
    ),
    kernel_only="training draws every slope at random, which a formula of its inputs cannot say; "
    "the formula is what evaluation uses",
)
def rrelu(x: Tensor, *, lower: float = 1 / 8, upper: float = 1 / 3) -> Tensor:
    """Leaky ReLU whose slope is drawn anew for each element while training: noise against overfit.

    Formula:    max(0, x) + a min(0, x), with a drawn evenly from [lower, upper] in training and
                (lower + upper) / 2 in evaluation
    Derivative: 1 where x > 0, else a
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Knobs:
        lower: the smallest slope that is drawn.
        upper: the largest slope that is drawn.
    Note:       the code below is the evaluation; torch's kernel alone draws.
    Errors:     lower above upper.
    Reference:  Xu, Wang, Chen & Li, Empirical Evaluation of Rectified Activations in Convolutional
                Network, 2015.
    """
    return torch.where(x > 0, x, (lower + upper) / 2 * x)


@activation(
    kernel="torch.nn.functional.threshold",
    kinks=("threshold",),
    derivative=lambda x, *, threshold, value: x > threshold,  # noqa: ARG005 - passed by name
    identities=(Identity("relu", when={"threshold": 0.0, "value": 0.0}),),
)
def threshold(x: Tensor, *, threshold: float, value: float) -> Tensor:
    """Pass what is above a threshold, replace the rest by a constant.

    Formula:    x where x > threshold, else value
    Derivative: 1 where x > threshold, else 0
    Shapes:     [...] -> [...]
    Range:      value or (threshold, inf)
    Knobs:
        threshold: what an input must exceed to pass.
        value: what the others become.
    Reference:  none: handed down from the Lua version of Torch.
    """
    return torch.where(x <= threshold, value, x)


@activation(
    kernel="torch.nn.functional.elu",
    range=(-1.0, INFINITY),
    kinks=(0.0,),
    derivative=lambda x, *, alpha: torch.where(x > 0, 1.0, alpha * torch.exp(x)),
    identities=(Identity("relu", when={"alpha": 0.0}), Identity("celu", when={"alpha": 1.0})),
)
def elu(x: Tensor, *, alpha: NonNegative = 1.0) -> Tensor:
    """ReLU whose left side levels off below 0, which keeps the mean of a layer near 0.

    Formula:    x where x > 0, else alpha (e^x - 1)
    Derivative: 1 where x > 0, else alpha e^x
    Shapes:     [...] -> [...]
    Range:      (-alpha, inf)
    Knobs:
        alpha: the depth of the left plateau; at 1 the derivative has no jump.
    Reference:  Clevert, Unterthiner & Hochreiter, Fast and Accurate Deep Network Learning by
                Exponential Linear Units (ELUs), 2016.
    """
    safe = torch.where(x > 0, 0.0, x)
    return torch.where(x > 0, x, alpha * torch.expm1(safe))


@activation(
    kernel="torch.nn.functional.celu",
    range=(-1.0, INFINITY),
    derivative=lambda x, *, alpha: torch.where(x > 0, 1.0, torch.exp(x / alpha)),
    identities=(Identity("elu", when={"alpha": 1.0}),),
)
def celu(x: Tensor, *, alpha: Positive = 1.0) -> Tensor:
    """ELU stretched so that its derivative has no jump whatever `alpha`.

    Formula:    max(0, x) + min(0, alpha (e^(x / alpha) - 1))
    Derivative: 1 where x > 0, else e^(x / alpha)
    Shapes:     [...] -> [...]
    Range:      (-alpha, inf)
    Knobs:
        alpha: the depth of the left plateau, and how slowly it is reached.
    Reference:  Barron, Continuously Differentiable Exponential Linear Units, 2017.
    """
    safe = torch.where(x > 0, 0.0, x)
    return torch.where(x > 0, x, alpha * torch.expm1(safe / alpha))


@activation(
    kernel="torch.nn.functional.selu",
    range=(-1.7581, INFINITY),
    kinks=(0.0,),
    derivative=lambda x: SELU_SCALE * torch.where(x > 0, 1.0, SELU_ALPHA * torch.exp(x)),
    identities=(Identity("elu", knobs={"alpha": SELU_ALPHA}, times=SELU_SCALE),),
)
def selu(x: Tensor) -> Tensor:
    """ELU with the two constants that let deep plain networks normalise themselves.

    Formula:    s x where x > 0, else s a (e^x - 1), with s = 1.0507009873554805 and
                a = 1.6732632423543772
    Derivative: s where x > 0, else s a e^x
    Shapes:     [...] -> [...]
    Range:      (-1.7581, inf)
    Reference:  Klambauer, Unterthiner, Mayr & Hochreiter, Self-Normalizing Neural Networks, 2017.
    """
    safe = torch.where(x > 0, 0.0, x)
    return SELU_SCALE * torch.where(x > 0, x, SELU_ALPHA * torch.expm1(safe))
