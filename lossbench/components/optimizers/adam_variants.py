"""Variants of Adam that change what is divided by what: belief, direction, order of the two."""

import math
from typing import Any

from lossbench.components.declarations import Identity
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
    plain,
    plus,
    plus_ratio,
    rectified,
    shrink,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Positive, PositiveInt, is_off
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_adabelief(params: Tensor, **knobs: Any) -> State:
    """Start the moments at zero, with AMSGrad the largest second moment too."""
    names = ["exp_avg", "exp_avg_var"]
    return zeros(*names, *(["max_exp_avg_var"] if knobs["amsgrad"] else []))(params)


@optimizer(init=_init_adabelief, decoupled=True)
def adabelief(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-16,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
    rectify: bool = True,
    decoupled_weight_decay: bool = True,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that divides by how far gradients stray from their average: bold where they agree.

    Formula:    m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) (g - m)^2 + eps
                p = p - lr m^ / (sqrt(s / (1 - b2^t)) + eps), amsgrad with the largest s so far
                rectify: as in `radam`, the rate times a factor c that grows to 1 and no division
                as long as the variance is not known
                p first shrinks by 1 - lr weight_decay
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its spread that are kept.
        eps: keeps the divisor from 0; it is added to the spread at every step.
        weight_decay: share of the weights that a step of rate 1 would take away.
        amsgrad: divide by the largest spread so far, so that no step size grows again; with
            rectify it changes nothing, as in the authors' code.
        rectify: warm up as `radam` does.
        decoupled_weight_decay: if false, weight_decay is an L2 penalty that joins the gradient.
        maximize: climb instead of descend.
    Reference:  Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
                Gradients, 2020.
    """
    beta1, beta2 = betas
    if decoupled_weight_decay:
        params = shrink(params, lr, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    variance = average_square(state["exp_avg_var"], grads - exp_avg, beta2) + eps
    state = {**state, "exp_avg": exp_avg, "exp_avg_var": variance}
    if amsgrad:
        state["max_exp_avg_var"] = torch.maximum(state["max_exp_avg_var"], variance)
    time = clock(step, params)
    rate = lr / bias_correction(beta1, time)
    if not rectify:
        scale = bias_correction(beta2, time) ** 0.5
        largest = state["max_exp_avg_var"] if amsgrad else variance
        return plus_ratio(params, exp_avg, torch.sqrt(largest) + eps * scale, -rate * scale), state
    size = torch.sqrt(variance) + eps
    return rectified(params, exp_avg, size, rate, beta2, time), state


def _init_yogi(params: Tensor, **knobs: Any) -> State:
    """Start both moments at the initial value."""
    first = torch.zeros_like(params) + knobs["initial_accumulator"]
    return {"exp_avg": first, "exp_avg_sq": first.clone()}


@optimizer(init=_init_yogi)
def yogi(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-3,
    initial_accumulator: NonNegative = 1e-6,  # noqa: ARG001 - the first state is made of it
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam whose second moment moves by at most the new square: it does not forget abruptly.

    Formula:    m = b1 m + (1 - b1) g;  v = v - (1 - b2) sign(v - g^2) g^2
                p = p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: share of the average gradient that is kept, and one less the second's speed.
        eps: keeps the divisor from 0; larger than Adam's, as the paper advises.
        initial_accumulator: what both moments start at.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Reference:  Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018.
    """
    beta1, beta2 = betas
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    squares = torch.square(grads)
    change = torch.sign(state["exp_avg_sq"] - squares) * squares
    exp_avg_sq = plus(state["exp_avg_sq"], change, beta2 - 1)
    time = clock(step, params)
    scale = bias_correction(beta2, time) ** 0.5
    rate = lr * scale / bias_correction(beta1, time)
    moved = plus_ratio(params, exp_avg, torch.sqrt(exp_avg_sq) + eps * scale, -rate)
    return moved, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


@optimizer(init=zeros("exp_avg", "exp_avg_sq"), decoupled=False)
def adopt(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.9999),
    eps: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    clip: bool = True,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that divides by the size seen before the new gradient, and averages only after that.

    Formula:    first step: v = g^2, and no move
                n = g / max(sqrt(v), eps), clipped to +-(t - 1)^(1/4)
                m = b1 m + (1 - b1) n;  p = p - lr m
                v = b2 v + (1 - b2) g^2
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the scaled gradient and of the square that are kept.
        eps: least divisor.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        clip: bound the scaled gradient; the paper's first version does not.
        decoupled_weight_decay: shrink the weights directly instead.
        maximize: climb instead of descend.
    Reference:  Taniguchi et al., ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal
                Rate, 2024.
    """
    beta1, beta2 = betas
    moves = at_first(step, 0.0, 1.0, params)
    if decoupled_weight_decay:
        params = shrink(params, lr * moves, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    squares = torch.square(grads)
    scaled = grads / larger(torch.sqrt(state["exp_avg_sq"]), eps)
    if clip:
        bound = (clock(step, params) - 1) ** 0.25
        scaled = torch.clamp(scaled, -bound, bound)
    exp_avg = average(state["exp_avg"], scaled, (1 - beta1) * moves)
    share = at_first(step, 1.0, 1 - beta2, params)
    exp_avg_sq = average(state["exp_avg_sq"], squares, share)
    moved = plus(params, exp_avg, -lr * moves)
    return moved, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


@optimizer(init=zeros("exp_avg", "exp_avg_sq", "exp_avg_diff", "previous"), decoupled=True)
def adan(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay, Decay] = (0.98, 0.92, 0.99),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    no_prox: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Nesterov's look-ahead read off the last change of the gradient, divided by the size of both.

    Formula:    d = g - g_before (0 at the first step)
                m = b1 m + (1 - b1) g;  u = b2 u + (1 - b2) d;  n = b3 n + (1 - b3) (g + b2 d)^2
                p = (p - lr (m^ + b2 u^) / (sqrt(n^) + eps)) / (1 + lr weight_decay)
                the hats divide by 1 - b^t; no_prox multiplies p by 1 - lr weight_decay before
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient, its change and the square that are kept.
        eps: keeps the divisor from 0.
        weight_decay: strength of the decay, which acts on the weights directly.
        no_prox: decay before the step, as `adamw` does.
        maximize: climb instead of descend.
    Reference:  Xie et al., Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep
                Models, 2022.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2, beta3 = betas
    change = (grads - state["previous"]) * at_first(step, 0.0, 1.0, params)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_diff = average(state["exp_avg_diff"], change, 1 - beta2)
    exp_avg_sq = average_square(state["exp_avg_sq"], plus(grads, change, beta2), beta3)
    time = clock(step, params)
    size = torch.sqrt(exp_avg_sq) / bias_correction(beta3, time) ** 0.5 + eps
    if no_prox:
        params = shrink(params, lr, weight_decay)
    params = plus_ratio(params, exp_avg, size, -lr / bias_correction(beta1, time))
    params = plus_ratio(params, exp_avg_diff, size, -lr * beta2 / bias_correction(beta2, time))
    if not no_prox and not is_off(weight_decay):
        params = params / (1 + lr * weight_decay)
    return params, {
        "exp_avg": exp_avg,
        "exp_avg_sq": exp_avg_sq,
        "exp_avg_diff": exp_avg_diff,
        "previous": grads,
    }


@optimizer(
    init=zeros("exp_avg_fast", "exp_avg_slow", "exp_avg_sq"),
    decoupled=True,
    identities=(
        Identity("adamw", when={"alpha": 0.0, "weight_decay": 0.1}, knobs={"weight_decay": 0.1}),
    ),
)
def ademamix(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay, Decay] = (0.9, 0.999, 0.9999),
    alpha: NonNegative = 5.0,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    alpha_warmup: PositiveInt | None = None,
    beta3_warmup: PositiveInt | None = None,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam with a second, very slow average of the gradient: old gradients stay of use.

    Formula:    m = b1 m + (1 - b1) g;  s = b3 s + (1 - b3) g;  v = b2 v + (1 - b2) g^2
                p = p (1 - lr weight_decay) - lr (m^ + alpha s) / (sqrt(v^) + eps)
                with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t); s has no correction
                alpha_warmup: alpha grows from 0 along a line
                beta3_warmup: b3 grows from b1 so that its half-life does along a line
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the fast average, of the square and of the slow average that are kept.
        alpha: weight of the slow average.
        eps: keeps the divisor from 0.
        weight_decay: share of the weights that a step of rate 1 would take away.
        alpha_warmup: steps in which alpha grows; none for alpha from the start.
        beta3_warmup: steps in which b3 grows; none for b3 from the start.
        maximize: climb instead of descend.
    Note:       The authors' code has alpha 2, their paper 5; early steps need the warm-ups, for
                which the paper takes the length of the run.
    Reference:  Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer: Better, Faster, Older, 2024.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2, beta3 = betas
    time = clock(step, params)
    mix: Scalar = alpha
    slow: Scalar = beta3
    if alpha_warmup is not None:
        mix = alpha * _progress(time, alpha_warmup)
    if beta3_warmup is not None:
        share = _progress(time, beta3_warmup)
        slow = _with_half_life((1 - share) * _half_life(beta1) + share * _half_life(beta3))
    exp_avg_fast = average(state["exp_avg_fast"], grads, 1 - beta1)
    exp_avg_slow = average(state["exp_avg_slow"], grads, 1 - slow)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    scale = bias_correction(beta2, time) ** 0.5
    direction = plus(exp_avg_fast / bias_correction(beta1, time), exp_avg_slow, mix)
    size = torch.sqrt(exp_avg_sq) + eps * scale
    moved = plus_ratio(shrink(params, lr, weight_decay), direction, size, -lr * scale)
    return moved, {
        "exp_avg_fast": exp_avg_fast,
        "exp_avg_slow": exp_avg_slow,
        "exp_avg_sq": exp_avg_sq,
    }


def _progress(time: Scalar, steps: int) -> Scalar:
    """Return how much of a warm-up is over, from 0 to 1."""
    return min(1.0, time / steps) if plain(time) else torch.clamp(time / steps, max=1.0)


def _half_life(decay: Scalar) -> Scalar:
    """Return after how many steps a share of 1/2 is left, less one."""
    if plain(decay):
        return math.log(0.5) / math.log(decay) - 1 if decay > 0 else -1.0
    return math.log(0.5) / torch.log(decay) - 1


def _with_half_life(steps: Scalar) -> Scalar:
    """Return the decay that leaves 1/2 after that many steps and one; 0 for none."""
    if plain(steps):
        return 0.5 ** (1 / (steps + 1)) if steps > -1 else 0.0
    return 0.5 ** (1 / (steps + 1))
