"""Rectifiers with another corner: squared, moved, rounded, or bent."""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import activation

INFINITY = float("inf")


@activation(
    aliases=("relu2", "relu_squared"),
    range=(0.0, INFINITY),
    derivative=lambda x: 2 * x.clamp(min=0),
)
def squared_relu(x: Tensor) -> Tensor:
    """ReLU squared: no kink, and large inputs count more.

    Formula:    max(0, x)^2
    Derivative: 2 max(0, x)
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Reference:  So et al., Primer: Searching for Efficient Transformers for Language Modeling, 2021.
    """
    return torch.where(x <= 0, 0.0, x) ** 2


@activation(
    range=(0.0, INFINITY),
    kinks=("theta",),
    derivative=lambda x, *, theta: x > theta,
    identities=(
        Identity("relu", when={"theta": 0.0}),
        Identity("threshold", knobs={"threshold": 1.0, "value": 0.0}),
    ),
)
def thresholded_relu(x: Tensor, *, theta: NonNegative = 1.0) -> Tensor:
    """ReLU that lets nothing pass below a threshold, and all of it above.

    Formula:    x where x > theta, else 0
    Derivative: 1 where x > theta, else 0
    Shapes:     [...] -> [...]
    Range:      0 or (theta, inf)
    Knobs:
        theta: what an input must exceed to pass.
    Reference:  Konda, Memisevic & Krueger, Zero-bias Autoencoders and the Benefits of Co-adapting
                Features, 2014.
    """
    return torch.where(x <= theta, 0.0, x)


@activation(
    range=(0.0, INFINITY),
    kinks=(0.0,),
    derivative=lambda x, *, beta: torch.where(x > 0, beta / (1 + beta * x.clamp(min=0)), 0.0),
)
def nl_relu(x: Tensor, *, beta: Positive = 1.0) -> Tensor:
    """The logarithm of ReLU: large inputs are kept small, which evens out the layers.

    Formula:    ln(1 + beta max(0, x))
    Derivative: beta / (1 + beta x) where x > 0, else 0
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Knobs:
        beta: the slope right of 0.
    Reference:  Liu, Zhang, Zhu & Han, Natural-Logarithm-Rectified Activation Function in
                Convolutional Neural Networks, 2019.
    """
    return torch.log1p(beta * torch.where(x <= 0, 0.0, x))


@activation(
    range=(0.0, INFINITY),
    derivative=lambda x, *, beta: ((x + beta) / (2 * beta)).clamp(0, 1),
    identities=(Identity("sparse_plus", when={"beta": 1.0}),),
)
def smelu(x: Tensor, *, beta: Positive = 1.0) -> Tensor:
    """ReLU with a parabola for a corner: exactly 0 on the left, exactly x on the right.

    Formula:    0 where x <= -beta, x where x >= beta, else (x + beta)^2 / (4 beta)
    Derivative: 0, 1, (x + beta) / (2 beta)
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Knobs:
        beta: half the width of the corner.
    Reference:  Shamir, Lin & Coviello, Smooth Activations and Reproducibility in Deep Networks,
                2020.
    """
    bend = (x + beta) ** 2 / (4 * beta)
    return torch.where(x <= -beta, 0.0, torch.where(x >= beta, x, bend))


@activation(
    range=(0.0, INFINITY),
    derivative=lambda x: ((x + 1) / 2).clamp(0, 1),
    identities=(Identity("smelu", knobs={"beta": 1.0}),),
)
def sparse_plus(x: Tensor) -> Tensor:
    """The softplus that belongs to sparsemax: a rounded ReLU that does reach 0.

    Formula:    0 where x <= -1, x where x >= 1, else (x + 1)^2 / 4
    Derivative: 0, 1, (x + 1) / 2
    Shapes:     [...] -> [...]
    Range:      [0, inf)
    Reference:  Blondel, Martins & Niculae, Learning with Fenchel-Young Losses, 2020.
    """
    return torch.where(x <= -1, 0.0, torch.where(x >= 1, x, (x + 1) ** 2 / 4))


@activation(
    range=(0.0, INFINITY),
    derivative=lambda x, *, b: (1 + x / torch.sqrt(x * x + b)) / 2,
)
def squareplus(x: Tensor, *, b: Positive = 4.0) -> Tensor:
    """A softplus from a square root: the same shape without an exponential.

    Formula:    (x + sqrt(x^2 + b)) / 2
    Derivative: (1 + x / sqrt(x^2 + b)) / 2
    Shapes:     [...] -> [...]
    Range:      (0, inf)
    Knobs:
        b: how round the corner is; with 4 the value at 0 is 1, with 4 (ln 2)^2 that of softplus.
    Reference:  Barron, Squareplus: A Softplus-Like Algebraic Rectifier, 2021.
    """
    # Left of 0 the sum would cancel: its digits are those of b / 2 over the difference.
    root = torch.sqrt(x * x + b)
    left = x <= 0
    larger = torch.where(left, root - x, root + x)
    return torch.where(left, b / larger, larger) / 2


@activation(
    range=(-1.0, INFINITY),
    derivative=lambda x, *, alpha: (1 + alpha * x.clamp(max=0) ** 2) ** -1.5,
    identities=(Identity("identity", when={"alpha": 0.0}),),
)
def isrlu(x: Tensor, *, alpha: NonNegative = 1.0) -> Tensor:
    """ELU from an inverse square root: the identity on the right, a plateau on the left.

    Formula:    x where x >= 0, else x / sqrt(1 + alpha x^2)
    Derivative: 1 where x >= 0, else (1 + alpha x^2)^(-3/2)
    Shapes:     [...] -> [...]
    Range:      (-1 / sqrt(alpha), inf)
    Knobs:
        alpha: how soon the plateau is reached, and how high it lies.
    Reference:  Carlile, Delamarter, Kinney, Marti & Whitney, Improving Deep Learning by Inverse
                Square Root Linear Units (ISRLUs), 2017.
    """
    safe = torch.where(x >= 0, 0.0, x)
    return x / torch.sqrt(1 + alpha * safe * safe)


@activation(derivative=lambda x: x / (2 * torch.sqrt(x * x + 1)) + 1)
def bent_identity(x: Tensor) -> Tensor:
    """A line of slope 1/2 that bends into one of slope 3/2: nothing saturates, little is bent.

    Formula:    (sqrt(x^2 + 1) - 1) / 2 + x
    Derivative: x / (2 sqrt(x^2 + 1)) + 1
    Shapes:     [...] -> [...]
    Range:      (-inf, inf)
    Reference:  none: folklore.
    """
    return (torch.sqrt(x * x + 1) - 1) / 2 + x
