"""Problems with known answers: the minimum of a function is sought, a point is what is trained.

There is nothing to learn from: the function is the loss, and where its minimum lies is known. So an
optimizer's path can be seen, and its speed held against theory. Without data of its own a problem
has one sample, and an epoch is one step.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from lossbench.components.datasets._rotations import random_rotation
from lossbench.components.datasets._surfaces import SURFACES, Interval
from lossbench.components.vocabulary import (
    Data,
    NonNegative,
    Positive,
    PositiveInt,
    Samples,
    Target,
)
from lossbench.errors import DataError
from lossbench.lazy import LazyModule, Tensor, nn, np, torch
from lossbench.registry import dataset

if TYPE_CHECKING:
    from lossbench.components.datasets import _points

    Array = np.ndarray[Any, Any]
else:
    _points = LazyModule("lossbench.components.datasets._points")

SurfaceName = Literal[
    "rosenbrock",
    "beale",
    "himmelblau",
    "branin",
    "rastrigin",
    "ackley",
    "booth",
    "saddle",
    "ravine",
]

AtLeastOne = Annotated[float, Ge(1)]
AtLeastTwo = Annotated[int, Ge(2)]
WithinOne = Annotated[float, Ge(-1), Le(1)]

DEEP_SIZE = 100
DEEP_SAMPLES = 1000
DEEP_NOISE = 0.6


@dataset(
    target=Target("objective", 2, ("x", "y")),
    inputs=(0,),
    network="point",
    batch_size="full",
    validation=True,
)
def surface(
    seed: int,  # noqa: ARG001 - the contract passes it; nothing is drawn here
    *,
    function: SurfaceName = "rosenbrock",
    start: Literal["seed"] | tuple[float, float] = "seed",
    noise: NonNegative = 0.0,
) -> Data:
    """A landscape over two numbers, on which the path of an optimizer can be drawn.

    Formula: rosenbrock  (1 - x)^2 + 100 (y - x^2)^2, lowest (0) at (1, 1)
             beale       (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2,
                         lowest (0) at (3, 0.5)
             himmelblau  (x^2 + y - 11)^2 + (x + y^2 - 7)^2, lowest (0) at (3, 2) and three others
             branin      (y - 5.1 x^2 / (4 pi^2) + 5 x / pi - 6)^2 + 10 (1 - 1 / (8 pi)) cos x + 10,
                         lowest (0.397887) at (-pi, 12.275), (pi, 2.275) and (3 pi, 2.475)
             rastrigin   20 + x^2 - 10 cos(2 pi x) + y^2 - 10 cos(2 pi y), lowest (0) at (0, 0)
             ackley      20 + e - 20 exp(-0.2 sqrt((x^2 + y^2) / 2))
                         - exp((cos(2 pi x) + cos(2 pi y)) / 2), lowest (0) at (0, 0)
             booth       (x + 2 y - 7)^2 + (2 x + y - 5)^2, lowest (0) at (1, 3)
             saddle      x^2 / 2 - y^2 / 2 + y^4 / 4, lowest (-1/4) at (0, 1) and (0, -1)
             ravine      (x^2 + 100 y^2) / 2, lowest (0) at (0, 0)
    Shapes:  one sample without inputs; the point has 2 coordinates
    Knobs:
        function: which landscape.
        start: the first point [x, y], or seed: drawn by the trial's seed from the customary box.
        noise: the deviation of a normal error of each element of the gradient, new in every step.
    Note:    an epoch is one step; the loss that is shown is free of the noise.
    Reference: Rosenbrock, An Automatic Method for Finding the Greatest or Least Value of a
             Function, 1960. Himmelblau, Applied Nonlinear Programming, 1972. Ackley, A
             Connectionist Machine for Genetic Hillclimbing, 1987. Nesterov, Introductory Lectures
             on Convex Optimization, 2004 (for the saddle).
    """
    chosen = SURFACES[function]

    def model() -> nn.Module:
        point = _in_box(chosen.box) if start == "seed" else torch.tensor(start)
        return _points.Point(_points.on_surface(chosen.formula), point, noise=noise)

    once = _samples(np.zeros((1, 0)), np.array(chosen.minima))
    return Data(
        target=Target("objective", 2, ("x", "y")),
        train=once,
        validation=once,
        standardize=False,
        floor={"loss": chosen.lowest},
        model=model,
    )


@dataset(target="objective", network="point", batch_size="full", validation=True)
def quadratic(
    seed: int,
    *,
    dimension: PositiveInt = 2,
    condition: AtLeastOne = 100.0,
    largest: Positive = 1.0,
    rotated: bool = False,
    noise: NonNegative = 0.0,
    start: Literal["seed"] | float | tuple[float, ...] = "seed",
) -> Data:
    """A bowl of chosen steepness: the problem on which the speed of an optimizer is known exactly.

    Formula: x^T Q x / 2, lowest (0) at 0; the eigenvalues of Q lie evenly spaced in their logarithm
             from largest / condition to largest
    Shapes:  one sample; the point has `dimension` coordinates, the flattest direction first
    Knobs:
        dimension: the number of coordinates.
        condition: the largest eigenvalue divided by the smallest.
        largest: the largest eigenvalue: gradient descent is stable below lr = 2 / largest.
        rotated: turn the axes at random, by dataset.seed, so that no coordinate stands for itself.
        noise: the deviation of a normal error of each element of the gradient, new in every step.
        start: the first point, one number for all coordinates, or seed: standard normal numbers
            drawn by the trial's seed.
    Note:    an epoch is one step; the loss that is shown is free of the noise. In one dimension
             the condition plays no part.
    Errors:  a start with another number of coordinates.
    Reference: Polyak, Introduction to Optimization, 1987.
    """
    first = (start,) * dimension if isinstance(start, int | float) else start
    if isinstance(first, tuple) and len(first) != dimension:
        raise DataError(
            f"quadratic: 'start' has {len(first)} coordinates, and 'dimension' is {dimension}",
            hint="give one number for all of them, or start: seed",
        )
    smallest = largest if dimension == 1 else largest / condition
    hessian = eigenvalues = np.geomspace(smallest, largest, dimension)
    if rotated:
        rotation = random_rotation(dimension, np.random.RandomState(seed % 2**32))
        hessian = _turned(eigenvalues, rotation)

    def model() -> nn.Module:
        point = torch.randn(dimension) if isinstance(first, str) else torch.tensor(first)
        return _points.Point(_points.quadratic, point.float(), _single(hessian), noise=noise)

    once = _samples(np.zeros((1, dimension)), np.zeros((1, dimension)))
    return Data(
        target=Target("objective", dimension),
        train=once,
        validation=once,
        input_names=_names(dimension),
        standardize=False,
        floor={"loss": 0.0},
        model=model,
    )


@dataset(
    target=Target("objective", DEEP_SIZE),
    inputs=(DEEP_SIZE,),
    network="point",
    batch_size=128,
    validation=True,
)
def quadratic_deep(seed: int) -> Data:  # noqa: ARG001 - one fixed problem, whatever the seed
    """A noisy bowl with the curvature that deep networks have: a few steep directions, many flat.

    Formula: (theta - x)^T Q (theta - x) / 2 on average over the samples x; Q has 90 eigenvalues
             from U(0, 1) and 10 from U(30, 60) in a random rotation, theta starts at ones
    Shapes:  inputs [1000, 100] in each of the three splits; the point has 100 coordinates
    Note:    everything is fixed, as DeepOBS has it: NumPy's RandomState(42) draws the eigenvalues,
             then the rotation; samples are N(0, 0.6^2) from RandomState(42) for training, 44 for
             validation, 43 for the test. DeepOBS leaves out the last, smaller batch
             (train.drop_last: true). The distance is that to 0, the minimum expected on new
             samples; the minimum on the training samples is their mean, which lies 0.2 from it.
    Reference: Schneider, Balles and Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite,
             2019. Chaudhari et al., Entropy-SGD: Biasing Gradient Descent into Wide Valleys, 2017
             (for the eigenvalues).
    """
    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0, 1, 90), random.uniform(30, 60, 10)])
    hessian = _turned(eigenvalues, random_rotation(DEEP_SIZE, random))

    def model() -> nn.Module:
        return _points.Point(_points.quadratic, torch.ones(DEEP_SIZE), _single(hessian))

    def drawn(by: int) -> Samples:
        x = np.random.RandomState(by).normal(0.0, DEEP_NOISE, (DEEP_SAMPLES, DEEP_SIZE))
        return _samples(x, np.zeros((1, DEEP_SIZE)))

    return Data(
        target=Target("objective", DEEP_SIZE),
        train=drawn(42),
        validation=drawn(44),
        test=drawn(43),
        input_names=_names(DEEP_SIZE),
        standardize=False,
        floor={"loss": DEEP_NOISE**2 * float(eigenvalues.sum()) / 2},
        model=model,
    )


@dataset(target=Target("objective", 1), inputs=(1,), network="point", batch_size=1, validation=True)
def online_linear(
    seed: int,  # noqa: ARG001 - the contract passes it; nothing is drawn here
    *,
    large: Positive = 101.0,
    period: AtLeastTwo = 101,
    scale: Positive = 10.0,
    start: Literal["seed"] | WithinOne = 0.0,
) -> Data:
    """A line whose slope is mostly wrong: one rare large gradient outweighs all the others.

    Formula: f_t(x) = scale * large * x at the first step of every period, -scale * x at all others,
             x kept in [-1, 1]; lowest on average at -1, as long as large > period - 1
    Shapes:  inputs [period, 1], the slopes in their order; the point has 1 coordinate
    Knobs:
        large: the rare slope; the others are -1.
        period: steps from one large slope to the next; an epoch is one period.
        scale: what all slopes are multiplied with.
        start: the first point, or seed: uniform on [-1, 1], drawn by the trial's seed.
    Note:    Adam forgets the large gradient before the next one, and ends at +1, the worst point;
             AMSGrad does not. The samples are never shuffled; take train.batch_size 1.
    Errors:  large = period - 1: the slopes cancel out, and every point is a minimum.
    Reference: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018.
    """
    total = large - (period - 1)
    if total == 0:
        raise DataError(
            f"online_linear: with large = {large:g} and period = {period} the slopes cancel out",
            hint=f"take a large above {period - 1}: the minimum is then at -1",
        )
    minimum = np.array([[-1.0 if total > 0 else 1.0]])
    slopes = np.full((period, 1), -float(scale))
    slopes[0] = scale * large
    mean = np.array([[scale * total / period]])

    def model() -> nn.Module:
        point = 2 * torch.rand(1) - 1 if isinstance(start, str) else torch.tensor([float(start)])
        return _points.Point(_points.linear, point, within=(-1.0, 1.0))

    return Data(
        target=Target("objective", 1),
        train=_samples(slopes, minimum),
        validation=_samples(mean, minimum),
        input_names=("slope",),
        standardize=False,
        floor={"loss": -abs(float(mean[0, 0]))},
        model=model,
        ordered=True,
    )


def _samples(inputs: "Array", minima: "Array") -> Samples:
    """Return the inputs [N, ...] with the same minima [m, d] for each."""
    targets = np.broadcast_to(minima, (len(inputs), *minima.shape))
    return Samples(inputs.astype(np.float32), targets.astype(np.float32))


def _in_box(box: tuple[Interval, Interval]) -> Tensor:
    """Draw a point uniformly from a box."""
    low, high = torch.tensor(box).unbind(dim=1)
    return low + (high - low) * torch.rand(2)


def _turned(eigenvalues: "Array", rotation: "Array") -> "Array":
    """Return the matrix with these eigenvalues, whose eigenvectors are the rotation's rows."""
    return rotation.T @ np.diag(eigenvalues) @ rotation


def _single(values: "Array") -> Tensor:
    return torch.from_numpy(values).to(torch.float32)


def _names(size: int) -> tuple[str, ...]:
    return tuple(f"x{number}" for number in range(1, size + 1))
