"""Momentum in other mixtures: several at once, or with a share of the plain gradient."""

from lossbench.components.declarations import Identity
from lossbench.components.optimizers._rules import (
    Step,
    average,
    average_square,
    bias_correction,
    clock,
    gradient,
    plus,
    plus_ratio,
    shrink,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Probability
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


@optimizer(
    init=zeros("momentum_buffer_0", "momentum_buffer_1", "momentum_buffer_2"),
    identities=(
        Identity("sgd", when={"betas": (0.0, 0.0, 0.0)}),
        Identity("sgd", when={"betas": (0.9, 0.9, 0.9)}, knobs={"momentum": 0.9}),
    ),
)
def aggmo(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay, Decay] = (0.0, 0.9, 0.99),
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Average three momenta of different lengths: the short ones damp how the long one swings.

    Formula:    b_i = beta_i b_i + g, for each of the three
                p = p - lr (b_1 + b_2 + b_3) / 3
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: share of each sum of past gradients that is kept.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Reference:  Lucas et al., Aggregated Momentum: Stability Through Passive Damping, 2019.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    buffers = [plus(grads, state[f"momentum_buffer_{i}"], beta) for i, beta in enumerate(betas)]
    moved = plus(params, buffers[0] + buffers[1] + buffers[2], -lr / 3)
    return moved, {f"momentum_buffer_{i}": buffer for i, buffer in enumerate(buffers)}


@optimizer(
    init=zeros("momentum_buffer"),
    identities=(
        Identity("sgd", when={"nu": 0.0}),
        Identity("sgd", when={"nu": 1.0, "momentum": 0.0}),
    ),
)
def qhm(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-3,
    momentum: Decay = 0.999,
    nu: Probability = 0.7,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Mix the plain gradient with its long average (quasi-hyperbolic momentum).

    Formula:    b = momentum b + (1 - momentum) g
                p = p - lr ((1 - nu) g + nu b)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        momentum: share of the average that is kept.
        nu: the average's share of the step; 0 is plain gradient descent.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Note:       The average weighs a gradient by 1 - momentum, where `sgd` weighs it by 1: a rate
                that suits sgd with momentum is here 1 / (1 - momentum) times as large.
    Reference:  Ma & Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2019.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    buffer = average(state["momentum_buffer"], grads, 1 - momentum)
    return plus(params, average(grads, buffer, nu), -lr), {"momentum_buffer": buffer}


@optimizer(
    init=zeros("exp_avg", "exp_avg_sq"),
    identities=(
        Identity("adam"),
        Identity("adamw", when={"weight_decay": 0.1, "decoupled_weight_decay": True}, knobs={
            "weight_decay": 0.1,
        }),
    ),
)  # fmt: skip
def qhadam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    nus: tuple[Probability, Probability] = (1.0, 1.0),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam whose two averages each leave a share to the newest gradient.

    Formula:    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  m^, v^ bias-corrected
                p = p - lr ((1 - n1) g + n1 m^) / (sqrt((1 - n2) g^2 + n2 v^) + eps)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        nus: shares n1 and n2 of the averages in the step; (1, 1) is `adam`.
        eps: keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        decoupled_weight_decay: shrink the weights directly instead.
        maximize: climb instead of descend.
    Reference:  Ma & Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2019.
    """
    beta1, beta2 = betas
    nu1, nu2 = nus
    if decoupled_weight_decay:
        params = shrink(params, lr, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    time = clock(step, params)
    direction = average(grads, exp_avg / bias_correction(beta1, time), nu1)
    variance = average(torch.square(grads), exp_avg_sq / bias_correction(beta2, time), nu2)
    moved = plus_ratio(params, direction, torch.sqrt(variance) + eps, -lr)
    return moved, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
