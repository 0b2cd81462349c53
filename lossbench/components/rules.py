"""What a rule that changes weights or rates declares besides its formula: optimizers, schedules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import Applied
from lossbench.lazy import torch

State = dict[str, Any]
"""An optimizer's state: tensors laid out like the parameters, by name."""


class Init(Protocol):
    """Makes an optimizer's first state."""

    def __call__(self, params: Any, **knobs: Any) -> State:
        """Return the state before the first step."""
        ...


def zeros(*names: str) -> Init:
    """Return an `init` that starts each named state at zeros of the parameters' shape."""

    def init(params: Any, **knobs: Any) -> State:  # noqa: ARG001 - the contract passes every knob
        return {name: torch.zeros_like(params) for name in names}

    return init


Scope = Literal["element", "tensor", "model"]
SCOPES: tuple[Scope, ...] = ("element", "tensor", "model")
"""How much of a model a rule sees at once, from the least to the most."""


def _of_base(evaluate: Callable[..., Any] | None, knobs: Mapping[str, Any]) -> Any:
    """Return how a wrapper evaluates that has no averages of its own: as its base does."""
    if evaluate is None:
        return None
    return lambda params, state, **_: evaluate(params, state["base"], **knobs)


def _with(second_pass: Callable[..., Any] | None, knobs: Mapping[str, Any]) -> Any:
    """Return where the base takes its second gradient, whatever the wrapper's own knobs."""
    if second_pass is None:
        return None
    return lambda params, grads, **_: second_pass(params, grads, **knobs)


@dataclass(frozen=True)
class OptimizerFacts:
    """What an optimizer declares besides its update rule.

    scope:       "element": written for one tensor of any layout, every element by itself;
                 "tensor": needs one parameter tensor at a time; "model": sums over all of them,
                 which lie along the last dimension [..., parameters].
    init:        the first state; its names are those of torch.optim's state where torch has them.
    decoupled:   weight decay shrinks the weights directly instead of joining the gradient (with
                 the default knobs: `decoupled_weight_decay` may say otherwise).
    evaluate:    (params, state, **knobs) -> the weights to evaluate with, where they are others.
    second_pass: (params, grads, **knobs) -> the weights at which the gradient is taken once more:
                 the step is then made from `params` with that second gradient. Sums over the model
                 run over the last dimension, as with scope "model".
    kernel_knobs: (knobs) -> keyword arguments of the torch class, where the names differ.
    matrices_only: it is for 2-D parameters only; the rest go to the optimizer in this knob.
    sparse_gradients: its kernel takes gradients in sparse layout only (`grad.to_sparse()`).
    closure:     asks for the loss several times per step.
    inexact:     why a trial in a group differs in the last digits from the trial alone, if it does.
    wraps:       the knob that holds the optimizer that makes the steps, for a wrapper: its scope
                 and rate are that one's (see `resolved`), and `lr: null` means that one's own. The
                 state of the wrapped one is kept under "base".
    check:       (knobs) -> what is wrong, where knobs that are each valid do not go together.
    kernel_only: why there is no formula, where there is none.
    in_place:    (params, grads, state, step, *, lr, knobs) -> None: torch's kernel that makes the
                 whole step in one pass, where there is one. It changes lists of flat tensors (the
                 state's by name), and all knobs are plain numbers.
    identities:  which others it is, for which knobs.
    """

    scope: Scope = "element"
    init: Init = field(default_factory=zeros)
    decoupled: bool = False
    evaluate: Callable[..., Any] | None = None
    second_pass: Callable[..., Any] | None = None
    kernel_knobs: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    matrices_only: str | None = None
    sparse_gradients: bool = False
    closure: bool = False
    inexact: str | None = None
    wraps: str | None = None
    check: Callable[[Mapping[str, Any]], str | None] | None = None
    kernel_only: str | None = None
    in_place: Callable[..., None] | None = None
    identities: tuple[Identity, ...] = ()

    def resolved(self, knobs: Mapping[str, Any]) -> "OptimizerFacts":
        """Return the declaration as it is with these knobs: a wrapper takes on its base's."""
        base = knobs.get(self.wraps) if self.wraps else None
        if not isinstance(base, Applied):
            return self
        inner = base.facts.resolved(base.knobs)
        own, below = SCOPES.index(self.scope), SCOPES.index(inner.scope)
        return replace(
            self,
            scope=SCOPES[max(own, below)],
            decoupled=inner.decoupled,
            kernel_only=inner.kernel_only,
            inexact=self.inexact or inner.inexact,
            evaluate=self.evaluate or _of_base(inner.evaluate, base.knobs),
            second_pass=self.second_pass or _with(inner.second_pass, base.knobs),
        )


@dataclass(frozen=True)
class ScheduleFacts:
    """What a schedule declares besides its formula.

    unit:     what `step` and `total` count: optimizer steps or epochs, as at its origin.
    total:    whether the rate depends on the length of the run (continuing then needs care); a
              knob's name where it does so as long as that knob is none, or (knobs) -> whether it
              does. `needs_total` says it.
    momentum: (step, total, *, knobs) -> the momentum where the origin cycles it; it returns none
              where these knobs leave it alone.
    state:    () -> first state, for the one that watches a metric: it is then called
              `(base, state, metric, *, knobs) -> (rate, new state)` once per unit.
    chained:  what torch's code makes of a rate that another schedule left: "factor" multiplies it
              by the schedule's own change, "absolute" overwrites it; or the straight line
              (base, step, total, *, knobs) -> (slope, offset).
    continues: in a sequence it starts from the rate that it finds, not from the base.
    check:    (knobs) -> what is wrong, where knobs that are each valid do not go together.
    python_only: why YAML cannot say it, where it cannot.
    """

    unit: Literal["step", "epoch"] = "epoch"
    total: bool | str | Callable[[Mapping[str, Any]], bool] = False
    momentum: Callable[..., Any] | None = None
    state: Callable[..., dict[str, Any]] | None = None
    chained: Literal["factor", "absolute"] | Callable[..., tuple[Any, Any]] = "factor"
    continues: bool = False
    check: Callable[[Mapping[str, Any]], str | None] | None = None
    python_only: str | None = None

    def needs_total(self, knobs: Mapping[str, Any]) -> bool:
        """Tell whether the rate depends on the length of the run with these knobs."""
        if callable(self.total):
            return self.total(knobs)
        return knobs.get(self.total) is None if isinstance(self.total, str) else self.total
