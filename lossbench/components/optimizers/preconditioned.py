"""Rules that learn, for each dimension of a tensor, how its gradients hang together."""

from typing import Any

from lossbench.components.optimizers._rules import (
    Scalar,
    Step,
    average,
    average_square,
    bias_correction,
    clock,
    gradient,
    larger,
    plus,
    shrink,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative, Positive, PositiveInt
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

_PRODUCTS = "a product of matrices orders its sums by how many there are"


def _dimensions(params: Tensor, most: int, least: int) -> list[int]:
    """Return the dimensions with a factor of their own: none of a tensor with too few."""
    if params.ndim < least:
        return []
    return [place for place, size in enumerate(params.shape) if 0 < size <= most]


def _factor(grads: Tensor, place: int) -> Tensor:
    """Return the products of all slices of a gradient along a dimension, [size, size]."""
    rows = grads.movedim(place, 0).flatten(1) if grads.ndim > 1 else grads[:, None]
    return rows @ rows.transpose(0, 1)


def _along(matrix: Tensor, values: Tensor, place: int) -> Tensor:
    """Multiply a tensor by a matrix along a dimension."""
    moved = values.movedim(place, 0)
    return (matrix @ moved.reshape(moved.shape[0], -1)).reshape(moved.shape).movedim(0, place)


def _eye(params: Tensor, place: int) -> Tensor:
    return torch.eye(params.shape[place], dtype=params.dtype, device=params.device)


def _init_shampoo(params: Tensor, **knobs: Any) -> State:
    """Start each factor at eps, and what multiplies the gradient at nothing known."""
    state = {}
    for place in _dimensions(params, knobs["max_dim"], least=1):
        state[f"factor_{place}"] = _eye(params, place) * knobs["eps"]
        state[f"root_{place}"] = _eye(params, place)
    return state


@optimizer(scope="tensor", init=_init_shampoo, inexact=_PRODUCTS)
def shampoo(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 0.1,
    eps: Positive = 1e-4,
    weight_decay: NonNegative = 0.0,
    update_freq: PositiveInt = 1,
    max_dim: PositiveInt = 8192,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Divide a matrix's gradient from both sides by the size of its past rows and columns.

    Formula:    L = L + g g^T;  R = R + g^T g, both from eps times the unit matrix
                p = p - lr L^(-1/4) g R^(-1/4)
                for k dimensions: a factor for each, to the power -1 / (2 k)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]; a factor [size, size] for each dimension
    Knobs:
        lr: size of the step.
        eps: what the factors start at.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        update_freq: steps from one computation of the roots to the next.
        max_dim: a dimension that is longer has no factor.
        maximize: climb instead of descend.
    Note:       The paper's own rule: without the grafting of a step size that later code adds.
    Reference:  Gupta, Koren & Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    direction = grads
    new: State = {}
    for place in _dimensions(params, max_dim, least=1):
        factor = state[f"factor_{place}"] + _factor(grads, place)
        root = _renewed(state[f"root_{place}"], factor, step, update_freq, params.ndim, eps)
        direction = _along(root, direction, place)
        new |= {f"factor_{place}": factor, f"root_{place}": root}
    return plus(params, direction, -lr), new


def _renewed(
    old: Tensor, factor: Tensor, step: Step, every: int, order: int, eps: Scalar
) -> Tensor:
    """Return factor^(-1 / (2 order)) at the first step and every so many steps, else the old."""
    if isinstance(step, int) and (step - 1) % every:
        return old
    values, vectors = torch.linalg.eigh(factor)
    powers = larger(values, eps) ** (-0.5 / order)
    root: Tensor = (vectors * powers) @ vectors.transpose(-1, -2)
    if isinstance(step, int):
        return root
    return torch.where((step - 1) % every == 0, root, old)


def _init_soap(params: Tensor, **knobs: Any) -> State:
    """Start with empty factors; the first step finds the bases."""
    state = zeros("exp_avg", "exp_avg_sq")(params)
    least = 1 if knobs["precondition_1d"] else 2
    for place in _dimensions(params, knobs["max_precondition_dim"], least):
        state[f"factor_{place}"] = torch.zeros_like(_eye(params, place))
        state[f"basis_{place}"] = _eye(params, place)
    return state


@optimizer(
    scope="tensor",
    init=_init_soap,
    decoupled=True,
    inexact=_PRODUCTS,
)
def soap(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 3e-3,
    betas: tuple[Decay, Decay] = (0.95, 0.95),
    shampoo_beta: Decay | None = None,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.01,
    precondition_frequency: PositiveInt = 10,
    max_precondition_dim: PositiveInt = 10000,
    precondition_1d: bool = False,
    correct_bias: bool = True,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Adam in a rotated space: along the directions in which `shampoo` finds the gradients to lie.

    Formula:    G = Q_L^T g Q_R;  v = b2 v + (1 - b2) G^2;  m = b1 m + (1 - b1) g
                p = p - lr Q_L (Q_L^T m Q_R / (sqrt(v) + eps)) Q_R^T, bias-corrected as Adam
                p = p (1 - lr weight_decay)
                L = b L + (1 - b) g g^T;  R = b R + (1 - b) g^T g
                Q_L, Q_R: eigenvectors of L and R at the first step, which moves nothing; later
                one step of the power iteration (Q from the QR decomposition of L Q) now and then
    Shapes:     params, grads [...] -> [...]; a factor [size, size] for each dimension
    Knobs:
        lr: size of the step.
        betas: shares of the averages of the gradient and of its square that are kept.
        shampoo_beta: share b of the factors that is kept; none for the second beta.
        eps: keeps the divisor from 0; added before the bias correction.
        weight_decay: share of the weights that a step of rate 1 would take away.
        precondition_frequency: steps from one change of the bases to the next.
        max_precondition_dim: a dimension that is longer is not rotated.
        precondition_1d: rotate vectors too; if false, they are Adam's.
        correct_bias: correct the averages as Adam does.
        maximize: climb instead of descend.
    Note:       A first batch of few samples has a gradient of few directions; the axes across them
                are then any, and rounding chooses them: runs agree to two digits, not to six.
    Reference:  Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2 = betas
    keep = beta2 if shampoo_beta is None else shampoo_beta
    places = _dimensions(params, max_precondition_dim, least=1 if precondition_1d else 2)
    rotated = _rotated(grads, state, places)
    exp_avg = average(state["exp_avg"], grads, 1 - beta1)
    exp_avg_sq = average_square(state["exp_avg_sq"], rotated, beta2)
    time = larger(clock(step, params) - 1, 1)
    rate: Any = lr
    if correct_bias:
        rate = lr * bias_correction(beta2, time) ** 0.5 / bias_correction(beta1, time)
    direction = _rotated(exp_avg, state, places) / (torch.sqrt(exp_avg_sq) + eps)
    for place in places:
        direction = _along(state[f"basis_{place}"], direction, place)
    moved = shrink(plus(params, direction, -rate), lr, weight_decay)
    first = step == 1
    new = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    still = {"exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}
    new, moved = _chosen(first, still, new), _chosen(first, params, moved)
    turn = (step - 1) % precondition_frequency == 0
    for place in places:
        factor = average(state[f"factor_{place}"], _factor(grads, place), 1 - keep)
        basis, order = _turned(factor, state[f"basis_{place}"], first, turn)
        new[f"factor_{place}"], new[f"basis_{place}"] = factor, basis
        new["exp_avg_sq"] = new["exp_avg_sq"].index_select(place, order)
    return moved, new


def _rotated(values: Tensor, state: State, places: list[int]) -> Tensor:
    """Return a tensor in the bases."""
    for place in places:
        values = _along(state[f"basis_{place}"].transpose(0, 1), values, place)
    return values


def _chosen(condition: Any, one: Any, other: Any) -> Any:
    """Return one of two, tensor by tensor where the condition is a tensor."""
    if isinstance(one, dict):
        return {name: _chosen(condition, one[name], other[name]) for name in one}
    if isinstance(condition, bool):
        return one if condition else other
    return torch.where(condition, one, other)


def _turned(factor: Tensor, basis: Tensor, first: Any, turn: Any) -> tuple[Tensor, Tensor]:
    """Return the next basis, and in which order of the old one its vectors are."""
    same = torch.arange(len(factor), device=factor.device)
    plain_step = isinstance(first, bool)
    if plain_step and not (first or turn):
        return basis, same
    if plain_step and first:
        return _eigenvectors(factor), same
    product = factor @ basis
    order = torch.argsort((basis * product).sum(0), descending=True, stable=True)
    powered = torch.linalg.qr(product.index_select(1, order)).Q
    if plain_step:
        return powered, order
    fresh = torch.where(turn, powered, basis)
    return torch.where(first, _eigenvectors(factor), fresh), torch.where(turn & ~first, order, same)


def _eigenvectors(factor: Tensor) -> Tensor:
    """Return the eigenvectors as columns, that of the largest eigenvalue first."""
    return torch.linalg.eigh(factor).eigenvectors.flip(-1)
