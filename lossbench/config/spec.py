"""What a run is: frozen values, complete, with every default filled in.

A RunSpec is what remains of a YAML file once everything in it has been checked. Two equal specs
train the same run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

NOTHING: Mapping[str, Any] = MappingProxyType({})

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

    seed: int = 0
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    standardize: bool | None = None
    standardize_target: bool | None = None
    label_noise: float = 0.0


@dataclass(frozen=True)
class OptimizerOptions:
    """The keys that every optimizer block may hold: what weight decay acts on."""

    weight_decay_on: Literal["weights", "all"] = "weights"


@dataclass(frozen=True)
class ScheduleOptions:
    """The keys that every schedule block may hold: what it counts; by default as at its origin."""

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
    knobs: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    options: Options = field(default_factory=NoOptions)
    impl: Implementation = "auto"
    file: Path | None = None


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the metric has not improved by `min_delta` for `patience` evaluations."""

    metric: str = "validation/loss"
    patience: int = 10
    min_delta: float = 0.0


@dataclass(frozen=True)
class TrainSpec:
    """How long, how, and on what a run trains.

    epochs:           passes over the training data.
    batch_size:       samples per step, or "full" for all of them.
    seed:             makes the weights, the order of the batches and the noise.
    device:           auto, cpu, cuda, cuda:1, mps.
    accumulate:       batches whose gradients make one step.
    clip_norm/value:  bound of the gradient's norm, of each of its elements; none for no bound.
    amp:              mixed precision: off, bfloat16 or float16.
    evaluate_every:   epochs between evaluations on validation data (the last epoch always is).
    monitor:          the metric whose best weights are kept; validation loss where there is one.
    checkpoint_every: seconds between checkpoints.
    step:             auto, fused or plain: which of the two steps trains.
    threads:          intra-op threads of torch, or auto.
    drop_last:        leave out the last batch where it is smaller.
    """

    epochs: int = 10
    batch_size: int | Literal["full"] = 32
    seed: int = 0
    device: str = "auto"
    accumulate: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    amp: Literal["off", "bfloat16", "float16"] = "off"
    evaluate_every: int = 1
    monitor: str | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint_every: float = 30.0
    step: Literal["auto", "fused", "plain"] = "auto"
    threads: int | Literal["auto"] = "auto"
    drop_last: bool = False


@dataclass(frozen=True)
class RunSpec:
    """One run, whole."""

    name: str
    dataset: Choice
    network: Choice
    activation: Choice
    loss: Choice
    optimizer: Choice
    schedule: Choice | None = None
    metrics: tuple[Choice, ...] = ()
    train: TrainSpec = field(default_factory=TrainSpec)
