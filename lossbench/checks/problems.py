"""Checks of the bench itself: optimizers held against what theory says of them exactly.

Each check trains by the same engine as every run, on a problem whose answer is known in closed
form, and says what was expected, what came out, and whether the two agree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lossbench.config.read import load
from lossbench.config.spec import RunSpec
from lossbench.training.build import build
from lossbench.training.events import Evaluated, StepsDone
from lossbench.training.loop import train

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """What theory expects, what came out, and whether the two agree."""

    expected: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Check:
    """A check that was made: its name, what it claims, and how it came out."""

    name: str
    claim: str
    expected: str
    found: str
    passed: bool

    def record(self) -> dict[str, Any]:
        """Return the check as plain data."""
        return asdict(self)


PROBLEMS: dict[str, Callable[[], Check]] = {}
"""The checks on problems with known answers, by name."""


def problem_check(function: Callable[[], Outcome]) -> Callable[[], Check]:
    """Add a check on a problem; the first line of its docstring is what it claims."""
    name, doc = function.__name__, (function.__doc__ or "").strip()
    claim = doc.splitlines()[0].rstrip(".")

    def check() -> Check:
        outcome = function()
        return Check(name, claim, outcome.expected, outcome.found, outcome.passed)

    PROBLEMS[name] = check
    return check


def check_problems() -> list[Check]:
    """Make every check on the problems with known answers, in order."""
    return [check() for check in PROBLEMS.values()]


# --- running a problem ------------------------------------------------------------------------


def _trial(
    dataset: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    epochs: int,
    metrics: Sequence[str] = (),
) -> RunSpec:
    """Return a run on a problem, as a config would say it."""
    mapping = {
        "dataset": dict(dataset),
        "loss": "value",
        "optimizer": dict(optimizer),
        "train": {"epochs": epochs, "device": "cpu"},
        "metrics": list(metrics),
    }
    return load(mapping=mapping).spec


def _path(
    dataset: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    epochs: int,
    metrics: Sequence[str] = ("first_coordinate", "second_coordinate"),
) -> Array:
    """Return the point after every epoch, [epochs, coordinates]."""
    trial = _trial(dataset, optimizer, epochs, metrics)
    seen = [
        [event.values[metric][0] for metric in metrics]
        for event in train(build([trial]))
        if isinstance(event, Evaluated) and event.split == "validation"
    ]
    return np.array(seen)


def _losses(specs: Sequence[RunSpec]) -> Array:
    """Train the trials as one group; return the value before each step, [trials, steps]."""
    events = train(build(specs))
    return np.concatenate([e.losses for e in events if isinstance(e, StepsDone)], axis=1)


def _bowl(condition: float = 1.0, start: float = 1.0, **knobs: Any) -> dict[str, Any]:
    """Return the config of a quadratic in two dimensions; its largest eigenvalue is 1."""
    return {"name": "quadratic", "condition": condition, "start": start, **knobs}


def _equal(expected: float, found: float, tolerance: float) -> Outcome:
    """Compare two numbers; the tolerance is a share of the one expected."""
    agree = abs(found - expected) <= tolerance * abs(expected)
    return Outcome(f"{expected:.6g} (to {tolerance:.2%})", f"{found:.6g}", agree)


# --- speed ------------------------------------------------------------------------------------


@problem_check
def gradient_descent_rate() -> Outcome:
    """At lr = 2 / (L + m), the distance shrinks by (k - 1) / (k + 1) a step; k = L / m = 10.

    L and m are the largest and the smallest eigenvalue.
    """
    condition, steps = 10.0, 50
    points = _path(_bowl(condition), {"name": "sgd", "lr": 2 / (1 + 1 / condition)}, steps)
    shrunk = np.linalg.norm(points[-1]) / np.sqrt(2)
    return _equal((condition - 1) / (condition + 1), float(shrunk ** (1 / steps)), 1e-4)


@problem_check
def heavy_ball_rate() -> Outcome:
    """With Polyak's lr and momentum, errors shrink by (sqrt k - 1) / (sqrt k + 1); k = 100.

    Each coordinate obeys x'' = a x' - b x with the momentum b, so that x'^2 - a x' x + b x^2 is
    multiplied by b in every step exactly, whatever the phase of the oscillation.
    """
    condition, steps = 100.0, 40
    rate = 4 / (1 + np.sqrt(1 / condition)) ** 2
    expected = float((np.sqrt(condition) - 1) / (np.sqrt(condition) + 1))
    momentum = expected**2
    optimizer = {"name": "sgd", "lr": float(rate), "momentum": momentum}
    points = _path(_bowl(condition), optimizer, steps)
    now, then = points[1:], points[:-1]
    factor = 1 + momentum - rate * np.array([1 / condition, 1.0])
    form = now**2 - factor * now * then + momentum * then**2
    shares = (form[-1] / form[0]) ** (1 / (2 * (len(form) - 1)))
    return _equal(expected, float(shares[np.abs(shares - expected).argmax()]), 1e-3)


def _growth(rate: float, momentum: float) -> float:
    """Return by what an error along the steepest axis (eigenvalue 1) grows a step, at length."""
    optimizer = {"name": "sgd", "lr": rate, "momentum": momentum}
    sizes = np.abs(_path(_bowl(), optimizer, 300, ("first_coordinate",))[:, 0])
    return float((sizes[250:].max() / sizes[50:100].max()) ** (1 / 200))


def _limit(limit: float, momentum: float) -> Outcome:
    """Go just below and just above the largest stable rate."""
    below, above = _growth(0.99 * limit, momentum), _growth(1.01 * limit, momentum)
    return Outcome(
        f"below 1 at 0.99 of {limit:g}, above 1 at 1.01 of it",
        f"{below:.4f} and {above:.4f}",
        below < 1 < above,
    )


@problem_check
def stability_limit() -> Outcome:
    """Gradient descent is stable up to lr = 2 / L: beyond it, errors are multiplied by over 1."""
    return _limit(2.0, momentum=0.0)


@problem_check
def heavy_ball_stability_limit() -> Outcome:
    """With the momentum b = 0.5, it is stable up to lr = 2 (1 + b) / L."""
    return _limit(3.0, momentum=0.5)


@problem_check
def noise_floor() -> Outcome:
    """Noise of deviation s keeps the mean loss at the sum of lr s^2 / (2 (2 - lr h)).

    The sum runs over the eigenvalues h: along each the variance tends to lr s^2 / (h (2 - lr h)).
    """
    trials, steps, settled = 512, 200, 100
    rate, noise, condition = 0.5, 1.0, 4.0
    bowl = _bowl(condition, start=0.0, noise=noise)
    trial = _trial(bowl, {"name": "sgd", "lr": rate}, steps)
    seldom = replace(trial.train, evaluate_every=steps)
    specs = [replace(trial, train=replace(seldom, seed=seed)) for seed in range(trials)]
    eigenvalues = np.array([1 / condition, 1.0])
    expected = float((rate * noise**2 / (2 * (2 - rate * eigenvalues))).sum())
    return _equal(expected, float(_losses(specs)[:, settled:].mean()), 0.03)


# --- invariances ------------------------------------------------------------------------------

SCALE = 16.0
"""How much higher the scaled bowl is: a power of 2, so that no digit of a float changes."""


def _scaling(plain: Mapping[str, Any], scaled: Mapping[str, Any]) -> Outcome:
    """Compare the path on a bowl with the path on one that is SCALE times as high."""
    here = _path(_bowl(20.0), plain, 60)
    there = _path(_bowl(20.0, largest=SCALE), scaled, 60)
    moved, apart = float(np.abs(here - 1).max()), float(np.abs(here - there).max())
    found = f"{apart:.2g} apart, {moved:.2g} from the start"
    return Outcome("the same path, digit for digit", found, apart == 0 and moved > 0.01)


def _invariance(**optimizer: Any) -> Outcome:
    """See that an optimizer goes the same way whatever the scale."""
    return _scaling(optimizer, optimizer)


@problem_check
def rprop_scale_invariance() -> Outcome:
    """Rprop goes the same way where the loss is 16 times as high: it looks at signs only."""
    return _invariance(name="rprop", lr=0.01)


@problem_check
def adam_scale_invariance() -> Outcome:
    """Adam with eps = 0 goes the same way where the loss is 16 times as high."""
    return _invariance(name="adam", lr=0.05, eps=0.0)


@problem_check
def adagrad_scale_invariance() -> Outcome:
    """AdaGrad with eps = 0 goes the same way where the loss is 16 times as high."""
    return _invariance(name="adagrad", lr=0.05, eps=0.0)


@problem_check
def rmsprop_scale_invariance() -> Outcome:
    """RMSProp with eps = 0 goes the same way where the loss is 16 times as high."""
    return _invariance(name="rmsprop", lr=0.05, eps=0.0)


@problem_check
def gradient_descent_scaling() -> Outcome:
    """Gradient descent goes the same way there at a rate that is 16 times smaller."""
    plain = {"name": "sgd", "lr": 0.5, "momentum": 0.5}
    return _scaling(plain, {**plain, "lr": 0.5 / SCALE})


# --- where Adam fails -------------------------------------------------------------------------


def _online(*, amsgrad: bool) -> float:
    """Return where Adam ends on the counterexample with C = 3 and p = 3, from 0."""
    large = 3.0
    problem = {"name": "online_linear", "large": large, "period": 3, "scale": 1.0}
    optimizer = {"name": "adam", "lr": 0.01, "betas": [0.0, 1 / (1 + large**2)], "eps": 0.0}
    points = _path(problem, {**optimizer, "amsgrad": amsgrad}, 500, ("first_coordinate",))
    return float(points[-1, 0])


@problem_check
def adam_non_convergence() -> Outcome:
    """Adam ends at the worst point of Reddi's problem, where beta2 = 1 / (1 + C^2)."""
    end = _online(amsgrad=False)
    return Outcome("1 (the minimum is at -1)", f"{end:.6g}", end == 1.0)


@problem_check
def amsgrad_convergence() -> Outcome:
    """AMSGrad ends at the minimum of the same problem."""
    end = _online(amsgrad=True)
    return Outcome("-1 (within a step of 0.01)", f"{end:.6g}", abs(end + 1) <= 0.01)
