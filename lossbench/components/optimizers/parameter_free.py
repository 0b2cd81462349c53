"""Rules that find the rate themselves, from a running estimate of the distance to the solution."""

from typing import Annotated, Any

from annotated_types import Ge

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
    at_first,
    average,
    average_square,
    bias_correction,
    clock,
    gradient,
    over_model,
    per_trial,
    plus_ratio,
    shrink,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

Growth = Annotated[float, Ge(1)]
"""A factor that does not shrink."""


def _numbers(params: Tensor, first: Scalar, **others: Scalar) -> State:
    """Return one number for each trial under each name, `d` being the first estimate."""
    start = {"d": first, **others}
    return {name: per_trial(params, 0.0) + value for name, value in start.items()}


def _init_prodigy(params: Tensor, **knobs: Any) -> State:
    """Start at the first estimate, remembering where the weights started."""
    numbers = _numbers(params, knobs["d0"], d_max=knobs["d0"], d_numerator=0.0)
    return {**zeros("exp_avg", "exp_avg_sq", "s")(params), "p0": params.clone(), **numbers}


def _bounded(estimate: Tensor, old: Tensor, growth_rate: Scalar | None) -> Tensor:
    """Return an estimate that grows by no more than a factor."""
    if growth_rate is None:
        return estimate
    return torch.minimum(estimate, old * growth_rate)


@optimizer(scope="model", init=_init_prodigy, decoupled=True)
def prodigy(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1.0,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    beta3: Decay | None = None,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    d0: Positive = 1e-6,
    d_coef: Positive = 1.0,
    growth_rate: Growth | None = None,
    decoupled_weight_decay: bool = True,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that estimates its own rate d from how far the gradients agree with the way so far.

    Formula:    e = d lr
                n = b3 n + d / d0 e <g, p0 - p>;  s = b3 s + d / d0 e g, with p0 the first weights
                m = b1 m + (1 - b1) d g;  v = b2 v + (1 - b2) (d g)^2
                d = max(d, d_coef n / |s|_1), the sums running over all parameters
                p = p (1 - e weight_decay) - e m / (sqrt(v) + d eps)
    Shapes:     params, grads [..., parameters] -> [..., parameters], all of the model's
    Knobs:
        lr: factor on the rate that is found; a schedule scales it.
        betas: shares of the averages of the gradient and of its square that are kept.
        beta3: share of the sums of the estimate that is kept; none for the root of the second beta.
        eps: keeps the divisor from 0.
        weight_decay: share of the weights that a step of rate 1 would take away.
        d0: the first estimate: small.
        d_coef: factor on the estimate; the way to tune the rule.
        growth_rate: largest growth of d in a step; none for no bound.
        decoupled_weight_decay: if false, weight_decay is an L2 penalty that joins the gradient.
        use_bias_correction: correct the averages as Adam does.
        safeguard_warmup: keep lr out of s, so that a warm-up does not inflate the estimate.
        maximize: climb instead of descend.
    Reference:  Mishchenko & Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner,
                2023.
    """
    beta1, beta2 = betas
    beta3 = beta2**0.5 if beta3 is None else beta3
    grads = gradient(params, grads, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    time, old = clock(step, params), state["d"]
    rate: Any = old * lr
    if use_bias_correction:
        rate = rate * bias_correction(beta2, time) ** 0.5 / bias_correction(beta1, time)
    scale = old / d0
    numerator = beta3 * state["d_numerator"] + scale * rate * over_model(
        grads * (state["p0"] - params)
    )
    total = torch.addcmul(beta3 * state["s"], grads, scale * (old if safeguard_warmup else rate))
    exp_avg = average(state["exp_avg"], grads * old, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads * old, beta2)
    size = over_model(total.abs())
    found = d_coef * numerator / torch.where(size > 0, size, 1.0)
    largest = torch.maximum(state["d_max"], found)
    # At the start the estimate takes what is found; later it grows no faster than it may.
    first = torch.where(old == d0, torch.maximum(old, found), old)
    new = _bounded(largest, first, growth_rate)
    moves = size > 0  # nothing is known before the first gradient that is not 0
    new, largest = torch.where(moves, new, old), torch.where(moves, largest, state["d_max"])
    if decoupled_weight_decay:
        params = shrink(params, rate, weight_decay)
    divisor = torch.sqrt(exp_avg_sq) + new * eps
    return plus_ratio(params, exp_avg, divisor, -rate), {
        "exp_avg": exp_avg,
        "exp_avg_sq": exp_avg_sq,
        "s": total,
        "p0": state["p0"],
        "d": new,
        "d_max": largest,
        "d_numerator": torch.where(moves, numerator, state["d_numerator"]),
    }


def _init_dadapt_adam(params: Tensor, **knobs: Any) -> State:
    """Start at the first estimate."""
    numbers = _numbers(params, knobs["d0"], d_numerator=0.0)
    return {**zeros("exp_avg", "exp_avg_sq", "s")(params), **numbers}


@optimizer(scope="model", init=_init_dadapt_adam)
def dadapt_adam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1.0,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    d0: Positive = 1e-6,  # noqa: ARG001 - the first state is made of it
    growth_rate: Growth | None = None,
    decoupled_weight_decay: bool = False,
    use_bias_correction: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that estimates its own rate d from below by how the gradients add up (D-adaptation).

    Formula:    e = d lr;  b = sqrt(b2)
                n = b n + (1 - b) e <g, s / (sqrt(v) + eps)>;  s = b s + (1 - b) e g
                m = b1 m + (1 - b1) e g;  v = b2 v + (1 - b2) g^2
                d = max(d, n / ((1 - b) |s|_1)), the sums running over all parameters
                p = p - m / (sqrt(v) + eps)
                where g includes weight_decay p
    Shapes:     params, grads [..., parameters] -> [..., parameters], all of the model's
    Knobs:
        lr: factor on the rate that is found; a schedule scales it.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        d0: the first estimate: small.
        growth_rate: largest growth of d in a step; none for no bound.
        decoupled_weight_decay: shrink the weights directly instead.
        use_bias_correction: correct the averages as Adam does.
        maximize: climb instead of descend.
    Note:       The third version of the authors' code, whose n takes s and v from before the step.
    Reference:  Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023.
    """
    beta1, beta2 = betas
    root = beta2**0.5
    grads = gradient(params, grads, 0.0 if decoupled_weight_decay else weight_decay, maximize)
    time, old = clock(step, params), state["d"]
    rate: Any = old * lr
    if use_bias_correction:
        rate = rate * bias_correction(beta2, time) ** 0.5 / bias_correction(beta1, time)
    agreement = over_model(grads * state["s"] / (torch.sqrt(state["exp_avg_sq"]) + eps))
    numerator = average(state["d_numerator"], rate * agreement, 1 - root)
    total = average(state["s"], rate * grads, 1 - root)
    exp_avg = average(state["exp_avg"], rate * grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    size = over_model(total.abs())
    found = numerator / ((1 - root) * torch.where(size > 0, size, 1.0))
    new = torch.where(size > 0, torch.maximum(old, _bounded(found, old, growth_rate)), old)
    if decoupled_weight_decay:
        params = shrink(params, rate, weight_decay)
    return plus_ratio(params, exp_avg, torch.sqrt(exp_avg_sq) + eps, -1.0), {
        "exp_avg": exp_avg,
        "exp_avg_sq": exp_avg_sq,
        "s": total,
        "d": new,
        "d_numerator": numerator,
    }


def _init_dadapt_sgd(params: Tensor, **knobs: Any) -> State:
    """Start at the first estimate, remembering where the weights started."""
    numbers = _numbers(params, knobs["d0"], d_numerator=0.0, g0_norm=0.0)
    return {"s": torch.zeros_like(params), "x0": params.clone(), **numbers}


@optimizer(scope="model", init=_init_dadapt_sgd)
def dadapt_sgd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1.0,
    momentum: Decay = 0.0,
    weight_decay: NonNegative = 0.0,
    d0: Positive = 1e-6,  # noqa: ARG001 - the first state is made of it
    growth_rate: Growth | None = None,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Gradient descent that estimates its own rate d from below (D-adaptation).

    Formula:    e = d lr / |g_1|, with g_1 the first gradient
                n = n + e <g, s>;  s = s + e g
                d = max(d, 2 n / |s|), the sums running over all parameters
                p = momentum p + (1 - momentum) (x0 - s), with x0 the first weights
                where g includes weight_decay p
    Shapes:     params, grads [..., parameters] -> [..., parameters], all of the model's
    Knobs:
        lr: factor on the rate that is found; a schedule scales it.
        momentum: share of the weights that is kept.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        d0: the first estimate: small.
        growth_rate: largest growth of d in a step; none for no bound.
        maximize: climb instead of descend.
    Note:       The third version of the authors' code, whose n takes s from before the step.
    Reference:  Defazio & Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    norm = over_model(torch.square(grads)).sqrt()
    first = torch.zeros_like(norm) + at_first(step, norm, state["g0_norm"], params)
    old = state["d"]
    rate = torch.where(first > 0, old * lr / torch.where(first > 0, first, 1.0), 0.0)
    numerator = state["d_numerator"] + rate * over_model(grads * state["s"])
    total = torch.addcmul(state["s"], grads, rate)
    length = over_model(torch.square(total)).sqrt()
    found = 2 * numerator / torch.where(length > 0, length, 1.0)
    new = torch.where(length > 0, torch.maximum(old, _bounded(found, old, growth_rate)), old)
    return average(params, state["x0"] - total, 1 - momentum), {
        "s": total,
        "x0": state["x0"],
        "d": new,
        "d_numerator": numerator,
        "g0_norm": first,
    }
