"""Averages of the weights along the path: the mean of a noisy walk lies nearer the bottom."""

from typing import Annotated, Any

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
    applied,
    at_first,
    average,
    base_step,
    clock,
    gradient,
    larger,
    per_trial,
    plus,
)
from lossbench.components.rules import State
from lossbench.components.vocabulary import (
    Nested,
    NonNegative,
    NonNegativeInt,
    PositiveInt,
    Probability,
)
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_asgd(params: Tensor, **knobs: Any) -> State:  # noqa: ARG001 - the contract passes all
    """Start the average at zero; the first step sets it, and the rate."""
    return {"ax": torch.zeros_like(params), "eta": per_trial(params, 0.0)}


@optimizer(kernel="torch.optim.ASGD", init=_init_asgd)
def asgd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    lambd: NonNegative = 1e-4,
    alpha: float = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Gradient descent with a falling rate that keeps the mean of its later weights beside it.

    Formula:    p = p (1 - lambd e) - e g, with e = lr at the first step,
                later e = lr / (1 + lambd lr (t - 1))^alpha
                a = a + (p - a) / max(1, t - 1 - t0)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the first step.
        lambd: decay of the weights, and how fast the rate falls.
        alpha: exponent of the fall.
        t0: the step at which averaging starts.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Note:       As in torch the mean a is kept in the state (`ax`) and evaluates nothing; a rate
                that a schedule changes takes effect one step later. See `swa` for a mean that is
                evaluated.
    Reference:  Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    time = clock(step, params)
    eta = at_first(step, lr, state["eta"], params)
    params = plus(params * (1 - lambd * eta), grads, -eta)
    ax = average(state["ax"], params, 1 / larger(time - 1 - t0, 1.0))
    coming = lr / (1 + lambd * lr * time) ** alpha
    return params, {"ax": ax, "eta": torch.zeros_like(state["eta"]) + coming}


def _init_average(params: Tensor, **knobs: Any) -> State:
    """Start as the base does, the average at the first weights."""
    base = applied(knobs["base"])
    return {"base": base.facts.init(params, **base.knobs), "average": params.clone()}


def _averaged(params: Tensor, state: State, **knobs: Any) -> Tensor:  # noqa: ARG001 - see Facts
    """Return the averaged weights."""
    return state["average"]


@optimizer(init=_init_average, evaluate=_averaged, wraps="base")
def swa(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "sgd",
    start: NonNegativeInt = 0,
    every: PositiveInt = 1,
) -> tuple[Tensor, State]:
    """Train with another optimizer, evaluate the plain mean of its weights (stochastic averaging).

    Formula:    p = base(p, g)
                after steps start + every, start + 2 every, ...: a = a + (p - a) / n, n = 1, 2, ...
                before the first of them a = p; a is evaluated
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps.
        start: steps before averaging begins; the paper begins after three quarters of the run.
        every: steps from one average to the next; the paper takes one epoch.
    Note:       The statistics of a batch norm belong to the current weights, as in torch's
                AveragedModel; the paper computes them anew for the averaged ones.
    Errors:     UsageError where the base has no formula.
    Reference:  Izmailov et al., Averaging Weights Leads to Wider Optima and Better
                Generalization, 2018.
    """
    params, inner = base_step(params, grads, state, step, lr, base)
    share = _share(step, start, every, params)
    return params, {"base": inner, "average": average(state["average"], params, share)}


def _share(step: Step, start: int, every: int, like: Tensor) -> Scalar:
    """Return the new weights' share of the mean: 1/n at the n-th average, 0 between two of them."""
    if isinstance(step, int):
        count, between = divmod(step - start, every)
        if count < 1:
            return 1.0
        return 0.0 if between else 1 / count
    time = step.to(like.dtype) - start
    averages = torch.floor(time / every)
    share = torch.where(averages * every == time, 1 / averages, 0.0)
    return torch.where(averages < 1, 1.0, share)


@optimizer(init=_init_average, evaluate=_averaged, wraps="base")
def ema(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative | None = None,
    base: Annotated[Any, Nested("optimizer")] = "adam",
    decay: Probability = 0.999,
) -> tuple[Tensor, State]:
    """Train with another optimizer, evaluate a moving average of its weights.

    Formula:    p = base(p, g);  a = decay a + (1 - decay) p, with a = p at the first step
                a is evaluated
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the base's step; none for the base's own.
        base: the optimizer that makes the steps.
        decay: share of the average that is kept; it looks back about 1 / (1 - decay) steps.
    Note:       The statistics of a batch norm belong to the current weights, as in torch's
                AveragedModel.
    Errors:     UsageError where the base has no formula.
    Reference:  Tarvainen & Valpola, Mean teachers are better role models: Weight-averaged
                consistency targets improve semi-supervised deep learning results, 2017.
    """
    params, inner = base_step(params, grads, state, step, lr, base)
    share = at_first(step, 1.0, 1 - decay, params)
    return params, {"base": inner, "average": average(state["average"], params, share)}
