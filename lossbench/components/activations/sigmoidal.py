"""Activations with two plateaus: the unit is off, on, or in between."""

import math

from lossbench.components.activations._slopes import bell
from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation


@activation(
    kernel="torch.sigmoid",
    aliases=("logistic",),
    range=(0.0, 1.0),
    derivative=lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
)
def sigmoid(x: Tensor) -> Tensor:
    """Squash any number into a probability; flat, hence slow to learn, far from 0.

    Formula:    1 / (1 + e^-x)
    Derivative: f (1 - f)
    Shapes:     [...] -> [...]
    Range:      (0, 1)
    Reference:  Verhulst, Recherches mathematiques sur la loi d'accroissement de la population,
                1845.
    """
    positive = x >= 0
    # e^-|x| cannot overflow. The branch instead of abs(): at 0 the derivative of abs() is 0, which
    # would make the sigmoid flat where it is steepest.
    decay = torch.exp(torch.where(positive, -x, x))
    return torch.where(positive, 1.0, decay) / (1 + decay)


@activation(kernel="torch.tanh", range=(-1.0, 1.0), derivative=lambda x: 1 - torch.tanh(x) ** 2)
def tanh(x: Tensor) -> Tensor:
    """A sigmoid centred on 0, so that the next layer sees inputs of both signs.

    Formula:    (e^x - e^-x) / (e^x + e^-x)
    Derivative: 1 - f^2
    Shapes:     [...] -> [...]
    Range:      (-1, 1)
    Reference:  LeCun, Bottou, Orr & Mueller, Efficient BackProp, 1998.
    """
    positive = x >= 0
    # expm1 keeps the digits near 0, the negative exponent keeps it finite; branches as in sigmoid.
    decay = torch.expm1(torch.where(positive, -2 * x, 2 * x))
    size = decay / (2 + decay)
    return torch.where(positive, -size, size)


def _ordered(*, min_val: float, max_val: float) -> None:
    """Refuse an interval whose ends are exchanged."""
    if not min_val < max_val:
        raise UsageError(
            f"hardtanh: min_val = {min_val} is not below max_val = {max_val}",
            hint="give the lower end as min_val, the upper one as max_val",
        )


@activation(
    kernel="torch.nn.functional.hardtanh",
    range=(-1.0, 1.0),
    kinks=("min_val", "max_val"),
    check=_ordered,
    derivative=lambda x, *, min_val, max_val: (x > min_val) & (x < max_val),
    identities=(Identity("relu6", when={"min_val": 0.0, "max_val": 6.0}),),
)
def hardtanh(x: Tensor, *, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """The straight-line version of tanh: the identity, cut off at both ends.

    Formula:    clip(x, min_val, max_val)
    Derivative: 1 where min_val < x < max_val, else 0
    Shapes:     [...] -> [...]
    Range:      [min_val, max_val]
    Knobs:
        min_val: the lower plateau; below it the unit no longer learns.
        max_val: the upper plateau, above min_val.
    Errors:     min_val not below max_val.
    Reference:  Collobert, Large Scale Machine Learning, 2004.
    """
    # Not clamp(): its derivative at the ends is 1, torch's hardtanh has 0 there.
    return torch.where(x <= min_val, min_val, torch.where(x >= max_val, max_val, x))


@activation(
    kernel="torch.nn.functional.hardsigmoid",
    range=(0.0, 1.0),
    kinks=(-3.0, 3.0),
    derivative=lambda x: (x.abs() < 3) / 6,
)
def hardsigmoid(x: Tensor) -> Tensor:
    """The straight-line version of the sigmoid: cheap where e^x is dear.

    Formula:    clip(x / 6 + 1 / 2, 0, 1)
    Derivative: 1 / 6 where -3 < x < 3, else 0
    Shapes:     [...] -> [...]
    Range:      [0, 1]
    Note:       older texts use the slope 0.2 (Courbariaux 2015); this is torch's.
    Reference:  Howard et al., Searching for MobileNetV3, 2019.
    """
    return torch.where(x <= -3, 0.0, torch.where(x >= 3, 1.0, x / 6 + 0.5))


@activation(
    kernel="torch.nn.functional.softsign",
    range=(-1.0, 1.0),
    derivative=lambda x: 1 / (1 + x.abs()) ** 2,
)
def softsign(x: Tensor) -> Tensor:
    """Like tanh, but its plateaus are reached as 1/x, so they keep a gradient for longer.

    Formula:    x / (1 + |x|)
    Derivative: 1 / (1 + |x|)^2
    Shapes:     [...] -> [...]
    Range:      (-1, 1)
    Reference:  Bergstra, Desjardins, Lamblin & Bengio, Quadratic Polynomials Learn Better Image
                Features, 2009.
    """
    return x / (1 + x.abs())


@activation(
    range=(0.0, 1.0),
    kinks=(-1.0, 1.0),
    derivative=lambda x: (x.abs() < 1) / 2,
)
def sparse_sigmoid(x: Tensor) -> Tensor:
    """The sigmoid that belongs to sparsemax: a straight line that does reach 0 and 1.

    Formula:    clip((x + 1) / 2, 0, 1)
    Derivative: 1 / 2 where -1 < x < 1, else 0
    Shapes:     [...] -> [...]
    Range:      [0, 1]
    Reference:  Blondel, Martins & Niculae, Learning with Fenchel-Young Losses, 2020.
    """
    return torch.where(x <= -1, 0.0, torch.where(x >= 1, 1.0, (x + 1) / 2))


@activation(
    range=(-1.0, 1.0),
    derivative=lambda x, *, alpha: (1 + alpha * x * x) ** -1.5,
    identities=(Identity("identity", when={"alpha": 0.0}),),
)
def isru(x: Tensor, *, alpha: NonNegative = 1.0) -> Tensor:
    """A sigmoid from an inverse square root: the shape of tanh without an exponential.

    Formula:    x / sqrt(1 + alpha x^2)
    Derivative: (1 + alpha x^2)^(-3/2)
    Shapes:     [...] -> [...]
    Range:      (-1 / sqrt(alpha), 1 / sqrt(alpha))
    Knobs:
        alpha: how soon the plateaus are reached, and where they lie.
    Reference:  Carlile, Delamarter, Kinney, Marti & Whitney, Improving Deep Learning by Inverse
                Square Root Linear Units (ISRLUs), 2017.
    """
    return x / torch.sqrt(1 + alpha * x * x)


@activation(
    aliases=("atan",),
    range=(-math.pi / 2, math.pi / 2),
    derivative=lambda x: 1 / (1 + x * x),
)
def arctan(x: Tensor) -> Tensor:
    """The angle whose tangent the input is: plateaus that are reached as slowly as 1/x.

    Formula:    atan(x)
    Derivative: 1 / (1 + x^2)
    Shapes:     [...] -> [...]
    Range:      (-pi / 2, pi / 2)
    Reference:  none: folklore.
    """
    return torch.atan(x)


@activation(
    range=(-1.7159, 1.7159),
    derivative=lambda x: 1.7159 * (2 / 3) * (1 - torch.tanh(2 / 3 * x) ** 2),
)
def lecun_tanh(x: Tensor) -> Tensor:
    """Tanh stretched so that 1 stays 1, and standard inputs keep their variance.

    Formula:    1.7159 tanh(2 x / 3)
    Derivative: 1.7159 (2 / 3) (1 - tanh(2 x / 3)^2)
    Shapes:     [...] -> [...]
    Range:      (-1.7159, 1.7159)
    Reference:  LeCun, Bottou, Orr & Mueller, Efficient BackProp, 1998.
    """
    return 1.7159 * torch.tanh(2 / 3 * x)


@activation(
    range=(-0.25, 1.0),
    kinks=(0.0,),
    derivative=lambda x, *, alpha: torch.where(x > 0, 1.0, alpha) * (1 - torch.tanh(x) ** 2),
    identities=(Identity("tanh", when={"alpha": 1.0}),),
)
def penalized_tanh(x: Tensor, *, alpha: NonNegative = 0.25) -> Tensor:
    """Tanh whose left half is flattened, as leaky ReLU flattens the identity.

    Formula:    tanh(x) where x > 0, else alpha tanh(x)
    Derivative: 1 - tanh(x)^2, times alpha where x <= 0
    Shapes:     [...] -> [...]
    Range:      (-alpha, 1)
    Knobs:
        alpha: the factor on the left; 1 is tanh.
    Reference:  Xu, Huang & Li, Revise Saturated Activation Functions, 2016.
    """
    bent = torch.tanh(x)
    return torch.where(x > 0, bent, alpha * bent)


@activation(range=(-1.0, 1.0), derivative=bell)
def erf(x: Tensor) -> Tensor:
    """The error function: the share of a normal distribution between -x and x, with its sign.

    Formula:    (2 / sqrt(pi)) integral from 0 to x of e^(-t^2) dt
    Derivative: (2 / sqrt(pi)) e^(-x^2)
    Shapes:     [...] -> [...]
    Range:      (-1, 1)
    Reference:  none: classical.
    """
    return torch.erf(x)
