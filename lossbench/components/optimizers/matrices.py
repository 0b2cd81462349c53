"""Rules that know a weight matrix's rows and columns: they run on one parameter at a time."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
    applied,
    average,
    clock,
    larger,
    plain,
    plus,
    shrink,
    smaller,
)
from lossbench.components.rules import State
from lossbench.components.vocabulary import Nested, NonNegative
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_adafactor(params: Tensor, **knobs: Any) -> State:  # noqa: ARG001 - the contract passes all
    """Start with a row and a column for a matrix, with the whole second moment for a vector."""
    if params.ndim < 2:
        return {"variance": torch.zeros_like(params)}
    return {
        "row_var": torch.zeros_like(params[..., :1]),
        "col_var": torch.zeros_like(params[..., :1, :]),
    }


@optimizer(kernel="torch.optim.Adafactor", scope="tensor", init=_init_adafactor, decoupled=True)
def adafactor(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    beta2_decay: Annotated[float, Le(0)] = -0.8,
    eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3),
    d: Annotated[float, Ge(1)] = 1.0,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam's divisor from one number per row and one per column, its step relative to the weights.

    Formula:    s = t^beta2_decay;  rho = min(lr, 1 / sqrt(t))
                R = (1 - s) R + s mean_columns(g^2);  C = (1 - s) C + s mean_rows(g^2)
                V = R C / max(mean(R), eps1), for a vector V = (1 - s) V + s g^2
                u = g / sqrt(max(V, eps1^2))
                p = p (1 - lr weight_decay) - max(eps2, RMS(p)) rho u / max(1, RMS(u) / d)
    Shapes:     params, grads [...] -> [...]; factored along the last two dimensions
    Knobs:
        lr: upper bound of the step relative to the size of the weights.
        beta2_decay: exponent with which a new gradient's share of the averages falls.
        eps: bound of the squares (none for the dtype's own), and of the weights' size.
        d: bound of the update's root mean square.
        weight_decay: share of the weights that a step of rate 1 would take away.
        maximize: climb instead of descend.
    Reference:  Shazeer & Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost,
                2018.
    """
    if maximize:
        grads = torch.neg(grads)
    eps1, eps2 = eps
    if eps1 is None:
        eps1 = torch.finfo(params.dtype).eps
    time = clock(step, params)
    share = time**beta2_decay
    squares = torch.square(grads)
    if params.ndim < 2:
        variance = average(state["variance"], squares, share)
        state = {"variance": variance}
    else:
        row = average(state["row_var"], squares.mean(dim=-1, keepdim=True), share)
        column = average(state["col_var"], squares.mean(dim=-2, keepdim=True), share)
        variance = row @ column / larger(row.mean(dim=-2, keepdim=True), eps1)
        state = {"row_var": row, "col_var": column}
    update = grads * larger(variance, eps1 * eps1) ** -0.5
    rate = smaller(lr, 1 / time**0.5) * larger(_root_mean_square(params), eps2)
    rate = rate / larger(_root_mean_square(update) / d, 1.0)
    return plus(shrink(params, lr, weight_decay), update, -rate), state


def _root_mean_square(values: Tensor) -> Tensor:
    """Return the root of the mean square over the whole tensor."""
    return torch.square(values).mean().sqrt()


def _init_muon(params: Tensor, **knobs: Any) -> State:
    """Start a matrix with an empty buffer, anything else as its own optimizer does."""
    if params.ndim == 2:
        return {"momentum_buffer": torch.zeros_like(params)}
    rest = applied(knobs["rest"])
    return rest.facts.init(params, **rest.knobs)


def _without_rest(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that torch.optim.Muon takes."""
    return {name: value for name, value in knobs.items() if name != "rest"}


@optimizer(
    kernel="torch.optim.Muon",
    scope="tensor",
    init=_init_muon,
    decoupled=True,
    matrices_only="rest",
    inexact="its products round to bfloat16, and order their sums by how many there are",
    kernel_knobs=_without_rest,
)
def muon(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-3,
    weight_decay: NonNegative = 0.1,
    momentum: NonNegative = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    eps: NonNegative = 1e-7,
    ns_steps: Annotated[int, Ge(0), Lt(100)] = 5,
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    rest: Annotated[Any, Nested("optimizer")] = "adamw",
) -> tuple[Tensor, State]:
    """Step along the nearest orthogonal matrix to the momentum: every direction counts alike.

    Formula:    B = momentum B + (1 - momentum) g
                U = orthogonal((1 - momentum) g + momentum B), without nesterov orthogonal(B)
                p = p (1 - lr weight_decay) - lr r U
                r = sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns))
                orthogonal: X = X / |X|, then `ns_steps` times X = a X + (b G + c G^2) X, G = X X^T
    Shapes:     params, grads [rows, columns] -> [rows, columns]; others are left to `rest`
    Knobs:
        lr: size of the step.
        weight_decay: share of the weights that a step of rate 1 would take away.
        momentum: share of the average gradient that is kept.
        nesterov: look ahead: mix the new gradient in once more.
        ns_coefficients: a, b and c of the iteration; the default ones end near 1, not at 1.
        eps: keeps the norm of an all-zero gradient from 0.
        ns_steps: number of iterations.
        adjust_lr_fn: the factor r: original (also if none), or match_rms_adamw, with which a rate
            tuned for adamw serves.
        rest: the optimizer, with its own rate, of all parameters that are no matrices.
    Note:       The iteration runs in bfloat16, as torch's does: where a group of trials orders its
                sums in another way, U differs in the second digit.
    Reference:  Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
                Liu et al., Muon is Scalable for LLM Training, 2025.
    """
    if params.ndim != 2:
        new_params, new_state = applied(rest)(params, grads, state, step)
        return new_params, new_state
    buffer = average(state["momentum_buffer"], grads, 1 - momentum)
    direction = average(grads, buffer, momentum) if nesterov else buffer
    rows, columns = params.shape
    if adjust_lr_fn == "match_rms_adamw":
        ratio = 0.2 * math.sqrt(max(rows, columns))
    else:
        ratio = math.sqrt(max(1, rows / columns))
    update = _orthogonal(direction, ns_coefficients, ns_steps, eps).to(params.dtype)
    new_params = plus(shrink(params, lr, weight_decay), update, -lr * ratio)
    return new_params, {"momentum_buffer": buffer}


def _orthogonal(
    matrix: Tensor, coefficients: tuple[Scalar, Scalar, Scalar], steps: int, eps: Scalar
) -> Tensor:
    """Return U S' V^T for matrix = U S V^T, with S' near 1, by Newton-Schulz iterations."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    if tall:  # the product with the smaller side first
        x = x.T
    # The norm bounds the largest singular value: all of them then lie in [0, 1].
    x = x / larger(x.norm(), eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        if plain(a) and plain(b) and plain(c):
            # One rounding to bfloat16 per product, as in torch's own loop.
            polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.addmm(x, polynomial, x, beta=a)
        else:
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x
