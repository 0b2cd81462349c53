"""Rules that need no schedule: an average of the path takes the place of a falling rate."""

from typing import Annotated, Any

from annotated_types import Gt, Lt

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
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
from lossbench.components.vocabulary import Decay, NonNegative, NonNegativeInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

Mix = Annotated[float, Gt(0), Lt(1)]
"""A share that is neither nothing nor all: the average is told from the weights by it."""


def _init(params: Tensor, **knobs: Any) -> State:  # noqa: ARG001 - the contract passes all
    """Start the unaveraged weights where the others are, and the average without any weight."""
    sums = {name: per_trial(params, 0.0) for name in ("lr_max", "weight_sum")}
    return {"z": params.clone(), **sums}


def _init_adamw(params: Tensor, **knobs: Any) -> State:
    """Start as the plain rule does, with a second moment at zero."""
    return {**_init(params, **knobs), **zeros("exp_avg_sq")(params)}


def _averaged(params: Tensor, z: Tensor, share: Scalar) -> Tensor:
    """Return x of y = (1 - share) z + share x."""
    return z + (params - z) / share


def _evaluate_sgd(params: Tensor, state: State, *, momentum: Scalar, **knobs: Any) -> Tensor:  # noqa: ARG001
    """Return the average of the path."""
    return _averaged(params, state["z"], momentum)


def _evaluate_adamw(params: Tensor, state: State, *, betas: Any, **knobs: Any) -> Tensor:  # noqa: ARG001
    """Return the average of the path."""
    return _averaged(params, state["z"], betas[0])


def _warm(rate: Scalar, time: Scalar, warmup_steps: int) -> Scalar:
    """Return the rate after its warm-up along a line."""
    return rate * smaller(time / warmup_steps, 1.0) if warmup_steps else rate


def _step(
    params: Tensor,
    direction: Tensor,
    state: State,
    time: Scalar,
    rate: Scalar,
    share: Scalar,
    power: Scalar,
    lr_power: Scalar,
) -> tuple[Tensor, State]:
    """Move z along the direction, and y with the average that z then joins."""
    lr_max = larger(state["lr_max"], rate)
    weight: Any = time**power * lr_max**lr_power
    total = state["weight_sum"] + weight
    counted = torch.where(total > 0, weight / torch.where(total > 0, total, 1.0), 0.0)
    pulled = torch.addcmul(params, state["z"] - params, counted)
    moved = torch.addcmul(pulled, direction, rate * (share * (1 - counted) - 1))
    z = plus(state["z"], direction, -rate)
    return moved, {"z": z, "lr_max": torch.zeros_like(total) + lr_max, "weight_sum": total}


@optimizer(init=_init, evaluate=_evaluate_sgd)
def schedule_free_sgd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1.0,
    momentum: Mix = 0.9,
    weight_decay: NonNegative = 0.0,
    warmup_steps: NonNegativeInt = 0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Gradient descent whose gradients are taken between the path and its average.

    Formula:    y = (1 - momentum) z + momentum x;  g is the gradient at y
                z = z - lr g;  x = (1 - c) x + c z, c = w / (sum of all w so far)
                w = t^r (largest lr so far)^weight_lr_power
                where g includes weight_decay y; the weights in training are y, x is evaluated
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step of z; larger than that of `sgd` with a schedule.
        momentum: share of the average x in y.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        warmup_steps: steps in which the rate grows along a line.
        r: power with which later steps weigh more in the average.
        weight_lr_power: power with which small rates (of the warm-up) weigh less.
        maximize: climb instead of descend.
    Note:       The statistics of a batch norm belong to y.
    Reference:  Defazio et al., The Road Less Scheduled, 2024.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    time = clock(step, params)
    rate = _warm(lr, time, warmup_steps)
    return _step(params, grads, state, time, rate, momentum, r, weight_lr_power)


@optimizer(init=_init_adamw, evaluate=_evaluate_adamw)
def schedule_free_adamw(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 0.0025,
    betas: tuple[Mix, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    warmup_steps: NonNegativeInt = 0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Schedule-free descent along gradients that are divided by their size, as Adam's are.

    Formula:    y = (1 - b1) z + b1 x;  g is the gradient at y
                v = b2 v + (1 - b2) g^2;  e = lr sqrt(1 - b2^t)
                z = z - e (g / (sqrt(v) + eps) + weight_decay y)
                x = (1 - c) x + c z, c = w / (sum of all w so far)
                w = t^r (largest e so far)^weight_lr_power
                the weights in training are y, x is evaluated
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step of z.
        betas: share of the average x in y, and share of the average square that is kept.
        eps: keeps the divisor from 0; added before the bias correction.
        weight_decay: share of y that a step of rate 1 would take away from z.
        warmup_steps: steps in which the rate grows along a line.
        r: power with which later steps weigh more in the average.
        weight_lr_power: power with which small rates (of the warm-up) weigh less.
        maximize: climb instead of descend.
    Note:       The statistics of a batch norm belong to y.
    Reference:  Defazio et al., The Road Less Scheduled, 2024.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2 = betas
    exp_avg_sq = average_square(state["exp_avg_sq"], grads, beta2)
    time = clock(step, params)
    rate = _warm(lr, time, warmup_steps) * bias_correction(beta2, time) ** 0.5
    direction = plus(grads / (torch.sqrt(exp_avg_sq) + eps), params, weight_decay)
    moved, new = _step(params, direction, state, time, rate, beta1, r, weight_lr_power)
    return moved, {**new, "exp_avg_sq": exp_avg_sq}
