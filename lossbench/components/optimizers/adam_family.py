"""Adam and its relatives: a moving average of the gradient over one of its size."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from lossbench.components.optimizers._rules import (
    Step,
    average,
    average_square,
    bias_correction,
    clock,
    gradient,
    per_trial,
    plus_ratio,
    rectified,
    shrink,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_adam(params: Tensor, **knobs: Any) -> State:
    """Start the moments at zero, with AMSGrad the largest second moment too."""
    names = ["exp_avg", "exp_avg_sq"]
    return zeros(*names, *(["max_exp_avg_sq"] if knobs["amsgrad"] else []))(params)


def _in_place(
    params: list[Tensor],
    grads: list[Tensor],
    state: Mapping[str, list[Tensor]],
    step: int,
    *,
    betas: tuple[float, float],
    decoupled_weight_decay: bool = False,
    **knobs: Any,
) -> None:
    """Make Adam's step in torch's one pass over each tensor, which `fused=True` also calls."""
    kernel = torch._fused_adamw_ if decoupled_weight_decay else torch._fused_adam_
    kernel(
        params,
        grads,
        state["exp_avg"],
        state["exp_avg_sq"],
        state.get("max_exp_avg_sq", []),
        [torch.tensor(float(step))] * len(params),
        beta1=betas[0],
        beta2=betas[1],
        **knobs,
    )


@optimizer(kernel="torch.optim.Adam", init=_init_adam, in_place=_in_place)
def adam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> tuple[Tensor, State]:
    """Step by the average gradient over its average size: about `lr` per step for every weight.

    Formula:    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                p = p - lr m^ / (sqrt(v^) + eps)
                with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t); amsgrad takes the largest v so far
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0; added behind the bias correction.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        amsgrad: divide by the largest average square so far, so that no step size grows again.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink the weights directly instead, as `adamw` does.
    Reference:  Kingma & Ba, Adam: A Method for Stochastic Optimization, 2015.
                Reddi, Kale & Kumar, On the Convergence of Adam and Beyond, 2018.
    """
    beta1, beta2 = betas
    if decoupled_weight_decay:
        params = shrink(params, lr, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, **_largest(state, exp_avg_sq)}
    time = clock(step, params)
    # Numerator and denominator are both multiplied by sqrt(1 - b2^t): one division fewer.
    scale = bias_correction(beta2, time) ** 0.5
    size = torch.sqrt(state["max_exp_avg_sq"] if amsgrad else exp_avg_sq) + eps * scale
    rate = lr * scale / bias_correction(beta1, time)
    return plus_ratio(params, exp_avg, size, -rate), state


def _largest(state: State, exp_avg_sq: Tensor) -> State:
    """Return AMSGrad's part of the state, where it is in use."""
    largest = state.get("max_exp_avg_sq")
    return {} if largest is None else {"max_exp_avg_sq": torch.maximum(largest, exp_avg_sq)}


@optimizer(
    kernel="torch.optim.AdamW",
    init=_init_adam,
    decoupled=True,
    in_place=partial(_in_place, decoupled_weight_decay=True),
)
def adamw(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam whose weight decay shrinks the weights directly, past the division by the size.

    Formula:    p = p (1 - lr weight_decay), then as `adam`:
                m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                p = p - lr m^ / (sqrt(v^) + eps)
                with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t); amsgrad takes the largest v so far
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0; added behind the bias correction.
        weight_decay: share of the weights that a step of rate 1 would take away.
        amsgrad: divide by the largest average square so far, so that no step size grows again.
        maximize: climb instead of descend.
    Reference:  Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    return adam(
        params,
        grads,
        state,
        step,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        maximize=maximize,
        decoupled_weight_decay=True,
    )


def _init_nadam(params: Tensor, **knobs: Any) -> State:
    """Start the moments at zero and the product of the momenta at one."""
    return {**zeros("exp_avg", "exp_avg_sq")(params, **knobs), "mu_product": per_trial(params, 1.0)}


@optimizer(kernel="torch.optim.NAdam", init=_init_nadam)
def nadam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam with Nesterov's look-ahead, its momentum rising slowly from half of `betas[0]`.

    Formula:    u_t = b1 (1 - 0.96^(t momentum_decay) / 2);  U = u_1 u_2 ... u_t
                m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  v^ = v / (1 - b2^t)
                p = p - lr (g (1 - u_t) / (1 - U) + m u_(t+1) / (1 - U u_(t+1)))
                       / (sqrt(v^) + eps)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        momentum_decay: how fast the momentum rises to betas[0].
        decoupled_weight_decay: shrink the weights directly instead.
        maximize: climb instead of descend.
    Reference:  Dozat, Incorporating Nesterov Momentum into Adam, 2016.
    """
    beta1, beta2 = betas
    if decoupled_weight_decay:
        params = shrink(params, lr, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    time = clock(step, params)
    now = beta1 * (1 - 0.5 * 0.96 ** (time * momentum_decay))
    coming = beta1 * (1 - 0.5 * 0.96 ** ((time + 1) * momentum_decay))
    product = state["mu_product"] * now
    scale = bias_correction(beta2, time) ** 0.5
    size = torch.sqrt(exp_avg_sq) + eps * scale
    direction = grads * ((1 - now) / (1 - product))
    direction = torch.addcmul(direction, exp_avg, coming / (1 - product * coming))
    return plus_ratio(params, direction, size, -lr * scale), {
        "exp_avg": exp_avg,
        "exp_avg_sq": exp_avg_sq,
        "mu_product": product,
    }


@optimizer(kernel="torch.optim.RAdam", init=zeros("exp_avg", "exp_avg_sq"))
def radam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam with a warm-up of its own: it divides by the size only once that is known well enough.

    Formula:    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  m^ = m / (1 - b1^t)
                R = 2 / (1 - b2) - 1;  r = R - 2 t b2^t / (1 - b2^t)
                r > 5: p = p - lr m^ c sqrt(1 - b2^t) / (sqrt(v) + eps),
                       c = sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r))
                else:  p = p - lr m^
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0; added before the bias correction.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        decoupled_weight_decay: shrink the weights directly instead.
        maximize: climb instead of descend.
    Reference:  Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020.
    """
    beta1, beta2 = betas
    if decoupled_weight_decay:
        params = shrink(params, lr, weight_decay)
        weight_decay = 0.0
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    state = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    time = clock(step, params)
    rate = lr / bias_correction(beta1, time)
    size = torch.sqrt(exp_avg_sq) + eps
    return rectified(params, exp_avg, size, rate, beta2, time), state


@optimizer(kernel="torch.optim.Adamax", init=zeros("exp_avg", "exp_inf"))
def adamax(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that divides by the largest recent gradient instead of the root of an average square.

    Formula:    m = b1 m + (1 - b1) g;  u = max(b2 u, |g| + eps)
                p = p - lr m / ((1 - b1^t) u)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: bound of the step.
        betas: shares of the average gradient and of the largest gradient that are kept.
        eps: keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Reference:  Kingma & Ba, Adam: A Method for Stochastic Optimization, 2015.
    """
    beta1, beta2 = betas
    grads = gradient(params, grads, weight_decay, maximize)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_inf = torch.maximum(state["exp_inf"] * beta2, torch.abs(grads) + eps)
    rate = lr / bias_correction(beta1, clock(step, params))
    return plus_ratio(params, exp_avg, exp_inf, -rate), {"exp_avg": exp_avg, "exp_inf": exp_inf}


@optimizer(
    kernel="torch.optim.SparseAdam", init=zeros("exp_avg", "exp_avg_sq"), sparse_gradients=True
)
def sparse_adam(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: Positive = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: Positive = 1e-8,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam that leaves alone, moments included, what the batch has not touched.

    Formula:    where g != 0:
                m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                p = p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        eps: keeps the divisor from 0; added before the bias correction, unlike `adam`'s.
        maximize: climb instead of descend.
    Note:       torch's class takes gradients in sparse layout only, and what that layout stores
                counts as touched; a dense gradient is handed to it as `grad.to_sparse()`, which
                stores what is not 0. t counts all steps, not those that touched the weight.
    Reference:  Kingma & Ba, Adam: A Method for Stochastic Optimization, 2015.
    """
    beta1, beta2 = betas
    if maximize:
        grads = torch.neg(grads)
    touched = grads != 0
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    exp_avg = torch.where(touched, average(exp_avg, grads, 1 - beta1), exp_avg)
    exp_avg_sq = torch.where(touched, average_square(exp_avg_sq, grads, beta2), exp_avg_sq)
    time = clock(step, params)
    rate = lr * bias_correction(beta2, time) ** 0.5 / bias_correction(beta1, time)
    moved = plus_ratio(params, exp_avg, torch.sqrt(exp_avg_sq) + eps, -rate)
    params = torch.where(touched, moved, params)
    return params, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
