"""Gradient descent, plain and with momentum."""

from collections.abc import Mapping
from typing import Any

from lossbench.components.optimizers._rules import Step, at_first, gradient, plain, plus
from lossbench.components.rules import State
from lossbench.components.vocabulary import NonNegative, is_off
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _check(knobs: Mapping[str, Any]) -> str | None:
    """Say what torch.optim.SGD refuses: Nesterov's look-ahead needs an undamped momentum."""
    if not knobs.get("nesterov"):
        return None
    if is_off(knobs.get("momentum", 0)):
        return "nesterov: true needs a momentum above 0"
    dampening = knobs.get("dampening", 0)
    if plain(dampening) and dampening != 0:
        return "nesterov: true needs dampening: 0"
    return None


def _checked(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs as they are, or raise UsageError where they do not go together."""
    wrong = _check(knobs)
    if wrong is not None:
        raise UsageError(wrong)
    return dict(knobs)


def _init(params: Tensor, **knobs: Any) -> State:
    """Start with an empty buffer where there is a momentum."""
    momentum = _checked(knobs).get("momentum", 0)
    return {} if is_off(momentum) else {"momentum_buffer": torch.zeros_like(params)}


@optimizer(kernel="torch.optim.SGD", init=_init, check=_check, kernel_knobs=_checked)
def sgd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    momentum: NonNegative = 0.0,
    dampening: float = 0.0,
    weight_decay: NonNegative = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Step against the gradient, or against a decaying sum of the gradients so far.

    Formula:    b = momentum b + (1 - dampening) g, with b = g at the first step
                p = p - lr b; with nesterov p = p - lr (g + momentum b)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        momentum: share of the sum of past gradients that is kept; 0 is plain gradient descent.
        dampening: share of the new gradient that is left out of the sum.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        nesterov: look ahead: step by the gradient plus what the sum will add.
        maximize: climb instead of descend.
    Errors:     UsageError where nesterov has no momentum, or a dampening.
    Reference:  Robbins & Monro, A Stochastic Approximation Method, 1951.
                Sutskever et al., On the importance of initialization and momentum in deep
                learning, 2013.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    if is_off(momentum):
        return _descend(params, grads, lr), state
    buffer = state.get("momentum_buffer")
    if buffer is None:  # a schedule has just switched the momentum on
        buffer = grads
    elif is_off(dampening):
        buffer = plus(grads, buffer, momentum)
    else:
        # Where a trial of the group has no momentum there is nothing to dampen, as in torch.
        damped: Any = dampening if plain(momentum) else dampening * (momentum != 0)
        fresh = at_first(step, 1.0, 1 - damped, params)
        buffer = plus(fresh * grads, buffer, momentum)
    direction = plus(grads, buffer, momentum) if nesterov else buffer
    return _descend(params, direction, lr), {**state, "momentum_buffer": buffer}


def _descend(params: Tensor, direction: Tensor, lr: Any) -> Tensor:
    """Return params - lr * direction."""
    if plain(lr):
        return torch.sub(params, direction, alpha=lr)
    return torch.addcmul(params, direction, lr, value=-1)


@optimizer(kernel="torch.optim.SGD", init=_init, check=_check, kernel_knobs=_checked)
def momentum(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 0.01,
    momentum: NonNegative = 0.6,
    dampening: float = 0.0,
    weight_decay: NonNegative = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Let past gradients carry the step on, like a ball that rolls: `sgd` with a momentum.

    Formula:    b = momentum b + (1 - dampening) g, with b = g at the first step
                p = p - lr b; with nesterov p = p - lr (g + momentum b)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step; the long-run step is 1 / (1 - momentum) times as large.
        momentum: share of the sum of past gradients that is kept.
        dampening: share of the new gradient that is left out of the sum.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        nesterov: look ahead: step by the gradient plus what the sum will add.
        maximize: climb instead of descend.
    Note:       The same rule as `sgd`, with other defaults.
    Errors:     UsageError where nesterov has no momentum, or a dampening.
    Reference:  Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    return sgd(
        params,
        grads,
        state,
        step,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
        maximize=maximize,
    )
