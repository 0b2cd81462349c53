"""What optimizers are tried on: values of their knobs, gradients to follow, and trials in a group.

A rule is run as the training runs it: one of scope "element" or "model" on the flat rows of a
group, one of scope "tensor" on one parameter at a time under `vmap`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from lossbench.checks.contracts import SkippedError
from lossbench.components.rules import OptimizerFacts, State
from lossbench.components.samples import Draw
from lossbench.components.vocabulary import Applied, Nested
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, Knob, optimizer

Optimizer = Entry[OptimizerFacts]
Knobs = dict[str, Any]

TRIALS, PARAMETERS = 4, 23
MATRIX = (4, 3)

VALUES: dict[str, tuple[Any, ...]] = {
    # What a knob of this name means leaves few values that make a difference within some steps.
    "betas": ((0.8, 0.95), (0.7, 0.8, 0.95)),
    "etas": ((0.4, 1.3),),
    "step_sizes": ((1e-3, 0.1),),
    "eps": (1e-3,),
    "t0": (20.0,),
    "rest": ("sgd",),
}


# --- knobs ------------------------------------------------------------------------------------


def filled(entry: Optimizer, **knobs: Any) -> Knobs:
    """Return all knobs of a rule, an optimizer within it by name being one with its defaults."""
    whole = {**entry.defaults(), **knobs}
    for knob in entry.knobs:
        marks = knob.annotation.__metadata__ if get_origin(knob.annotation) is Annotated else ()
        value = whole.get(knob.name)
        if isinstance(value, str) and any(isinstance(mark, Nested) for mark in marks):
            inner = optimizer.find(value)
            whole[knob.name] = Applied(inner.name, inner.function, inner.facts, filled(inner))
    return whole


def varied(knob: Knob) -> Any:
    """Return a value of a knob within its range that is not its default, or the default."""
    default = knob.default
    for value in VALUES.get(knob.name, ()):
        if type(value) is type(default) and _length(value) == _length(default):
            return value
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return tuple(None if part is None else part * 0.9 for part in default)
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        tries = (default * 1.5, default * 0.9, 0.1, default + 0.5, default - 0.1)
        return next(
            value for value in tries if value != default and _inside(value, knob.annotation)
        )
    return _choice(knob.annotation, default)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, tuple) else 0


def _inside(value: float, annotation: Any) -> bool:
    marks = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    bounds: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("ge", lambda bound: value >= bound),
        ("gt", lambda bound: value > bound),
        ("le", lambda bound: value <= bound),
        ("lt", lambda bound: value < bound),
    )
    return all(
        holds(getattr(mark, name))
        for mark in marks
        for name, holds in bounds
        if hasattr(mark, name)
    )


def _choice(annotation: Any, default: Any) -> Any:
    """Return another word of a `Literal`, or a number where none is the default; else that."""
    for one in (annotation, *get_args(annotation)):
        if get_origin(one) is Literal:
            return next(word for word in get_args(one) if word != default)
        base = one.__origin__ if get_origin(one) is Annotated else one
        if base in (float, int) and default is None:
            return next(base(value) for value in (0.5, 2, 3) if _inside(base(value), one))
    return default


def combinations(entry: Optimizer) -> list[Knobs]:
    """Return the defaults, as many knobs varied at once as go together, and each varied alone."""
    each = {knob.name: varied(knob) for knob in entry.knobs}
    changed = {name: value for name, value in each.items() if value != entry.knob(name).default}
    together = [changed, *({n: v for n, v in changed.items() if n != left} for left in changed)]
    several = [knobs for knobs in together if consistent(entry, knobs)][:1]
    single = [{name: value} for name, value in changed.items()]
    chosen = [{}, *several, *(knobs for knobs in single if consistent(entry, knobs))]
    return [filled(entry, **knobs) for knobs in chosen]


def consistent(entry: Optimizer, knobs: Mapping[str, Any]) -> bool:
    """Tell whether knobs that are each valid go together."""
    check = entry.facts.check
    return check is None or check(filled(entry, **knobs)) is None


def said(entry: Optimizer, knobs: Mapping[str, Any]) -> str:
    """Say in words which knobs are not at their defaults."""
    plain = {n: v.name if isinstance(v, Applied) else v for n, v in knobs.items()}
    changed = [f"{n} = {v}" for n, v in plain.items() if v != entry.knob(n).default]
    return f" with {', '.join(changed)}" if changed else ""


def without_decay(knobs: Knobs) -> Knobs:
    """Return the knobs with weight decay off: it would pull the bottom away from the centre."""
    return {name: 0.0 if name == "weight_decay" else value for name, value in knobs.items()}


# --- gradients --------------------------------------------------------------------------------


def bumpy(params: Tensor, step: int) -> Tensor:
    """Return a gradient that needs nothing but the parameters: of any layout, sometimes 0."""
    value = 0.7 * params - 0.2 * torch.sin(3 * params)
    return torch.where(value.abs() < 0.01, 0.0, value) + (0.01 * step if step % 2 else 0.0)


def bumpy_bowl(shape: Sequence[int], dtype: Any, seed: int, knobs: Mapping[str, Any]) -> Any:
    """Return the gradient (params, step) of a bowl with bumps, to climb with `maximize`."""
    draw = Draw(dtype=dtype, seed=seed)
    centre, width = draw.normal(*shape), 0.2 + draw.normal(*shape).abs()
    sign = -1.0 if knobs.get("maximize") else 1.0

    def slope(params: Tensor, step: int) -> Tensor:  # noqa: ARG001 - as `bumpy`
        return sign * (width * (params - centre) + 0.3 * torch.sin(2 * params))

    return slope


# --- runs -------------------------------------------------------------------------------------


def advance(
    entry: Optimizer,
    knobs: Knobs,
    params: Tensor,
    state: State,
    slope: Callable[[Tensor, int], Tensor],
    step: Any,
) -> tuple[Tensor, State]:
    """Make one step; a rule with a second pass gets the gradient of the place it asks for."""
    count = int(step)
    grads, again = slope(params, count), entry.facts.resolved(knobs).second_pass
    if again is not None:
        grads = slope(again(params, grads, **knobs), count)
    new, state = entry.function(params, grads, state, step, **knobs)
    return new, state


def run(
    entry: Optimizer,
    knobs: Knobs,
    params: Tensor,
    steps: int = 8,
    slope: Callable[[Tensor, int], Tensor] = bumpy,
    clock: Callable[[int], Any] = int,
) -> Tensor:
    """Return the last parameters, and under them those to evaluate with where they are others."""
    state = entry.facts.init(params, **knobs)
    for step in range(1, steps + 1):
        params, state = advance(entry, knobs, params, state, slope, clock(step))
    evaluate = entry.facts.resolved(knobs).evaluate
    if evaluate is None:
        return params[None]
    return torch.stack([params, evaluate(params, state, **knobs)])


def group(entry: Optimizer, knobs: Knobs) -> tuple[int, ...]:
    """Return the shape of a group of trials as the rule is given it."""
    whole = entry.facts.resolved(knobs).scope == "tensor"
    return (TRIALS, *MATRIX) if whole else (TRIALS, PARAMETERS)


def run_group(
    entry: Optimizer,
    knobs: Knobs,
    params: Tensor,
    own: Mapping[str, Any] | None = None,
    steps: int = 8,
) -> Tensor:
    """Run the trials of a group together, [trials, ...]; `own` are knobs [trials] of their own."""
    own = own or {}
    if entry.facts.resolved(knobs).scope != "tensor":
        columns = {name: _columns(value) for name, value in own.items()}
        return run(entry, {**knobs, **columns}, params, steps).transpose(0, 1)

    def one(params: Tensor, values: Knobs) -> Tensor:
        return run(entry, {**knobs, **values}, params, steps)

    if not own:
        together: Tensor = torch.vmap(lambda params: one(params, {}))(params)
    else:
        mapped = {name: _mapped(value) for name, value in own.items()}
        together = torch.vmap(one, in_dims=(0, mapped))(params, dict(own))
    return together


def run_constant(
    entry: Optimizer, knobs: Knobs, params: Tensor, sizes: Tensor, steps: int
) -> Tensor:
    """Run the trials of a group together, each with a constant gradient of its own size."""

    def one(params: Tensor, size: Tensor) -> Tensor:
        return run(entry, knobs, params, steps, lambda now, _: torch.zeros_like(now) + size)

    if entry.facts.resolved(knobs).scope != "tensor":
        return one(params, sizes[:, None]).transpose(0, 1)
    found: Tensor = torch.vmap(one)(params, sizes)
    return found


def _mapped(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_mapped(part) for part in value)
    return 0 if torch.is_tensor(value) else None


def _columns(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_columns(part) for part in value)
    return value[:, None] if torch.is_tensor(value) else value


def gap(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest element."""
    return float((one - other).detach().abs().max() / other.detach().abs().max().clamp(min=1e-2))


def require_formula(entry: Optimizer) -> None:
    """Make sure that there is a rule to try; raises SkippedError with the reason why not."""
    if entry.facts.kernel_only:
        raise SkippedError(entry.facts.kernel_only)


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype without its module."""
    return str(dtype).removeprefix("torch.")
