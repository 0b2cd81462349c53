"""The words that components share: ranges of knobs, kinds of target and prediction, samples.

A component is a formula with keyword-only knobs. What the formula alone cannot say is declared in
the decorator (components/declarations.py) with the words of this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from lossbench.lazy import Tensor, nn, np

# --- ranges of knobs --------------------------------------------------------------------------
# A knob's annotation is its declaration. Knobs of type `float` (and fixed tuples of them) may be
# 0-d tensors and may differ between the trials of one fused group; `int`, `bool` and `str` may not.

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]

if TYPE_CHECKING:
    Weights = Tensor
else:
    Weights = tuple[NonNegative, ...]
"""One non-negative number per class or output: a list in a config. A knob that is a list of any
length reaches the formula and the kernel as a tensor of the prediction's dtype and device."""


@dataclass(frozen=True)
class Nested:
    """Marks a knob that is itself a component: `base: Annotated[Any, Nested("optimizer")]`.

    YAML gives a bare name or a `{name: ...}` block; the component receives an `Applied`. With
    `many`, the knob is a list of them.
    """

    kind: str
    many: bool = False


@dataclass(frozen=True)
class FilePath:
    """Marks a knob that names a file: relative paths are taken from the config's own folder."""

    must_exist: bool = True


@dataclass(frozen=True)
class Applied:
    """A component with its knobs filled in: what a `Nested` knob turns into.

    `kernel` is torch's own function or class, where there is one and it may be used.
    """

    name: str
    function: Callable[..., Any]
    facts: Any
    knobs: Mapping[str, Any]
    kernel: Callable[..., Any] | None = None

    @property
    def rate(self) -> float:
        """An optimizer's learning rate; a wrapper without its own has its base's."""
        rate = self.knobs.get("lr")
        if rate is not None:
            return float(rate)
        base: Applied = self.knobs[self.facts.wraps]
        return base.rate

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        """Call the formula with the knobs; `more` overrides them."""
        return self.function(*inputs, **{**self.knobs, **more})


def is_off(knob: Any) -> bool:
    """Tell whether a knob is the plain number 0, so that a term of a formula may be skipped.

    A tensor is never off: its values may differ between trials, and a traced formula must not
    look at them.
    """
    return isinstance(knob, int | float) and knob == 0


# --- what a dataset gives and a loss takes ----------------------------------------------------

TargetKind = Literal["real", "count", "class", "multilabel", "distribution", "objective"]
"""What a dataset's targets are: real numbers, counts (0, 1, 2, ...), one of C classes (an index),
a set of labels (zeros and ones), or a probability for each class. An `objective` has none: what is
trained is a point, and what is sought is the known minimum of a function of it."""

Encoding = Literal[
    "real", "count", "index", "zero_one", "plus_minus", "distribution", "labels", "objective",
    "boxes", "image",
]  # fmt: skip
"""The form in which a loss wants its target: floats of the prediction's shape (`real`, `count`),
class indices [N, ...] (`index`), {0, 1} or {-1, 1} of the prediction's shape, probabilities
[N, C, ...], lists of label indices padded with -1 (`labels`), the points of the minimum [N, m, d]
(`objective`), boxes [N, 4] as x1, y1, x2, y2, or images [N, C, H, W] with values in [0, 1]."""

FITS: Mapping[TargetKind, tuple[Encoding, ...]] = {
    "real": ("real",),
    "count": ("count", "real"),
    "class": ("index", "zero_one", "plus_minus", "distribution", "labels"),
    "multilabel": ("zero_one", "plus_minus", "labels"),
    "distribution": ("distribution",),
    "objective": ("objective",),
}
"""Which encodings each kind of target can be given in. Two classes become one {0, 1} or {-1, 1}
output; more become one output per class (one against the rest)."""

PredictionKind = Literal[
    "real", "log", "logits", "scores", "log_probabilities", "probabilities", "positive", "value",
    "embedding", "boxes", "image", "raw",
]  # fmt: skip
"""What a loss wants from the network: any number, its logarithm, logits (softmax or sigmoid are
within the loss), margin scores (the sign decides), the outputs of a log-softmax, of a softmax or
sigmoid, positive numbers (softplus), the value [N] of an objective, an embedding [N, D], boxes
[N, 4] as x1, y1, x2, y2, or an image [N, C, H, W] with values in [0, 1]. `raw` is what a user's own
loss gets that declares nothing: the outputs as they are, which are logits where the targets are
classes or labels."""

Slot = PredictionKind | Encoding | Literal["lengths", "features", "anything"]
"""What one named input of a loss is, where it takes others than a prediction and a target: one of
the words above, numbers of steps [N] (`lengths`), a list of feature maps (`features`), or floats of
any shape (`anything`)."""

NATURAL: tuple[Encoding, ...] = ("real", "index", "zero_one", "distribution")
"""The encodings of a user's own loss that declares nothing: the first that fits the data is taken,
so that real targets stay real, classes are indices, and labels are zeros and ones."""


@dataclass(frozen=True)
class Target:
    """What the targets of a dataset are.

    `size` is the number of values per sample (real, count), of classes, of labels, or of the
    coordinates of an objective's point; `names` the classes' or values' names where they have any.
    """

    kind: TargetKind
    size: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Inputs [N, ...] and targets, as NumPy arrays on the host.

    Inputs: float32; a dataset may give float64, so that standardisation sees every digit.
    Targets: [N, d] float32 (or float64) for real and count, [N, ...] int64 for class, [N, L]
    float32 for multilabel and distribution, [N, m, d] float32 for an objective with m minima.
    """

    inputs: "np.ndarray[Any, Any]"
    targets: "np.ndarray[Any, Any]"

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs)

    def take(self, rows: "np.ndarray[Any, Any]") -> "Samples":
        """Return the samples at these rows, in this order."""
        return Samples(self.inputs[rows], self.targets[rows])


@dataclass(frozen=True)
class Data:
    """What a dataset returns: all samples in one set, still to be split, or in ready splits.

    Exactly one of `samples` and `train` is given; a validation split that is not given is cut
    from `train`. `input_names` names the values of one input, in flattened order. `standardize`
    and `standardize_target` say what suits the data unless the config says otherwise. `floor` is
    the lowest expected value on new data that any model can reach, by metric name and in the
    data's own units, where it is known.

    A problem (targets of kind "objective") brings what is trained: `model` makes a module whose
    parameters are the point and that gives, for inputs [N, ...], raw outputs [N, 1 + d]: the value
    of the function, then the point. It is called under the trial's seed, as a network is. The
    samples of `ordered` data are trained on in their order, never shuffled.
    """

    target: Target
    samples: Samples | None = None
    train: Samples | None = None
    validation: Samples | None = None
    test: Samples | None = None
    input_names: tuple[str, ...] = ()
    standardize: bool = True
    standardize_target: bool = False
    notes: tuple[str, ...] = ()
    floor: Mapping[str, float] = field(default_factory=dict)
    model: "Callable[[], nn.Module] | None" = None
    ordered: bool = False


# --- what a loss returns ----------------------------------------------------------------------


@dataclass(frozen=True)
class Terms:
    """A loss before reduction: its values, what the mean divides by, and its new state.

    The mean is `sum(values) / sum(weight)`; the weight is the number of values unless given, so
    that class weights and ignored samples come out as torch has them. `lengths` are what each value
    is divided by before the mean, and before the mean alone (CTC: the length of its target).
    """

    values: Tensor
    weight: Tensor | None = None
    state: Mapping[str, Tensor] | None = None
    lengths: Tensor | None = None

    def total(self) -> Tensor:
        """Return the sum of the values."""
        return self.values.sum()

    def weight_sum(self) -> Tensor | float:
        """Return what the mean divides by."""
        return float(self.values.numel()) if self.weight is None else self.weight.sum()

    def mean(self) -> Tensor:
        """Return the weighted mean, as torch's `reduction="mean"`."""
        values = self.values if self.lengths is None else self.values / self.lengths
        return values.mean() if self.weight is None else values.sum() / self.weight.sum()


# --- noise ------------------------------------------------------------------------------------

NOISE_KEY = "noise_key"
"""The name of the buffer (int64 [2]: seed, step) that a layer with noise of its own reads.

The training step writes it before every forward pass, so the noise is a function of (seed, step,
place, index): the same alone, in a fused group, and after a resume.
"""
