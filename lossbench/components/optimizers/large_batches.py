"""Rules that set each tensor's step by its norm, so that large batches and rates stay stable."""

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
    norm,
    plus,
    smaller,
)
from lossbench.components.optimizers.adam_family import adamw
from lossbench.components.optimizers.momentum import sgd
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, is_off
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return above / below, and 1 where either is 0."""
    fine = (above > 0) & (below > 0)
    return torch.where(fine, above / torch.where(fine, below, 1.0), 1.0)


@optimizer(scope="tensor", init=zeros("exp_avg", "exp_avg_sq"))
def lamb(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.01,
    trust_clip: bool = False,
    always_adapt: bool = True,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam whose step on a tensor is as long as the tensor times the rate.

    Formula:    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                u = m^ / (sqrt(v^) + eps) + weight_decay p
                p = p - lr |p| / |u| u, the ratio being 1 where |p| or |u| is 0
    Shapes:     params, grads [...] -> [...]; the norms are those of the tensor
    Knobs:
        lr: length of the step relative to the tensor's.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0.
        weight_decay: share of the weights in the direction u.
        trust_clip: no ratio above 1.
        always_adapt: use the ratio for tensors without weight decay too (biases, norms).
        maximize: climb instead of descend.
    Note:       The clipping of the whole gradient that its code has is the training's own.
    Reference:  You et al., Large Batch Optimization for Deep Learning: Training BERT in 76
                minutes, 2020.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2 = betas
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    time = clock(step, params)
    size = torch.sqrt(exp_avg_sq) / bias_correction(beta2, time) ** 0.5 + eps
    update = exp_avg / bias_correction(beta1, time) / size
    if is_off(weight_decay) and not always_adapt:
        return plus(params, update, -lr), state
    update = plus(update, params, weight_decay)
    ratio: Scalar = _ratio(norm(params), norm(update))
    return plus(params, update, -lr * (smaller(ratio, 1.0) if trust_clip else ratio)), state


def _init_lars(params: Tensor, **knobs: Any) -> State:
    """Start with an empty buffer where there is a momentum."""
    return {} if is_off(knobs["momentum"]) else {"momentum_buffer": torch.zeros_like(params)}


@optimizer(scope="tensor", init=_init_lars)
def lars(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1.0,
    momentum: NonNegative = 0.9,
    weight_decay: NonNegative = 0.0,
    trust_coefficient: NonNegative = 1e-3,
    eps: NonNegative = 1e-8,
    nesterov: bool = False,
    trust_clip: bool = False,
    always_adapt: bool = True,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Momentum whose step on a tensor is a fixed share of the tensor's own length.

    Formula:    r = trust_coefficient |p| / (|g| + weight_decay |p| + eps),
                1 where |p| or |g| is 0
                b = momentum b + r (g + weight_decay p)
                p = p - lr b; with nesterov p = p - lr (r (g + weight_decay p) + momentum b)
    Shapes:     params, grads [...] -> [...]; the norms are those of the tensor
    Knobs:
        lr: size of the step; with the ratio it may be near 1.
        momentum: share of the sum of past steps that is kept.
        weight_decay: strength of the L2 penalty.
        trust_coefficient: share of the tensor's length that a step of rate 1 may have.
        eps: keeps the divisor from 0.
        nesterov: look ahead: step by the gradient plus what the sum will add.
        trust_clip: no step longer than that of `sgd` (LARC).
        always_adapt: use the ratio for tensors without weight decay too (biases, norms).
        maximize: climb instead of descend.
    Reference:  You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, 2017.
    """
    if maximize:
        grads = torch.neg(grads)
    if always_adapt or not is_off(weight_decay):
        length, slope = norm(params), norm(grads)
        ratio: Scalar = torch.where(
            (length > 0) & (slope > 0),
            trust_coefficient * length / (slope + weight_decay * length + eps),
            1.0,
        )
        if trust_clip:
            ratio = smaller(ratio / lr, 1.0)
        grads = plus(grads, params, weight_decay) * ratio
    moved, state = sgd(params, grads, state, step, lr=lr, momentum=momentum, nesterov=nesterov)
    return moved, state


def _init_novograd(params: Tensor, **knobs: Any) -> State:
    """Start the average at zero, and the size of the gradient as one number."""
    names = ["exp_avg_sq", *(["max_exp_avg_sq"] if knobs["amsgrad"] else [])]
    return {"exp_avg": torch.zeros_like(params), **{name: params.new_zeros(()) for name in names}}


@optimizer(scope="tensor", init=_init_novograd)
def novograd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.95, 0.98),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    grad_averaging: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Divide the gradient by one average size for the tensor, then sum with momentum.

    Formula:    v = b2 v + (1 - b2) |g|^2, with v = |g|^2 as long as it is 0
                m = b1 m + a (g / (sqrt(v) + eps) + weight_decay p), a = 1, or 1 - b1 if averaging
                p = p - lr m;  amsgrad takes the largest v so far
    Shapes:     params, grads [...] -> [...]; the norm is that of the tensor
    Knobs:
        lr: size of the step.
        betas: shares of the sum of directions and of the average square that are kept.
        eps: keeps the divisor from 0.
        weight_decay: share of the weights in the direction.
        grad_averaging: average the directions instead of summing them.
        amsgrad: divide by the largest size so far.
        maximize: climb instead of descend.
    Reference:  Ginsburg et al., Stochastic Gradient Methods with Layer-wise Adaptive Moments for
                Training of Deep Networks, 2019.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2 = betas
    square, old = torch.square(grads).sum(), state["exp_avg_sq"]
    exp_avg_sq = torch.where(old == 0, square, average(old, square, 1 - beta2))
    largest = torch.maximum(state["max_exp_avg_sq"], exp_avg_sq) if amsgrad else exp_avg_sq
    direction = plus(grads / (torch.sqrt(largest) + eps), params, weight_decay)
    exp_avg = state["exp_avg"] * beta1 + direction * (1 - beta1 if grad_averaging else 1.0)
    state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    if amsgrad:
        state["max_exp_avg_sq"] = largest
    return plus(params, exp_avg, -lr), state


@optimizer(
    scope="tensor",
    init=zeros("exp_avg", "exp_avg_sq", "last_grad"),
    decoupled=True,
    identities=(
        Identity("adamw", when={"gamma": 0.0, "clip": False, "betas_1d": (0.95, 0.99)}, knobs={
            "lr": 3e-3, "betas": (0.95, 0.99), "weight_decay": 0.0,
        }),
    ),
)  # fmt: skip
def mars(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 3e-3,
    betas: tuple[Decay, Decay] = (0.95, 0.99),
    gamma: NonNegative = 0.025,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    clip: bool = True,
    optimize_1d: bool = False,
    betas_1d: tuple[Decay, Decay] = (0.9, 0.95),
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """AdamW on a gradient that is corrected by its last change, which lowers its variance.

    Formula:    c = g + gamma b1 / (1 - b1) (g - g_before), c = g at the first step
                c = c / max(1, |c|)
                m = b1 m + (1 - b1) c;  v = b2 v + (1 - b2) c^2
                p = p (1 - lr weight_decay) - lr m^ / (sqrt(v^) + eps)
                vectors: c = g, with the shares `betas_1d`
    Shapes:     params, grads [...] -> [...]; the norm is that of the tensor
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        gamma: strength of the correction.
        eps: keeps the divisor from 0.
        weight_decay: share of the weights that a step of rate 1 would take away.
        clip: bound the norm of the corrected gradient by 1.
        optimize_1d: treat vectors as matrices are treated, instead of as `adamw` does.
        betas_1d: the shares for vectors.
        maximize: climb instead of descend.
    Note:       g_before is the gradient of the last batch, as in the authors' approximate form; the
                exact one evaluates the new batch at the last weights.
    Reference:  Yuan et al., MARS: Unleashing the Power of Variance Reduction for Training Large
                Models, 2024.
    """
    if maximize:
        grads = torch.neg(grads)
    corrected = grads
    beta1, beta2 = betas
    if params.ndim < 2 and not optimize_1d:
        beta1, beta2 = betas_1d
    else:
        weight = at_first(step, 0.0, gamma * beta1 / (1 - beta1), params)
        corrected = plus(grads, grads - state["last_grad"], weight)
        if clip:
            corrected = corrected / torch.clamp(norm(corrected), min=1.0)
    own = {"exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}
    moved, own = adamw(
        params,
        corrected,
        own,
        step,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
    )
    return moved, {**own, "last_grad": grads}
