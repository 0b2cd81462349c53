"""Rules that learn the curvature from several evaluations of the loss."""

from typing import Literal

from lossbench.components.optimizers._rules import Step
from lossbench.components.rules import State
from lossbench.components.vocabulary import NonNegative, PositiveInt
from lossbench.errors import UsageError
from lossbench.lazy import Tensor
from lossbench.registry import optimizer

_WHY = (
    "it evaluates the loss several times within one step, as often as its line search asks, "
    "which no update rule of one gradient can say"
)


@optimizer(kernel="torch.optim.LBFGS", scope="model", closure=True, kernel_only=_WHY)
def lbfgs(
    params: Tensor,  # noqa: ARG001 - the signature is that of every rule
    grads: Tensor,  # noqa: ARG001
    state: State,  # noqa: ARG001
    step: Step,  # noqa: ARG001
    *,
    lr: NonNegative = 1.0,  # noqa: ARG001
    max_iter: PositiveInt = 20,  # noqa: ARG001
    max_eval: PositiveInt | None = None,  # noqa: ARG001
    tolerance_grad: NonNegative = 1e-7,  # noqa: ARG001
    tolerance_change: NonNegative = 1e-9,  # noqa: ARG001
    history_size: PositiveInt = 100,  # noqa: ARG001
    line_search_fn: Literal["strong_wolfe"] | None = None,  # noqa: ARG001
) -> tuple[Tensor, State]:
    """Newton's method with the curvature read off the last steps: for full batches.

    Formula:    p = p - lr H g, with H the inverse Hessian estimated from the last `history_size`
                pairs of (change of p, change of g), `max_iter` times per step
    Shapes:     all parameters together, as one vector
    Knobs:
        lr: factor on the step; the line search starts from it.
        max_iter: iterations within one step.
        max_eval: evaluations of the loss within one step; none for 1.25 max_iter.
        tolerance_grad: stop the step where no gradient is larger.
        tolerance_change: stop the step where neither loss nor weights change by more.
        history_size: pairs that are remembered.
        line_search_fn: strong_wolfe searches along the direction; none takes the step as it is.
    Note:       torch's class alone: with mini-batches the loss must stay the same within a step.
    Errors:     UsageError: there is no formula to call.
    Reference:  Liu & Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization,
                1989.
    """
    raise UsageError(f"lbfgs has no formula: {_WHY}", hint="train it with impl: auto or kernel")
