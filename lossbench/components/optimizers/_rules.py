"""What update rules share: the same term for plain numbers and for tensors.

A rule runs thousands of times a second on a small tensor, where every operation costs its launch.
With plain numbers one fused operation takes the scalar; with a knob per trial (a tensor that
broadcasts against the parameters, of their dtype or 0-d) the general operation does the same.
Nothing here writes into what it is given.
"""

import math
from typing import TYPE_CHECKING, Any

from lossbench.components.rules import State
from lossbench.components.vocabulary import Applied, is_off
from lossbench.errors import UsageError
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Scalar = float | Tensor
"""A knob, or what was worked out from knobs: a plain number, or a tensor that broadcasts."""

Step = int | Tensor
"""The number of the step, from 1."""


def plain(value: Scalar) -> "TypeIs[float]":
    """Tell whether a value is a Python number, the same for all trials."""
    return isinstance(value, (float, int))


def gradient(params: Tensor, grads: Tensor, weight_decay: Scalar, maximize: bool) -> Tensor:
    """Return the gradient to descend: turned round to maximise, with the L2 penalty's share."""
    if maximize:
        grads = torch.neg(grads)
    return grads if is_off(weight_decay) else plus(grads, params, weight_decay)


def shrink(params: Tensor, lr: Scalar, weight_decay: Scalar) -> Tensor:
    """Return the parameters after decoupled weight decay."""
    return params if is_off(weight_decay) else params * (1 - lr * weight_decay)


def plus(start: Tensor, change: Tensor, factor: Scalar) -> Tensor:
    """Return start + factor * change."""
    if plain(factor):
        return torch.add(start, change, alpha=factor)
    return torch.addcmul(start, change, factor)


def plus_ratio(start: Tensor, above: Tensor, below: Tensor, factor: Scalar) -> Tensor:
    """Return start + factor * above / below."""
    if plain(factor):
        return torch.addcdiv(start, above, below, value=factor)
    return torch.addcmul(start, above / below, factor)


def average(old: Tensor, new: Tensor, share: Scalar) -> Tensor:
    """Return old + share * (new - old): the moving average that takes this share of the new."""
    if plain(share):
        return torch.lerp(old, new, share)
    # lerp alone among these operations does not promote: a 0-d weight must have the dtype.
    return torch.lerp(old, new, share.to(old.dtype))


def average_square(old: Tensor, values: Tensor, keep: Scalar) -> Tensor:
    """Return keep * old + (1 - keep) * values^2, rounded in the order in which torch.optim does."""
    if plain(keep):
        return torch.addcmul(old * keep, values, values, value=1 - keep)
    return average(old, torch.square(values), 1 - keep)


def smaller(one: Scalar, other: Scalar) -> Scalar:
    """Return the smaller of two, elementwise."""
    if not plain(one):
        return _clamp(one, max=other)
    return min(one, other) if plain(other) else _clamp(other, max=one)


def larger(one: Scalar, other: Scalar) -> Scalar:
    """Return the larger of two, elementwise."""
    if not plain(one):
        return _clamp(one, min=other)
    return max(one, other) if plain(other) else _clamp(other, min=one)


def _clamp(values: Tensor, **bound: Any) -> Tensor:
    """Bound a tensor by numbers or by tensors (torch declares the two apart)."""
    return torch.clamp(values, **bound)


def clock(step: Step, like: Tensor) -> Scalar:
    """Return the step as a number to calculate with: a tensor in the dtype of `like`."""
    return step if isinstance(step, int) else step.to(like.dtype)


def at_first(step: Step, first: Scalar, later: Scalar, like: Tensor) -> Scalar:
    """Return one value at the first step and another at all later ones."""
    if isinstance(step, int):
        return first if step == 1 else later
    if plain(later):  # two plain numbers would come out of `where` in the default dtype
        later = like.new_full((), later)
    return torch.where(step == 1, first, later)


def bias_correction(decay: Scalar, step: Scalar) -> Scalar:
    """Return 1 - decay^step, what a moving average from zeros has seen of its weight so far."""
    if plain(step) and plain(decay):
        return 1 - decay**step
    # 1 - 0.999^t loses four digits in float32; expm1 of the logarithm keeps them.
    return -torch.expm1(step * _logarithm(decay))


def rectified(
    params: Tensor, exp_avg: Tensor, size: Tensor, rate: Scalar, beta2: Scalar, time: Scalar
) -> Tensor:
    """Return params - rate * c * exp_avg / size, without size as long as it is not known well."""
    factor = _rectifier(beta2, time)
    if plain(factor):
        if factor == 0:
            return plus(params, exp_avg, -rate)
        return plus_ratio(params, exp_avg, size, -rate * factor)
    divisor = torch.where(factor > 0, size / factor.to(params.dtype), 1.0)
    return plus_ratio(params, exp_avg, divisor, -rate)


def _rectifier(beta2: Scalar, time: Scalar) -> Scalar:
    """Return c sqrt(1 - b2^t), and 0 as long as the variance is not known (r <= 5)."""
    if not (plain(beta2) and plain(time)):
        # r is a small difference of large numbers: float32 would leave it three digits.
        beta2, time = _wide(beta2), _wide(time)
    seen = bias_correction(beta2, time)
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * time * (1 - seen) / seen
    if plain(length) and length <= 5:  # the root below would be that of a negative number
        return 0.0
    share = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    rectifier = (share * seen) ** 0.5
    return rectifier if plain(length) else torch.where(length > 5, rectifier, 0.0)


def _wide(value: Scalar) -> Scalar:
    """Return a tensor in float64, where the device has it."""
    return value if plain(value) or value.device.type == "mps" else value.double()


def _logarithm(decay: Scalar) -> Any:
    """Return the logarithm of a number or a tensor, minus infinity for 0."""
    if plain(decay):
        return math.log(decay) if decay > 0 else -math.inf
    return torch.log(decay)


def norm(values: Tensor) -> Tensor:
    """Return the length of a tensor, all of its elements taken as one vector."""
    return torch.sqrt(torch.square(values).sum())


def over_model(values: Tensor) -> Tensor:
    """Return the sum over all parameters of a model, which lie along the last dimension."""
    return values.sum(dim=-1, keepdim=True) if values.ndim else values


def per_trial(params: Tensor, value: float) -> Tensor:
    """Return a state of one number for each row of the parameters: [trials, 1] for a flat group."""
    shape = (*params.shape[:-1], 1) if params.ndim else ()
    return params.new_full(shape, value)


def applied(knob: Any) -> Applied:
    """Return the optimizer that a nested knob stands for; a bare name has its default knobs.

    Raises UsageError where it has no formula, UnknownNameError where nothing bears the name.
    """
    if not isinstance(knob, Applied):
        entry = optimizer.find(knob)
        knob = Applied(entry.name, entry.function, entry.facts, entry.defaults())
    if knob.facts.kernel_only is not None:
        raise UsageError(
            f"{knob.name} cannot stand inside another optimizer: {knob.facts.kernel_only}"
        )
    return knob


def base_step(
    params: Tensor, grads: Tensor, state: State, step: Step, lr: Any, base: Any
) -> tuple[Tensor, State]:
    """Let a wrapped optimizer make its step, at the rate in force or at its own."""
    rate = {} if lr is None else {"lr": lr}
    new_params, new_state = applied(base)(params, grads, state["base"], step, **rate)
    return new_params, new_state
