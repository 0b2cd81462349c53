"""Rules that look at the sign of a direction only: every weight moves by the same amount."""

from lossbench.components.declarations import Identity
from lossbench.components.optimizers._rules import Step, average, gradient, plus, shrink
from lossbench.components.rules import State, zeros
from lossbench.components.vocabulary import Decay, NonNegative
from lossbench.lazy import Tensor, torch
from lossbench.registry import optimizer

_SIGN_OF_GRADIENT = Identity("signsgd", when={"betas": (0.0, 0.0)}, knobs={"lr": 1e-4})


@optimizer(init=zeros("exp_avg"), decoupled=True, identities=(_SIGN_OF_GRADIENT,))
def lion(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-4,
    betas: tuple[Decay, Decay] = (0.9, 0.99),
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Step by the sign of a mix of the average gradient and the new one: one state, one size.

    Formula:    p = p (1 - lr weight_decay) - lr sign(b1 m + (1 - b1) g)
                m = b2 m + (1 - b2) g
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step of every weight; a third to a tenth of what suits `adamw`.
        betas: share of the average in the direction, and share of it that is kept.
        weight_decay: share of the weights that a step of rate 1 would take away.
        maximize: climb instead of descend.
    Note:       The direction looks further back than the average it is made of: b1 < b2.
    Reference:  Chen et al., Symbolic Discovery of Optimization Algorithms, 2023.
    """
    if maximize:
        grads = torch.neg(grads)
    beta1, beta2 = betas
    direction = torch.sign(average(state["exp_avg"], grads, 1 - beta1))
    moved = plus(shrink(params, lr, weight_decay), direction, -lr)
    return moved, {"exp_avg": average(state["exp_avg"], grads, 1 - beta2)}


@optimizer(
    init=zeros("exp_avg"),
    decoupled=True,
    identities=(
        Identity("signsgd", when={"beta": 0.0, "weight_decay": 0.0}),
        Identity("lion", when={"beta": 0.9}, knobs={
            "lr": 1e-3, "betas": (0.9, 0.9), "weight_decay": 0.01,
        }),
    ),
)  # fmt: skip
def tiger(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-3,
    beta: Decay = 0.965,
    weight_decay: NonNegative = 0.01,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Step by the sign of the average gradient: `lion` with a single share.

    Formula:    m = beta m + (1 - beta) g
                p = p (1 - lr weight_decay) - lr sign(m)
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step of every weight.
        beta: share of the average that is kept.
        weight_decay: share of the weights that a step of rate 1 would take away.
        maximize: climb instead of descend.
    Reference:  Su, Tiger: A Tight-fisted Optimizer, 2023.
    """
    if maximize:
        grads = torch.neg(grads)
    exp_avg = average(state["exp_avg"], grads, 1 - beta)
    moved = plus(shrink(params, lr, weight_decay), torch.sign(exp_avg), -lr)
    return moved, {"exp_avg": exp_avg}


@optimizer()
def signsgd(
    params: Tensor,
    grads: Tensor,
    state: State,
    step: Step,  # noqa: ARG001 - every rule is told the step
    *,
    lr: NonNegative = 1e-3,
    weight_decay: NonNegative = 0.0,
    maximize: bool = False,
) -> tuple[Tensor, State]:
    """Step by the sign of the gradient: how steep it is counts for nothing.

    Formula:    p = p - lr sign(g)
                where g includes weight_decay p
    Shapes:     params, grads [...] -> [...]
    Knobs:
        lr: size of the step of every weight.
        weight_decay: strength of the L2 penalty, which joins the gradient.
        maximize: climb instead of descend.
    Note:       Near a minimum it goes to and fro by lr: give it a falling rate.
    Reference:  Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.
    """
    grads = gradient(params, grads, weight_decay, maximize)
    return plus(params, torch.sign(grads), -lr), state
