"""Rules around another rule: they look ahead, look around, or hold some of its steps back."""

from collections.abc import Mapping
from typing import Annotated, Any

from lossbench.components.optimizers._rules import (
    Step,
    applied,
    average,
    base_step,
    over_model,
    plus,
    shrink,
)
from lossbench.components.rules import State
from lossbench.components.vocabulary import Nested, NonNegative, PositiveInt, Probability
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_lookahead(params: Tensor, **knobs: Any) -> State:
    """Start as the base does, the slow weights at the first ones."""
    base = applied(knobs["base"])
    return {"base": base.facts.init(params, **base.knobs), "slow": params.clone()}


@optimizer(init=_init_lookahead, wraps="base")
def lookahead(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "adam",
    k: PositiveInt = 5,
    alpha: Probability = 0.5,
) -> tuple[Tensor, State]:
    """Let another optimizer run ahead for some steps, then go part of the way after it.

    Formula:    p = base(p, g)
                after every k steps: s = s + alpha (p - s);  p = s, with s the first weights first
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps.
        k: steps that the base runs ahead.
        alpha: share of the way that the slow weights follow; 1 is the base alone.
    Note:       The base keeps its averages when it is called back. Between two calls the weights
                that are evaluated are those that run ahead.
    Errors:     UsageError where the base has no formula.
    Reference:  Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019.
    """
    params, inner = base_step(params, grads, state, step, lr, base)
    slow = average(state["slow"], params, alpha)
    if isinstance(step, int):
        slow, params = (slow, slow) if step % k == 0 else (state["slow"], params)
    else:
        back = step % k == 0
        slow, params = torch.where(back, slow, state["slow"]), torch.where(back, slow, params)
    return params, {"base": inner, "slow": slow}


def _init_base(params: Tensor, **knobs: Any) -> State:
    """Start as the base does."""
    base = applied(knobs["base"])
    return {"base": base.facts.init(params, **base.knobs)}


def _climb(params: Tensor, grads: Tensor, *, rho: Any, **knobs: Any) -> Tensor:  # noqa: ARG001
    """Return the worst place nearby as far as the gradient tells."""
    return plus(params, grads, rho / (over_model(torch.square(grads)).sqrt() + 1e-12))


@optimizer(init=_init_base, wraps="base", second_pass=_climb)
def sam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "sgd",
    rho: NonNegative = 0.05,  # noqa: ARG001 - the second gradient is taken at its distance
) -> tuple[Tensor, State]:
    """Step by the gradient of the worst place nearby: seek minima that are flat around.

    Formula:    q = p + rho g / |g|, the norm running over all parameters
                p = base(p, gradient at q)
    Shapes:     params, grads [...] -> [...]; q needs all of the model's
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps.
        rho: distance at which the second gradient is taken; 0 is the base alone.
    Note:       Two gradients for each step, of the same batch. Called as a function, it takes the
                second one.
    Errors:     UsageError where the base has no formula.
    Reference:  Foret et al., Sharpness-Aware Minimization for Efficiently Improving
                Generalization, 2021.
    """
    params, inner = base_step(params, grads, state, step, lr, base)
    return params, {"base": inner}


def _climb_to_scale(params: Tensor, grads: Tensor, *, rho: Any, eta: Any, **knobs: Any) -> Tensor:  # noqa: ARG001
    """Return the worst place nearby, near being measured against each weight."""
    scale = params.abs() + eta
    length = over_model(torch.square(scale * grads)).sqrt()
    return plus(params, torch.square(scale) * grads, rho / (length + 1e-12))


@optimizer(init=_init_base, wraps="base", second_pass=_climb_to_scale)
def asam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "sgd",
    rho: NonNegative = 0.5,  # noqa: ARG001 - the second gradient is taken at its distance
    eta: NonNegative = 0.01,  # noqa: ARG001
) -> tuple[Tensor, State]:
    """`sam` that measures nearness against each weight's size, so that scaling a layer is nothing.

    Formula:    a = |p| + eta;  q = p + rho a^2 g / |a g|, the norm running over all parameters
                p = base(p, gradient at q)
    Shapes:     params, grads [...] -> [...]; q needs all of the model's
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps.
        rho: relative distance at which the second gradient is taken; 0 is the base alone.
        eta: lets weights near 0 move too.
    Note:       Two gradients for each step, of the same batch. Called as a function, it takes the
                second one.
    Errors:     UsageError where the base has no formula.
    Reference:  Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
                Learning of Deep Neural Networks, 2021.
    """
    params, inner = base_step(params, grads, state, step, lr, base)
    return params, {"base": inner}


def _check_cautious(knobs: Mapping[str, Any]) -> str | None:
    """Say that the base must not need the whole model: the mean is that of a tensor."""
    base = applied(knobs["base"])
    if base.facts.resolved(base.knobs).scope == "model":
        return f"cautious looks at one tensor at a time, and {base.name} needs all of them"
    return None


def _init_cautious(params: Tensor, **knobs: Any) -> State:
    """Start as the base does, or raise UsageError where it cannot be the base."""
    wrong = _check_cautious(knobs)
    if wrong is not None:
        raise UsageError(wrong)
    return _init_base(params, **knobs)


@optimizer(scope="tensor", init=_init_cautious, wraps="base", check=_check_cautious)
def cautious(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "adamw",
) -> tuple[Tensor, State]:
    """Leave out those parts of another optimizer's step that go against the newest gradient.

    Formula:    u = p - base(p, g)
                a = 1 where u g > 0, else 0
                p = p - u a / max(mean(a), 0.001)
                decoupled weight decay of the base acts on all weights, before
    Shapes:     params, grads [...] -> [...]; the mean is that of the tensor
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps; adamw gives the paper's C-AdamW, lion C-Lion.
    Note:       What is left of the step is made longer, as if nothing had been left out.
    Errors:     UsageError where the base has no formula, or needs all tensors at once.
    Reference:  Liang et al., Cautious Optimizers: Improving Training with One Line of Code, 2024.
    """
    inner = applied(base)
    own: dict[str, Any] = {} if lr is None else {"lr": lr}
    start = params
    if inner.facts.decoupled and "weight_decay" in inner.knobs:
        rate = inner.knobs["lr"] if lr is None else lr
        start = shrink(params, rate, inner.knobs["weight_decay"])
        own["weight_decay"] = 0.0
    moved, new = inner(params, grads, state["base"], step, **own)
    change = params - moved
    slope = torch.neg(grads) if inner.knobs.get("maximize") else grads
    agrees = (change * slope > 0).to(params.dtype)
    share = torch.clamp(agrees.mean(), min=1e-3)
    return start - change * agrees / share, {"base": new}
