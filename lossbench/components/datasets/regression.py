"""Regression problems made by a formula, of which the truth is known."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from lossbench.components.vocabulary import Data, NonNegative, PositiveInt, Samples, Target
from lossbench.errors import DataError
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

ONE_NUMBER = Target("real", 1, ("y",))


@dataset(target=ONE_NUMBER)
def linear_regression(
    seed: int,
    *,
    samples: PositiveInt = 500,
    features: PositiveInt = 10,
    noise: NonNegative = 0.1,
    condition: Annotated[float, Ge(1)] = 1.0,
) -> Data:
    """A linear function of Gaussian inputs, as badly conditioned as one asks for.

    Formula: y = w . x + b + noise * e; x = Q L^(1/2) z, with z, w, b, e standard normal, Q a
             random rotation, and L diagonal from 1 down to 1 / condition in equal ratios
    Shapes:  inputs [N, features], targets [N, 1]
    Knobs:
        samples: the number of samples.
        features: the number of inputs.
        noise: the deviation of the targets' error, in all splits.
        condition: largest over smallest eigenvalue of the inputs' covariance, and so of the
            Hessian of the squared error; gradient descent needs steps in proportion to it.
    Note:    the inputs are not standardised unless asked, which would change the condition.
    Reference: Nocedal and Wright, Numerical Optimization, 2006.
    """
    random = np.random.default_rng(seed)
    weights, bias = random.standard_normal(features), random.standard_normal()
    rotation, triangle = np.linalg.qr(random.standard_normal((features, features)))
    rotation = rotation * np.sign(np.diag(triangle))  # without the signs, not uniform over all
    spread = np.sqrt(np.geomspace(1.0, 1.0 / condition, features))
    x = (random.standard_normal((samples, features)) * spread) @ rotation.T
    y = x @ weights + bias + noise * random.standard_normal(samples)
    return Data(
        target=ONE_NUMBER,
        samples=Samples(x, y[:, None]),
        input_names=tuple(f"x{i + 1}" for i in range(features)),
        standardize=False,
        floor=gaussian_floor(noise),
    )


@dataset(target=ONE_NUMBER)
def friedman(
    seed: int,
    *,
    function: Literal[1, 2, 3] = 1,
    samples: PositiveInt = 1000,
    features: Annotated[int, Ge(5)] | None = None,
    noise: NonNegative = 0.0,
) -> Data:
    """Friedman's three test functions: smooth, not linear, and with inputs that do not matter.

    Formula: 1: 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5, every x uniform in [0, 1]
             2: sqrt(x1^2 + (x2 x3 - 1 / (x2 x4))^2)
             3: arctan((x2 x3 - 1 / (x2 x4)) / x1)
             2 and 3: x1 uniform in [0, 100], x2 in [40 pi, 560 pi], x3 in [0, 1], x4 in [1, 11];
             plus noise * e, with e standard normal
    Shapes:  inputs [N, features], targets [N, 1]
    Knobs:
        function: which of the three.
        samples: the number of samples.
        features: the number of inputs of function 1 (10 by default), of which five matter; the
            others always have 4.
        noise: the deviation of the targets' error, in all splits; the studies below take 1 for
            function 1, and 125 and 0.1 for 2 and 3.
    Reference: Friedman, Multivariate Adaptive Regression Splines, 1991; Breiman, Bagging
             Predictors, 1996.
    """
    if function != 1 and features is not None:
        raise DataError(
            f"friedman: features={features} is for function 1; function {function} always has 4",
            hint="leave features out, or say function: 1",
        )
    random = np.random.default_rng(seed)
    if function == 1:
        x = random.uniform(size=(samples, 10 if features is None else features))
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
        y = y + 10 * x[:, 3] + 5 * x[:, 4]
    else:
        x, y = _circuit(random.uniform(size=(samples, 4)), angle=function == 3)
    y = y + noise * random.standard_normal(samples)
    return Data(
        target=ONE_NUMBER,
        samples=Samples(x, y[:, None]),
        input_names=tuple(f"x{i + 1}" for i in range(x.shape[1])),
        standardize_target=True,
        floor=gaussian_floor(noise),
    )


def _circuit(uniform: "Array", angle: bool) -> "tuple[Array, Array]":
    """Give impedance or phase of an alternating-current circuit: what functions 2 and 3 are.

    Inputs: resistance, angular frequency, inductance and (reciprocal) capacitance.
    """
    lowest = np.array([0.0, 40 * np.pi, 0.0, 1.0])
    highest = np.array([100.0, 560 * np.pi, 1.0, 11.0])
    x = lowest + (highest - lowest) * uniform
    reactance = x[:, 1] * x[:, 2] - 1 / (x[:, 1] * x[:, 3])
    # For positive resistance the angle of the point is the arctangent of the quotient, and it
    # stays defined at resistance 0.
    return x, np.arctan2(reactance, x[:, 0]) if angle else np.hypot(x[:, 0], reactance)


def gaussian_floor(noise: float) -> dict[str, float]:
    """Return what is left on new data for a model that knows the truth, per metric.

    Gaussian errors: mean square noise^2, mean size noise sqrt(2 / pi).
    """
    return {"mse": noise**2, "rmse": noise, "mae": noise * math.sqrt(2 / math.pi)}
