"""Rules between two others: from Adam to gradient descent, from averaging to following a leader."""

from typing import Annotated, Any

from annotated_types import Le

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
    at_first,
    average,
    average_square,
    bias_correction,
    clock,
    gradient,
    larger,
    per_trial,
    plus,
    smaller,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

_POWER = "a power is rounded otherwise where a row's elements do not fill a vector of the processor"


def _init_adabound(params: Tensor, **knobs: Any) -> State:
    """Start the moments at zero, with AMSGrad the largest second moment too."""
    names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if knobs["amsbound"] else [])]
    return {**zeros(*names)(params), "base_lr": per_trial(params, 0.0)}


@optimizer(init=_init_adabound)
def adabound(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    final_lr: NonNegative = 0.1,
    gamma: Positive = 1e-3,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsbound: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam whose rate for each weight is held between bounds that close on a single rate.

    Formula:    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                e = lr sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + eps)
                f = final_lr lr / (lr of the first step)
                p = p - clip(e, f (1 - 1 / (gamma t + 1)), f (1 + 1 / (gamma t))) m
                amsbound takes the largest v so far; g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step as long as the bounds are wide.
        betas: shares of the averages of the gradient and of its square that are kept.
        final_lr: the rate of gradient descent at which it ends.
        gamma: how fast the bounds close.
        eps: keeps the divisor from 0; added before the bias correction.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        amsbound: divide by the largest average square so far.
        maximize: climb instead of descend.
    Reference:  Luo et al., Adaptive Gradient Methods with Dynamic Bound of Learning Rate, 2019.
    """
    beta1, beta2 = betas
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    base = torch.zeros_like(state["base_lr"]) + at_first(step, lr, state["base_lr"], params)
    new = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, "base_lr": base}
    if amsbound:
        exp_avg_sq = new["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], exp_avg_sq)
    time = clock(step, params)
    scale = lr * bias_correction(beta2, time) ** 0.5 / bias_correction(beta1, time)
    final = torch.where(base > 0, final_lr * lr / torch.where(base > 0, base, 1.0), final_lr)
    rates: Scalar = scale / (torch.sqrt(exp_avg_sq) + eps)
    rates = larger(rates, final * (1 - 1 / (gamma * time + 1)))
    rates = smaller(rates, final * (1 + 1 / (gamma * time)))
    return plus(params, exp_avg, -rates), new


def _init_madgrad(params: Tensor, **knobs: Any) -> State:  # noqa: ARG001 - the contract passes all
    """Start the sums at zero, remembering where the weights started."""
    return {**zeros("grad_sum_sq", "s")(params), "x0": params.clone()}


@optimizer(init=_init_madgrad, inexact=_POWER)
def madgrad(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    momentum: Decay = 0.9,
    weight_decay: NonNegative = 0.0,
    eps: NonNegative = 1e-6,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Step from where training began, by the sum of all gradients over the root of their size.

    Formula:    e = (lr + eps) sqrt(t)
                s = s + e g;  v = v + e g^2
                z = x0 - s / (v^(1/3) + eps), with x0 the first weights
                p = momentum p + (1 - momentum) z
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step; it compares to neither sgd's nor Adam's.
        momentum: share of the weights that is kept.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        eps: keeps the divisor from 0.
        maximize: climb instead of descend.
    Reference:  Defazio & Jelassi, Adaptivity without Compromise: A Momentumized, Adaptive, Dual
                Averaged Gradient Method for Stochastic Optimization, 2022.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    weight = (lr + eps) * clock(step, params) ** 0.5
    total = plus(state["s"], grads, weight)
    squares = plus(state["grad_sum_sq"], torch.square(grads), weight)
    size = squares ** (1 / 3) + eps
    fine = size > 0
    ahead = state["x0"] - torch.where(fine, total / torch.where(fine, size, 1.0), 0.0)
    state = {"grad_sum_sq": squares, "s": total, "x0": state["x0"]}
    return average(params, ahead, 1 - momentum), state


def _init_ftrl(params: Tensor, **knobs: Any) -> State:
    """Start the sum of squares at its initial value."""
    first = torch.zeros_like(params) + knobs["initial_accumulator_value"]
    return {"accumulator": first, "linear": torch.zeros_like(params)}


@optimizer(init=_init_ftrl, inexact=_POWER)
def ftrl(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: Positive = 1e-3,
    lr_power: Annotated[float, Le(0)] = -0.5,
    initial_accumulator_value: Positive = 0.1,  # noqa: ARG001 - the first state is made of it
    l1: NonNegative = 0.0,
    l2: NonNegative = 0.0,
    l2_shrinkage: NonNegative = 0.0,
    beta: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Solve for the weights that would have been best so far: exact zeros under an L1 penalty.

    Formula:    n' = n + g^2
                z = z + g + 2 l2_shrinkage p - (n'^-lr_power - n^-lr_power) / lr p
                p = (clip(z, -l1, l1) - z) / (n'^-lr_power / lr + 2 l2 + beta / lr);  n = n'
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        lr_power: how the rate falls with the sum of squares; -0.5 is that of `adagrad`.
        initial_accumulator_value: what the sum of squares starts at.
        l1: strength of the L1 penalty, which makes weights 0.
        l2: strength of the stabilising L2 penalty.
        l2_shrinkage: strength of the L2 penalty on the loss.
        beta: added to the root of the sum of squares.
        maximize: climb instead of descend.
    Note:       The weights are a function of the gradients: those it starts from are forgotten
                where z has not seen them, as in Keras.
    Reference:  McMahan et al., Ad Click Prediction: a View from the Trenches, 2013.
    """
    if maximize:
        grads = torch.neg(grads)
    old = state["accumulator"]
    accumulator = torch.addcmul(old, grads, grads)
    power = accumulator**-lr_power
    slope = plus(grads, params, 2 * l2_shrinkage)
    linear = state["linear"] + slope - (power - old**-lr_power) / lr * params
    kept = smaller(larger(linear, -l1), l1)
    moved = (kept - linear) / (power / lr + 2 * l2 + beta / lr)
    return moved, {"accumulator": accumulator, "linear": linear}
