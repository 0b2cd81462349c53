"""Rules that give every weight a step size of its own, from the gradients it has seen."""

from typing import Annotated, Any

from annotated_types import Gt, Lt

from lossbench.components.optimizers._rules import (
    Step,
    at_first,
    average,
    average_square,
    clock,
    gradient,
    larger,
    plus,
    plus_ratio,
    smaller,
)
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import NonNegative, Positive, Probability, is_off
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer


def _init_adagrad(params: Tensor, **knobs: Any) -> State:
    """Start the sum of squares at its initial value."""
    return {"sum": torch.zeros_like(params) + knobs["initial_accumulator_value"]}


@optimizer(kernel="torch.optim.Adagrad", init=_init_adagrad)
def adagrad(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    lr_decay: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,  # noqa: ARG001 - the first state is made of it
    eps: NonNegative = 1e-10,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Divide each weight's step by the size of all gradients it has seen: rare ones stay quick.

    Formula:    s = s + g^2
                p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the first step.
        lr_decay: how fast the rate falls with the number of the step.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        initial_accumulator_value: what the sum of squares starts at.
        eps: keeps the divisor from 0.
        maximize: climb instead of descend.
    Reference:  Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and
                Stochastic Optimization, 2011.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    total = torch.addcmul(state["sum"], grads, grads)
    rate = lr if is_off(lr_decay) else lr / (1 + (clock(step, params) - 1) * lr_decay)
    return plus_ratio(params, grads, torch.sqrt(total) + eps, -rate), {"sum": total}


@optimizer(kernel="torch.optim.Adadelta", init=zeros("square_avg", "acc_delta"))
def adadelta(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1.0,
    rho: Probability = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Scale the gradient by past steps over past gradients, so that its unit is the weight's.

    Formula:    v = rho v + (1 - rho) g^2
                d = sqrt(u + eps) / sqrt(v + eps) g
                u = rho u + (1 - rho) d^2
                p = p - lr d
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: factor on the step; the rule finds its own size, so 1 is the paper's.
        rho: share of the two running averages that is kept.
        eps: sets the size of the first steps, and keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Reference:  Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    square_avg = average_square(state["square_avg"], grads, rho)
    # One root of the ratio would be cheaper, and overflow in float32 where v is still 0.
    delta = torch.sqrt(state["acc_delta"] + eps) / torch.sqrt(square_avg + eps) * grads
    acc_delta = average_square(state["acc_delta"], delta, rho)
    return plus(params, delta, -lr), {"square_avg": square_avg, "acc_delta": acc_delta}


def _init_rmsprop(params: Tensor, **knobs: Any) -> State:
    """Start with the averages that these knobs need."""
    names = ["square_avg"]
    if knobs["centered"]:
        names.append("grad_avg")
    if not is_off(knobs["momentum"]):
        names.append("momentum_buffer")
    return zeros(*names)(params)


@optimizer(kernel="torch.optim.RMSprop", init=_init_rmsprop)
def rmsprop(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-2,
    alpha: Probability = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum: NonNegative = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Divide the gradient by the size that it has had lately.

    Formula:    v = alpha v + (1 - alpha) g^2
                centered: a = alpha a + (1 - alpha) g, and v - a^2 stands for v below
                b = momentum b + g / (sqrt(v) + eps)
                p = p - lr b
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step.
        alpha: share of the running averages that is kept.
        eps: keeps the divisor from 0.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        momentum: share of the sum of past steps that is kept.
        centered: divide by the deviation of the gradient instead of its size.
        maximize: climb instead of descend.
    Reference:  Tieleman & Hinton, Lecture 6.5 of Neural Networks for Machine Learning, 2012.
                Graves, Generating Sequences With Recurrent Neural Networks, 2013.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    square_avg = average_square(state["square_avg"], grads, alpha)
    state = {**state, "square_avg": square_avg}
    if centered:
        grad_avg = average(state["grad_avg"], grads, 1 - alpha)
        state["grad_avg"] = grad_avg
        square_avg = torch.addcmul(square_avg, grad_avg, grad_avg, value=-1)
    size = torch.sqrt(square_avg) + eps
    if is_off(momentum):
        return plus_ratio(params, grads, size, -lr), state
    direction = grads / size
    buffer = state.get("momentum_buffer")
    if buffer is not None:  # none where a schedule has just switched the momentum on
        direction = plus(direction, buffer, momentum)
    state["momentum_buffer"] = direction
    return plus(params, direction, -lr), state


@optimizer(kernel="torch.optim.Rprop", init=zeros("prev", "step_size"))
def rprop(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,
    *,
    lr: NonNegative = 1e-2,
    etas: tuple[Annotated[float, Gt(0), Lt(1)], Annotated[float, Gt(1)]] = (0.5, 1.2),
    step_sizes: tuple[Positive, Positive] = (1e-6, 50.0),
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Look at signs only: a weight's step grows while its gradient agrees with the last one.

    Formula:    s = clip(s f, smallest, largest), with f = eta+ where g g' > 0,
                eta- where g g' < 0, else 1; s = lr before the first step
                g = 0 where g g' < 0
                p = p - s sign(g);  g' = g
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the first step; no later rate changes anything.
        etas: factors of the step size where the sign changed, and where it did not.
        step_sizes: the smallest and the largest step.
        maximize: climb instead of descend.
    Note:       Made for full batches: with small ones the signs are those of the noise.
    Reference:  Riedmiller & Braun, A Direct Adaptive Method for Faster Backpropagation Learning:
                The RPROP Algorithm, 1993.
    """
    if maximize:
        grads = torch.neg(grads)
    eta_minus, eta_plus = etas
    agreement = grads * state["prev"]
    turned = agreement < 0
    sizes: Any = at_first(step, torch.zeros_like(params) + lr, state["step_size"], params)
    sizes = torch.where(
        turned, sizes * eta_minus, torch.where(agreement > 0, sizes * eta_plus, sizes)
    )
    sizes = smaller(larger(sizes, step_sizes[0]), step_sizes[1])
    grads = torch.where(turned, 0.0, grads)
    params = torch.addcmul(params, torch.sign(grads), sizes, value=-1)
    return params, {"prev": grads, "step_size": sizes}
