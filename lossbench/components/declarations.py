"""What a component of each kind declares besides its formula: the facts in its decorator.

The rest of the program reads these declarations and knows no component by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lossbench.components.samples import Draw
from lossbench.components.vocabulary import (
    Encoding,
    PredictionKind,
    Slot,
    Target,
    TargetKind,
)
from lossbench.lazy import Tensor


@dataclass(frozen=True)
class Identity:
    """A claim that a component, when some of its knobs have these values, is another one.

    `other` is the name of one of the same kind, `knobs` are what it is called with, and its values
    are multiplied by `times`. `lossbench check` holds every claim against both formulas.
    """

    other: str
    when: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    times: float = 1.0


@dataclass(frozen=True)
class Parameter:
    """A learned parameter of an activation or a loss.

    `value` is its first value, `per` its shape: one number for the whole place in the network, or
    one per channel (dimension 1). Either may be the name of a knob that says it. For losses
    `shape` may instead be a function of (outputs, **knobs), or of (outputs, classes, **knobs) where
    the prediction is an embedding. `initial` draws the first values from the shape. `within` is the
    interval that it is clipped to after each step; all of an activation's share one.
    """

    value: float | str = 0.0
    per: str = "scalar"
    shape: Callable[..., tuple[int, ...]] | None = None
    initial: "Callable[..., Tensor] | None" = None
    within: tuple[float, float] | None = None


@dataclass(frozen=True)
class ActivationFacts:
    """What an activation declares besides its formula.

    range:        lowest and highest value (either may be infinite), for the default knobs.
    kinks:        where the derivative (or the value) jumps; a knob's name stands for its value,
                  "-name" for its negative, a function of (**knobs) for what it returns.
    parameters:   learned parameters, passed by keyword.
    elementwise:  false where a value depends on its neighbours (softmax, GLU).
    output_shape: (shape without the batch dimension, **knobs) -> shape behind it, where it changes.
    random:       draws random numbers in training: the kernel is then told `training`.
    noise:        the keyword under which its formula takes numbers drawn evenly from (0, 1), of the
                  shape of its input: the network gives them in training, and none in evaluation.
    check:        (**knobs) -> None; raises UsageError where knobs contradict each other.
    kernel_knobs: (knobs and learned parameters) -> keyword arguments of the kernel, where torch
                  names or shapes them differently.
    kernel_only:  why no formula can train, where none can.
    detached:     why finite differences do not give its gradient, where a part carries none.
    surrogate:    switches with which the gradient is, on purpose, that of the values without them.
    derivative:   (x, **knobs and learned parameters) -> the analytic derivative by x, for every
                  elementwise one; at a kink, the value that torch gives.
    identities:   which others it is, for which knobs.
    """

    range: tuple[float, float] = (-float("inf"), float("inf"))
    kinks: tuple[float | str | Callable[..., float], ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    elementwise: bool = True
    output_shape: Callable[..., tuple[int, ...]] | None = None
    random: bool = False
    noise: str | None = None
    check: Callable[..., None] | None = None
    kernel_knobs: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    kernel_only: str | None = None
    detached: str | None = None
    surrogate: tuple[str, ...] = ()
    derivative: Callable[..., Any] | None = None
    identities: tuple[Identity, ...] = ()

    def kinks_with(self, knobs: Mapping[str, Any]) -> tuple[float, ...]:
        """Return where the derivative jumps when the knobs have these values, in order."""

        def position(kink: float | str | Callable[..., float]) -> float:
            if callable(kink):
                return float(kink(**knobs))
            if isinstance(kink, str):
                return -float(knobs[kink[1:]]) if kink.startswith("-") else float(knobs[kink])
            return kink

        return tuple(sorted({position(kink) for kink in self.kinks}))


@dataclass(frozen=True)
class LossFacts:
    """What a loss declares besides its formula.

    target:      the encodings it takes, the preferred one first (a single name or a tuple).
    prediction:  what it wants from the network (with the default knobs: see `prediction_with`).
    heads:       further network outputs per target, by argument name: {"variance": "positive"}.
    weight:      (prediction, target, **knobs) -> what the mean divides by, elementwise, where the
                 kernel's `reduction="none"` cannot say it; the formula returns it in its Terms.
    lengths:     (*inputs) -> what each value is divided by before the mean, where torch's mean does
                 so; the formula returns it in its Terms.
    whole_batch: one value for the batch: cannot be accumulated, refuses reduction "none".
    zero_at_target: the loss of a perfect prediction is 0.
    symmetric:   exchanging prediction and target changes nothing.
    parameters:  learned parameters of its own.
    state:       tensors that training changes, by name, with their first value: a number, or a
                 function (outputs, **knobs) -> tensor. The loss takes them by keyword, and returns
                 the new ones in its Terms.
    log_target:  the knob that, where true, wants the logarithms of the targets.
    prediction_by_knobs: (**knobs) -> what it wants from the network, where a knob says it.
    check:       (**knobs) -> None; raises UsageError where knobs contradict each other.
    largest:     the largest size of a prediction at which the values still fit into float32, for
                 losses that grow exponentially.
    kernel_knobs: (knobs and further inputs) -> keyword arguments of the kernel, where torch names
                 them differently.
    prefer_formula: why impl "auto" takes the formula although torch has a kernel.
    kernel_only: why there is no formula, where there is none.
    inputs:      what each input is, by argument name and in order, where a loss takes others than a
                 prediction and a target: {"anchor": "embedding", "positive": "embedding", ...}.
    parts:       the players of a game, where each has a loss of its own: the formula then takes
                 `part`, one of these names.
    outputs:     (size of the target, **knobs) -> how many outputs the prediction has, where it is
                 not one for each value or class.
    show:        (raw outputs, **knobs) -> what metrics are shown by name (`scores` and
                 `probabilities` [N, C, ...], or `values` [N, d]), where `outputs` are others.
    dense:       one prediction for each pixel: predictions [N, C, d...] with targets [N, d...] or
                 [N, C, d...]. It is tried on small images.
    independent: a value depends on its own sample alone (with a whole-batch loss none does).
    ordered:     why the order of the samples matters, where it does.
    detached:    why finite differences do not give its gradient, where a part carries none.
    derivative:  (prediction, target, **knobs) -> the analytic derivative of each value by its own
                 prediction, for elementwise losses of a residual or a margin.
    identities:  which others it is, for which knobs.
    forms:       others that are the same loss for other inputs: labelled samples for two views, ...
    masks:       its targets are masks, one per class, which may be empty.
    sample:      (draw) -> inputs by name, where those drawn by their kind would not do.
    """

    target: Encoding | tuple[Encoding, ...] = ()
    prediction: PredictionKind = "real"
    heads: Mapping[str, PredictionKind] = field(default_factory=dict)
    weight: "Callable[..., Tensor | None] | None" = None
    lengths: "Callable[..., Tensor] | None" = None
    whole_batch: bool = False
    zero_at_target: bool = False
    symmetric: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    state: "Mapping[str, float | Callable[..., Tensor]]" = field(default_factory=dict)
    log_target: str | None = None
    prediction_by_knobs: Callable[..., PredictionKind] | None = None
    check: Callable[..., None] | None = None
    largest: float = float("inf")
    kernel_knobs: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    prefer_formula: str | None = None
    kernel_only: str | None = None
    inputs: Mapping[str, Slot] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    outputs: Callable[..., int] | None = None
    show: "Callable[..., dict[str, Tensor]] | None" = None
    dense: bool = False
    independent: bool = True
    ordered: str | None = None
    detached: str | None = None
    derivative: Callable[..., Any] | None = None
    identities: tuple[Identity, ...] = ()
    forms: tuple[str, ...] = ()
    masks: bool = False
    sample: "Callable[[Draw], dict[str, Any]] | None" = None

    def prediction_with(self, knobs: Mapping[str, Any]) -> PredictionKind:
        """Return what it wants from the network when the knobs have these values."""
        if self.prediction_by_knobs is None:
            return self.prediction
        return self.prediction_by_knobs(**knobs)

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """The encodings it takes, the preferred one first."""
        return (self.target,) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class DistanceFacts:
    """What a distance or similarity declares besides its formula.

    The formula takes aligned pairs x1, x2 [..., D] that broadcast against each other, and gives
    [...]; so the full matrix of two sets is the formula on x1 [P, 1, D] and x2 [1, R, D].

    slot:       what the points are: "embedding" (any vectors), "boxes", ...
    range:      lowest and highest value (either may be infinite).
    symmetric:  exchanging the two points changes nothing.
    zero_at_equal: equal points have distance 0.
    sets:       it compares two sets of points [N, D], [M, D] as wholes: there is no full matrix.
    matrix:     it gives the full matrix, or an upper triangle, by itself.
    check:      (**knobs) -> None; raises UsageError where knobs contradict each other.
    kernel_knobs: (knobs) -> keyword arguments of the kernel, where torch names them differently.
    prefer_formula: why impl "auto" takes the formula although torch has a kernel.
    detached:   why finite differences do not give its gradient, where a part carries none.
    identities: which others it is, for which knobs.
    sample:     (draw) -> inputs by name, where those drawn by their kind would not do.
    """

    slot: Slot = "embedding"
    range: tuple[float, float] = (0.0, float("inf"))
    symmetric: bool = True
    zero_at_equal: bool = True
    sets: bool = False
    matrix: bool = False
    check: Callable[..., None] | None = None
    kernel_knobs: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    prefer_formula: str | None = None
    kernel_only: str | None = None
    detached: str | None = None
    identities: tuple[Identity, ...] = ()
    sample: "Callable[[Draw], dict[str, Any]] | None" = None


@dataclass(frozen=True)
class LayerFacts:
    """What a layer declares.

    dimensions:       the numbers of dimensions behind the batch that it accepts.
    noisy:            draws noise in training.
    batch_statistics: what a sample becomes in training depends on the rest of the batch.
    """

    dimensions: tuple[int, ...] = ()
    noisy: bool = False
    batch_statistics: bool = False


@dataclass(frozen=True)
class NetworkFacts:
    """What a network declares.

    inputs: what it takes; "any" makes a vector of whatever arrives, where it needs one.
    check:  (**knobs) -> None; raises UsageError where the knobs contradict each other (ConfigError
            where several things are wrong at once). Needs no torch.
    brought: it stands for the module that a dataset brings (Data.model), and goes with no other.
    dense:  it answers for every pixel of an image: outputs [N, C, H, W].
    """

    inputs: Literal["image", "volume", "any"] = "any"
    check: Callable[..., None] | None = None
    brought: bool = False
    dense: bool = False


@dataclass(frozen=True)
class DatasetFacts:
    """What a dataset declares.

    target: the kind of its targets, with the number of classes or values where it never changes;
            none where only reading the data tells.
    inputs: the shape of one input, where it never changes.
    real:   measured data, not a formula.
    network: the one network that goes with it, where the data bring what is trained (Data.model).
    batch_size: that of a run which names none, where the usual one would make no sense.
    validation: brings validation samples of its own, whatever the config's split; none where only
             reading the data tells.
    """

    target: Target | TargetKind | None
    inputs: tuple[int, ...] | None = None
    real: bool = False
    network: str | None = None
    batch_size: int | Literal["full"] | None = None
    validation: bool | None = False


@dataclass(frozen=True)
class MetricFacts:
    """What a metric declares.

    target:     the kinds of dataset target it is for.
    prediction: what it is shown of the network, for a whole split and beside the target as the
                dataset has it (class indices, never encoded): `values` [N, d] in the data's own
                units; `scores` [N, C, ...], where the largest wins, and for multilabel [N, L],
                where a label is present above 0; `probabilities` of the same shapes (present
                above 0.5), refused where the loss has none. Two classes are shown as two columns,
                also where the network has one output. Of an objective: the `values` [N, 1] of the
                function, or the `point` [N, d], beside the minima [N, m, d].
    lower_is_better: the direction; none where no value is better than another (a coordinate): it
                is recorded, but nothing may be chosen by it.
    least_size: the smallest Target.size that it can be computed for.
    vmaps:      never looks at a value to decide: it may be computed for all trials at once.
    """

    target: tuple[TargetKind, ...]
    prediction: Literal["values", "scores", "probabilities", "point"] = "values"
    lower_is_better: bool | None = False
    least_size: int = 1
    vmaps: bool = False
