"""Components along one number: what is drawn of an activation, a loss or a schedule.

An activation is drawn against its input. A loss is drawn against what decides it: the residual,
the margin, the probability of the true class, the shift of a box, a critic's score.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.errors import UsageError
from lossbench.evaluate.arguments import knobs_from
from lossbench.evaluate.functions import activation_call
from lossbench.kernels import loss_function
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry

POINTS = 801
SPAN = 5.0
"""Inputs and residuals are drawn from -SPAN to SPAN, further where a kink lies beyond."""

BESIDE = 1e-6
"""How close to a kink both of its sides are sampled."""

CERTAIN = 1e-3
"""Probabilities are drawn from here to 1 minus it: at the ends most losses are infinite."""

STEPS = 100
"""The length of the run for which a schedule is drawn, where nothing else is said."""

JACOBIAN_AT = (1.0, 0.5, 0.0, -0.5)
"""The input at which a Jacobian is drawn."""


class NoCurveError(UsageError):
    """A component that cannot be drawn along one number: the message says why."""


@dataclass(frozen=True)
class Curve:
    """Value and derivative along x; the derivative is empty where there is none to draw."""

    label: str
    x: tuple[float, ...]
    value: tuple[float, ...]
    slope: tuple[float, ...] = ()
    x_label: str = "x"
    value_label: str = "value"
    slope_label: str = "derivative"


@dataclass(frozen=True)
class Matrix:
    """The Jacobian of a component at one input: [outputs][inputs]."""

    label: str
    at: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]


# --- activations ------------------------------------------------------------------------------


def activation_curve(entry: Entry[Any], params: Mapping[str, Any], label: str) -> Curve:
    """Return an activation and its derivative along x.

    Raises NoCurveError for one that is not elementwise: it has a Jacobian.
    """
    if not entry.facts.elementwise:
        raise NoCurveError(f"{entry.name} is not elementwise: it has a Jacobian")
    knobs = {name: value for name, value in params.items() if name not in entry.facts.parameters}
    kinks = entry.facts.kinks_with(knobs_from(entry, knobs))
    x = _along(kinks)
    value, slope = _with_slope(activation_call(entry, params), x)
    return Curve(label, _list(x), _list(value), _list(slope), "x", "f(x)", "f'(x)")


def activation_matrix(entry: Entry[Any], params: Mapping[str, Any], label: str) -> Matrix:
    """Return the Jacobian of an activation that mixes its inputs.

    Raises NoCurveError for what cannot be applied to a vector alone.
    """
    if entry.facts.random:
        raise NoCurveError(f"{entry.name} draws random numbers")
    call = activation_call(entry, params)
    x = torch.tensor([JACOBIAN_AT], dtype=torch.float64)
    try:
        jacobian = torch.autograd.functional.jacobian(lambda x: call(x)[0], x)[:, 0]
    except (RuntimeError, IndexError, UsageError) as error:
        raise NoCurveError(f"{entry.name} cannot be applied to a vector: {error}") from None
    return Matrix(label, JACOBIAN_AT, tuple(_list(row) for row in jacobian))


def _along(kinks: Sequence[float], low: float = -SPAN, high: float = SPAN) -> Tensor:
    """Return places along x, with both sides of each kink and a gap between the two.

    A kink far beyond the usual span is left out: reaching it would squeeze all the rest.
    """
    near = [kink for kink in kinks if low - SPAN <= kink <= high + SPAN]
    low, high = min([low, *(k - 1.5 for k in near)]), max([high, *(k + 1.5 for k in near)])
    places = [float(x) for x in torch.linspace(low, high, POINTS, dtype=torch.float64)]
    # Each place with what it is sorted by: the gap lies at the kink, where no other place may be.
    keyed = [(x, x) for x in places if all(abs(x - kink) > BESIDE for kink in near)]
    for kink in near:
        keyed += [(kink - BESIDE, kink - BESIDE), (kink, math.nan), (kink + BESIDE, kink + BESIDE)]
    return torch.tensor([x for _, x in sorted(keyed, key=_first)], dtype=torch.float64)


def _first(pair: tuple[float, float]) -> float:
    return pair[0]


def _with_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.nan_to_num(0.0).requires_grad_()
    value = function(leaf)
    slope = torch.autograd.grad(value.sum(), leaf)[0]
    gaps = x.isnan()
    return value.detach().masked_fill(gaps, math.nan), slope.masked_fill(gaps, math.nan)


def _list(values: Tensor) -> tuple[float, ...]:
    return tuple(values.detach().tolist())


# --- losses -----------------------------------------------------------------------------------


def loss_curve(entry: Entry[Any], params: Mapping[str, Any], label: str) -> Curve:
    """Return a loss and its gradient along what decides it.

    Raises NoCurveError for a loss that no single number decides.
    """
    facts, knobs = entry.facts, knobs_from(entry, params)
    wants, encodings = facts.prediction_with(knobs), facts.encodings
    if facts.whole_batch or not facts.independent:
        raise NoCurveError(f"{entry.name} looks at a whole batch")
    if facts.heads or facts.parameters or facts.state:
        raise NoCurveError(f"{entry.name} needs more than a prediction and a target")
    if set(facts.inputs) == {"d_real", "d_fake"}:
        raise NoCurveError(f"{entry.name} is a game of two players")
    if facts.inputs:
        raise NoCurveError(f"{entry.name} compares {', '.join(facts.inputs)}")
    draw = _along_what(wants, encodings)
    if draw is None:
        raise NoCurveError(f"{entry.name} is decided by no single number")
    try:
        found = draw(loss_function(entry, knobs, "formula"), label, knobs, wants)
    except (RuntimeError, LookupError, ValueError):
        raise NoCurveError(f"{entry.name} is decided by no single number") from None
    if draw in (_margin_curve, _binary_curve, _class_curve) and found.value[-1] >= found.value[0]:
        # It does not fall towards certainty: what it takes is no score of this class.
        raise NoCurveError(f"{entry.name} is decided by no single number")
    return found


def _along_what(wants: str, encodings: Sequence[str]) -> Callable[..., Curve] | None:
    """Return how a loss is drawn, by what it takes; none where nothing shows it."""
    if wants == "boxes":
        return _box_curve
    if encodings == ("plus_minus",):
        return _margin_curve
    if wants in ("logits", "probabilities") and "zero_one" in encodings:
        return _binary_curve
    if wants in ("logits", "log_probabilities", "probabilities", "scores") and "index" in encodings:
        return _class_curve
    if wants in ("real", "log", "positive") and {"real", "count"} & set(encodings):
        return _residual_curve
    return None


def _residual_curve(apply: Any, label: str, knobs: Mapping[str, Any], wants: str) -> Curve:
    if wants == "positive":
        return _beside_one(apply, label, 0.02)
    if not _of_residual(apply):
        return _beside_one(apply, label, 0.02 if wants == "real" else -SPAN)
    sizes = [v for n, v in knobs.items() if n in _SIZES and isinstance(v, int | float)]
    reach = max([SPAN, *(1.3 * size for size in sizes)])
    x = _along([-s for s in sizes] + sizes + [0.0], -reach, reach)
    value, slope = _with_slope(lambda x: apply(x, torch.zeros_like(x)).values, x)
    return Curve(label, _list(x), _list(value), _list(slope), "residual r", "loss", "gradient")


def _of_residual(apply: Any) -> bool:
    """Tell whether a loss is decided by the residual: moving both sides changes nothing."""
    x, y = (torch.tensor(values, dtype=torch.float64) for values in ([0.5, 2.0], [1.0, 0.25]))
    return torch.allclose(apply(x, y).values, apply(x + 3, y + 3).values)


def _beside_one(apply: Any, label: str, low: float) -> Curve:
    """Draw along the prediction beside the target 1, for what is decided by both."""
    x = torch.linspace(low, SPAN, POINTS, dtype=torch.float64)
    value, slope = _with_slope(lambda x: apply(x, torch.ones_like(x)).values, x)
    return Curve(label, _list(x), _list(value), _list(slope), "prediction, target 1",
                 "loss", "gradient")  # fmt: skip


_SIZES = ("delta", "beta", "eps", "margin", "c", "w", "k", "scale", "threshold", "width", "kappa")
"""Knobs that are a residual's size where a formula changes: the picture must reach them."""


def _margin_curve(apply: Any, label: str, _knobs: Any, _wants: str) -> Curve:
    x = _along([-1.0, 0.0, 1.0], -3.0, 3.0)
    value, slope = _with_slope(lambda x: apply(x, torch.ones_like(x)).values, x)
    return Curve(label, _list(x), _list(value), _list(slope), "margin m = y x", "loss", "gradient")


def _binary_curve(apply: Any, label: str, _knobs: Any, wants: str) -> Curve:
    p = torch.linspace(CERTAIN, 1 - CERTAIN, POINTS, dtype=torch.float64)
    logits = torch.logit(p)

    def of_logits(z: Tensor) -> Tensor:
        given = z if wants == "logits" else z.sigmoid()
        found: Tensor = apply(given[:, None], torch.ones_like(z)[:, None]).values
        return found.reshape(-1)

    value, slope = _with_slope(of_logits, logits)
    return Curve(label, _list(p), _list(value), _list(slope), "probability of the true class",
                 "loss", "gradient by the prediction")  # fmt: skip


def _class_curve(apply: Any, label: str, _knobs: Any, wants: str) -> Curve:
    """Draw along the true class's probability, what is left being shared by two others."""
    p = torch.linspace(CERTAIN, 1 - CERTAIN, POINTS, dtype=torch.float64)
    logits = torch.logit(p) + math.log(2)

    def of_logits(z: Tensor) -> Tensor:
        scores = torch.stack([z, torch.zeros_like(z), torch.zeros_like(z)], 1)
        if wants in ("log_probabilities", "probabilities"):
            scores = scores.log_softmax(1) if wants == "log_probabilities" else scores.softmax(1)
        found: Tensor = apply(scores, torch.zeros(len(z), dtype=torch.int64)).values
        return found.reshape(-1)

    value, slope = _with_slope(of_logits, logits)
    return Curve(label, _list(p), _list(value), _list(slope), "probability of the true class",
                 "loss", "gradient by the prediction")  # fmt: skip


def _box_curve(apply: Any, label: str, _knobs: Any, _wants: str) -> Curve:
    shift = torch.linspace(-2.0, 2.0, POINTS, dtype=torch.float64)
    target = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(POINTS, 4)

    def moved(s: Tensor) -> Tensor:
        zero, one = torch.zeros_like(s), torch.ones_like(s)
        found: Tensor = apply(torch.stack([s, zero, s + 1, one], 1), target).values
        return found

    value, slope = _with_slope(moved, shift)
    return Curve(label, _list(shift), _list(value), _list(slope), "shift of a unit box",
                 "loss", "gradient")  # fmt: skip


# --- schedules --------------------------------------------------------------------------------


def schedule_curve(
    entry: Entry[Any], params: Mapping[str, Any], label: str, steps: int = STEPS
) -> Curve:
    """Return the rates of a run of so many steps, relative to the base rate.

    Raises NoCurveError for a schedule that watches a metric, holds others, or is a function.
    """
    if entry.facts.python_only:
        raise NoCurveError(f"{entry.name} is a Python function: {entry.facts.python_only}")
    if entry.facts.state is not None:
        raise NoCurveError(f"{entry.name} watches a metric: it has no course of its own")
    given: dict[str, Any] = {}
    for knob in entry.knobs:
        found = _lengths(steps).get(knob.name)
        if knob.required and found is None:
            found = _LEVELS.get(knob.name)
        if found is not None:
            given[knob.name] = found
    given |= params
    knobs = knobs_from(entry, given)
    at = torch.arange(steps, dtype=torch.float64)
    rates = torch.as_tensor(entry.function(1.0, at, steps, **knobs), dtype=torch.float64)
    return Curve(label, _list(at), _list(rates.expand(steps)), (), entry.facts.unit,
                 "learning rate / base")  # fmt: skip


def _lengths(steps: int) -> dict[str, Any]:
    """Return lengths that show what a schedule does in so many steps, by the names of knobs."""
    quarter = steps // 4 or 1
    names = ("step_size", "step_size_up", "T_0", "t_0", "total_iters", "anneal_epochs")
    return {
        **dict.fromkeys(names, quarter),
        "milestones": [steps // 2, 3 * steps // 4],
        "warmup_steps": steps // 10 or 1,
        "base_lr": 0.1,  # of a cycle, which starts from it
    }


_LEVELS = {"gamma": 0.95, "max_lr": 1.0, "swa_lr": 0.1}
"""Values of knobs that must be given, for a base rate of 1."""
