"""What a run is: frozen values, complete, with every default filled in.

A RunSpec is what remains of a YAML file once everything in it has been checked. Two equal specs
train the same run.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from pydantic import AfterValidator

from lossbench.components.vocabulary import Decay, NonNegative, Positive, PositiveInt, Probability


def _whole(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    """Refuse shares that do not make up the whole."""
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"shares that sum to 1 (these sum to {sum(shares):g})")
    return shares


def _device(name: str) -> str:
    """Refuse what is no device; whether the machine has it is seen later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise ValueError("auto, cpu, mps, cuda or cuda:0")
    return name


def _folder_name(name: str) -> str:
    """Refuse a name that cannot be a folder's on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or name.endswith("."):
        raise ValueError(
            "at most 100 letters, digits, '-', '_' and '.', beginning with a letter or digit"
        )
    return name


# The annotation of a field is its declaration, as with a component's knobs: config/values.py
# checks a config against it, config/schema.py tells editors.

Seed = Annotated[int, Ge(0), Lt(2**63)]
Shares = Annotated[tuple[Positive, Probability, Probability], AfterValidator(_whole)]
Device = Annotated[str, AfterValidator(_device)]
RunName = Annotated[str, AfterValidator(_folder_name)]

Implementation = Literal["auto", "formula", "kernel"]


@dataclass(frozen=True)
class DatasetOptions:
    """The keys that every dataset block may hold besides the dataset's own knobs.

    seed:               makes and splits the data; shared by all trials of a comparison.
    split:              shares of training, validation and test data (ignored by data that come
                        in ready splits).
    standardize:        inputs to mean 0 and deviation 1, fitted on the training part; by default
                        as suits the data.
    standardize_target: the same for real targets; metrics and predictions stay in the data's units.
    label_noise:        share of the training labels replaced by another class at random.
    """

    seed: Seed = 0
    split: Shares = (0.7, 0.15, 0.15)
    standardize: bool | None = None
    standardize_target: bool | None = None
    label_noise: Decay = 0.0


@dataclass(frozen=True)
class OptimizerOptions:
    """The keys that every optimizer block may hold.

    weight_decay_on: what weight decay shrinks: weights (no bias, no norm, no learned slope), or
                     all parameters, as torch does.
    """

    weight_decay_on: Literal["weights", "all"] = "weights"


@dataclass(frozen=True)
class ScheduleOptions:
    """The keys that every schedule block may hold.

    unit: what it counts: step or epoch; by default as at its origin.
    """

    unit: Literal["step", "epoch"] | None = None


@dataclass(frozen=True)
class NoOptions:
    """For the kinds whose blocks hold knobs only."""


Options = DatasetOptions | OptimizerOptions | ScheduleOptions | NoOptions

OPTIONS: Mapping[str, type[Options]] = {
    "dataset": DatasetOptions,
    "optimizer": OptimizerOptions,
    "schedule": ScheduleOptions,
}


@dataclass(frozen=True)
class Choice:
    """A component that was chosen: its name and every knob.

    `name` is the registered name, or the reference to the user's own (`file` is then that file).
    `options` are the keys of the block that are no knobs (see OPTIONS). `impl` says whether the
    formula or torch's kernel computes it. A nested component's knob holds a Choice (or a tuple of
    them).
    """

    kind: str
    name: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=NoOptions)
    impl: Implementation = "auto"
    file: Path | None = None


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the metric has not improved by `min_delta` for `patience` evaluations.

    metric:    validation/loss, or validation/ and the name of one of the metrics.
    patience:  evaluations without an improvement before the run stops.
    min_delta: what counts as an improvement: more than this.
    """

    metric: str = "validation/loss"
    patience: PositiveInt = 10
    min_delta: NonNegative = 0.0


@dataclass(frozen=True)
class TrainSpec:
    """How long, how, and on what a run trains.

    epochs:           passes over the training data.
    batch_size:       samples per step, or "full" for all of them; the problems with a known answer
                      (surface, quadratic, ...) have defaults of their own in place of this one.
    seed:             makes the weights, the order of the batches and the noise.
    device:           auto, cpu, cuda, cuda:1, mps.
    accumulate:       batches whose gradients make one step.
    clip_norm:        bound of the gradient's norm; none for no bound.
    clip_value:       bound of each element of the gradient; none for no bound.
    amp:              mixed precision: off, bfloat16 or float16.
    evaluate_every:   epochs between evaluations on validation data (the last epoch always is).
    monitor:          the metric whose best weights are kept; validation loss where there is one.
    early_stopping:   the metric to watch, patience and min_delta; none to train to the end.
    checkpoint_every: seconds between checkpoints.
    step:             auto, fused or plain: which of the two steps trains.
    threads:          intra-op threads of torch, or auto.
    drop_last:        leave out the last batch where it is smaller.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt | Literal["full"] = 32
    seed: Seed = 0
    device: Device = "auto"
    accumulate: PositiveInt = 1
    clip_norm: Positive | None = None
    clip_value: Positive | None = None
    amp: Literal["off", "bfloat16", "float16"] = "off"
    evaluate_every: PositiveInt = 1
    monitor: str | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint_every: Positive = 30.0
    step: Literal["auto", "fused", "plain"] = "auto"
    threads: PositiveInt | Literal["auto"] = "auto"
    drop_last: bool = False


@dataclass(frozen=True)
class RunSpec:
    """One run, whole."""

    name: RunName
    dataset: Choice
    network: Choice
    activation: Choice
    loss: Choice
    optimizer: Choice
    schedule: Choice | None = None
    metrics: tuple[Choice, ...] = ()
    train: TrainSpec = field(default_factory=TrainSpec)

    def components(self) -> Iterator[Choice]:
        """Yield every component of the run, those within knobs included."""
        for part in fields(self):
            yield from _choices(getattr(self, part.name))

    def own_files(self) -> tuple[Path, ...]:
        """Return the user's own files that the run is made of."""
        files = (choice.file for choice in self.components() if choice.file is not None)
        return tuple(dict.fromkeys(files))


def _choices(value: Any) -> Iterator[Choice]:
    if isinstance(value, tuple):
        for item in value:
            yield from _choices(item)
    elif isinstance(value, Choice):
        yield value
        for knob in value.knobs.values():
            yield from _choices(knob)
