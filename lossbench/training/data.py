"""From a chosen dataset to arrays that can be trained on: split, checked, standardised.

Everything random here is a function of `dataset.seed` alone, so that all trials of a comparison
see the same data, whatever their own seeds are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lossbench.components.declarations import DatasetFacts
from lossbench.components.vocabulary import Data, FilePath, Samples, Target
from lossbench.config.spec import Choice, DatasetOptions
from lossbench.errors import DataError
from lossbench.lazy import nn, np
from lossbench.registry import Entry
from lossbench.training.splits import split

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

NOISE_STREAM = 2
"""What the draw is for, beside the seed: see splits.SPLIT_STREAM."""

SUM_TOLERANCE = 1e-4
"""How far the probabilities of a distribution target may be from 1 together."""


@dataclass(frozen=True)
class Scaling:
    """A change of units: (value - mean) / scale, each with the shape of one sample or [C, 1, 1]."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, values: Array) -> Scaling:
        """Take mean and deviation of these samples: per feature, or per channel of [N, C, ...].

        What never varies has scale 1: it becomes 0 here, and stays finite elsewhere.
        """
        axes = (0, *range(2, values.ndim))
        mean = values.mean(axis=axes, dtype=np.float64, keepdims=True)[0]
        scale = values.std(axis=axes, dtype=np.float64, keepdims=True)[0]
        # Extremes, not the deviation, tell what is constant: rounding leaves 1e-17 of deviation.
        lowest = values.min(axis=axes, keepdims=True)[0]
        constant = (values.max(axis=axes, keepdims=True)[0] == lowest) | (scale == 0)
        return cls(np.where(constant, lowest, mean), np.where(constant, 1.0, scale))

    def apply(self, values: Array) -> Array:
        """Return the values [N, ...] in the new units, in single precision."""
        # In the precision that the values come in: doubles keep the digits that large offsets
        # would cost, and a large set of single-precision images is never held as doubles.
        kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
        centred = values - self.mean.astype(kind)
        return (centred / self.scale.astype(kind)).astype(np.float32, copy=False)

    def invert(self, values: Array) -> Array:
        """Return values that are in the new units in the data's own, in double precision."""
        return values * self.scale + self.mean


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready to train on.

    `splits` has "train", and "validation" and "test" where there are any; inputs are float32,
    targets float32 or int64 as `Samples` says. `inputs` is the shape of one input. The scalings
    are those that have been applied (none where none was). `fingerprint` is a SHA-256 sum over
    all of it: equal sums, equal data. `floor`, `model` and `ordered` are what Data says of them.
    """

    target: Target
    splits: Mapping[str, Samples]
    inputs: tuple[int, ...]
    fingerprint: str
    input_scaling: Scaling | None = None
    target_scaling: Scaling | None = None
    input_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    floor: Mapping[str, float] = field(default_factory=dict)
    model: Callable[[], nn.Module] | None = None
    ordered: bool = False


def load(choice: Choice, entry: Entry[DatasetFacts]) -> Prepared:
    """Make or read the data, and prepare them as the options say.

    Raises DataError where the data cannot be trained on, saying what to do.
    """
    options = choice.options if isinstance(choice.options, DatasetOptions) else DatasetOptions()
    knobs = {**entry.defaults(), **choice.knobs}
    name = _place(entry, knobs)
    _check_options(name, options)
    data = entry.function(options.seed, **knobs)
    target, given = _checked(name, data)
    splits, notes = split(name, target, given, options)
    if options.label_noise:
        splits["train"] = _with_label_noise(name, target, splits["train"], options)
    if data.model is not None and options.standardize:
        raise DataError(
            f"{name}: standardize would change the problem, whose minimum is known",
            hint="leave it out",
        )
    standardize = data.standardize if options.standardize is None else options.standardize
    input_scaling = Scaling.fit(splits["train"].inputs) if standardize else None
    target_scaling = _target_scaling(name, target, splits["train"], data, options)
    prepared = {
        part: _finite(name, part, _scaled(samples, input_scaling, target_scaling))
        for part, samples in splits.items()
    }
    return Prepared(
        target=target,
        splits=prepared,
        inputs=prepared["train"].inputs.shape[1:],
        fingerprint=fingerprint(prepared, _problem(data, entry.name, options.seed, knobs)),
        input_scaling=input_scaling,
        target_scaling=target_scaling,
        input_names=data.input_names,
        notes=(*data.notes, *notes),
        floor=data.floor,
        model=data.model,
        ordered=data.ordered,
    )


def _problem(data: Data, name: str, seed: int, knobs: Mapping[str, Any]) -> str:
    """Say which function a problem has: two may have the same samples and the same minimum."""
    return "" if data.model is None else f"{name} {seed} {sorted(knobs.items())}"


def fingerprint(splits: Mapping[str, Samples], problem: str = "") -> str:
    """Return the SHA-256 sum of all arrays: names, shapes, types and bytes; and of the problem."""
    total = hashlib.sha256(problem.encode())
    for part in sorted(splits):
        for side in ("inputs", "targets"):
            values = np.ascontiguousarray(getattr(splits[part], side))
            # Little-endian on every machine, so that equal data have equal sums.
            values = values.astype(values.dtype.newbyteorder("<"), copy=False)
            total.update(f"{part}.{side} {values.dtype.str} {values.shape}\n".encode())
            total.update(values.data)
    return total.hexdigest()


def _place(entry: Entry[DatasetFacts], knobs: Mapping[str, Any]) -> str:
    """Name the dataset in messages, with the files that it reads."""
    files = [
        str(knobs[knob.name])
        for knob in entry.knobs
        if knobs.get(knob.name) is not None
        and any(isinstance(mark, FilePath) for mark in getattr(knob.annotation, "__metadata__", ()))
    ]
    return f"{entry.name} ({', '.join(files)})" if files else entry.name


# --- what may be asked for ---------------------------------------------------------------------


def _check_options(name: str, options: DatasetOptions) -> None:
    """Raise DataError where an option cannot be met."""
    shares = options.split
    good = all(math.isfinite(share) and share >= 0 for share in shares)
    if len(shares) != 3 or not good or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise DataError(
            f"{name}: split {list(shares)} is no division into training, validation and test",
            hint="three shares from 0 that sum to 1, the first above 0: split: [0.7, 0.15, 0.15]",
        )
    if not 0 <= options.label_noise <= 1:
        raise DataError(
            f"{name}: label_noise is {options.label_noise}", hint="it is a share, from 0 to 1"
        )
    if options.seed < 0:
        raise DataError(f"{name}: seed is {options.seed}", hint="seeds are whole numbers from 0")


# --- what a dataset may return -------------------------------------------------------------------


def _checked(name: str, data: object) -> tuple[Target, dict[str, Samples]]:
    """Return a dataset's splits by name ("all" if it is whole), each seen to be in order.

    Built-in datasets keep their promises; this is for those that users write.
    """
    if not isinstance(data, Data) or not isinstance(data.target, Target):
        raise DataError(
            f"{name}: returned {type(data).__name__}, where a dataset returns Data with a Target",
            hint="from lossbench.components.vocabulary import Data, Samples, Target",
        )
    if (data.samples is None) == (data.train is None):
        raise DataError(f"{name}: Data has either `samples` or `train`, and exactly one of them")
    given = {"all": data.samples, "train": data.train}
    given |= {"validation": data.validation, "test": data.test}
    splits = {
        part: _checked_samples(name if part == "all" else f"{name}, {part}", data.target, samples)
        for part, samples in given.items()
        if samples is not None
    }
    if (data.model is not None) != (data.target.kind == "objective"):
        raise DataError(
            f"{name}: Data of a problem has targets of kind 'objective' and a `model`; "
            f"this has {data.target.kind} targets and {'a' if data.model else 'no'} model"
        )
    first = next(iter(splits.values()))
    for part, samples in splits.items():
        if samples.inputs.shape[1:] != first.inputs.shape[1:]:
            raise DataError(
                f"{name}, {part}: one input is {samples.inputs.shape[1:]}, "
                f"and {first.inputs.shape[1:]} elsewhere"
            )
    width = math.prod(first.inputs.shape[1:])
    if data.input_names and len(data.input_names) != width:
        raise DataError(f"{name}: {len(data.input_names)} input_names for {width} inputs")
    return data.target, splits


def _checked_samples(where: str, target: Target, samples: Samples) -> Samples:
    """Return samples in the form that `Samples` promises, or say what keeps them from it."""
    inputs, targets = np.asarray(samples.inputs), np.asarray(samples.targets)
    if inputs.dtype.kind not in "fiub" or targets.dtype.kind not in "fiub":
        raise DataError(
            f"{where}: inputs are {inputs.dtype} and targets {targets.dtype}, "
            "where both must be real numbers"
        )
    if inputs.ndim < 1 or targets.ndim < 1 or len(inputs) != len(targets):
        raise DataError(
            f"{where}: inputs {inputs.shape} and targets {targets.shape} "
            "do not have the same number of samples"
        )
    if len(inputs) == 0:
        raise DataError(f"{where}: there are no samples")
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    _refuse(~np.isfinite(inputs), inputs, f"{where}: an input", "leave such samples out")
    if inputs.dtype.kind != "f":
        inputs = inputs.astype(np.float32)
    return Samples(inputs, _checked_targets(where, target, targets))


def _checked_targets(where: str, target: Target, values: Array) -> Array:
    """Return targets in the form of their kind."""
    where = f"{where}: a target"
    _refuse(~np.isfinite(values), values, where, "leave such samples out")
    if target.kind == "class":
        outside = (values != np.floor(values)) | (values < 0) | (values >= target.size)
        _refuse(outside, values, where, f"classes are 0 to {target.size - 1}")
        return values.astype(np.int64)
    values = values[:, None] if values.ndim == 1 else values
    if target.kind == "objective":
        return _checked_minima(where, target, values)
    if values.shape[1:] != (target.size,):
        raise DataError(
            f"{where} has shape {values.shape[1:]}, where {target.kind} targets are rows of "
            f"{target.size}"
        )
    if target.kind == "count":
        _refuse((values < 0) | (values != np.floor(values)), values, where, "counts are 0, 1, 2")
    elif target.kind == "multilabel":
        _refuse((values != 0) & (values != 1), values, where, "labels are marked by 0 and 1")
    elif target.kind == "distribution":
        _refuse((values < 0) | (values > 1), values, where, "probabilities lie in [0, 1]")
        sums = values.sum(axis=1, dtype=np.float64)
        _refuse(np.abs(sums - 1) > SUM_TOLERANCE, sums, f"{where}'s sum", "it must be 1")
    double = values.dtype == np.float64 and target.kind == "real"
    return values if double else values.astype(np.float32)


def _checked_minima(where: str, target: Target, values: Array) -> Array:
    """Return the points of a minimum, [N, m, d]; one may come without its axis."""
    values = values[:, None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] != target.size or values.shape[1] == 0:
        raise DataError(
            f"{where} has shape {values.shape[1:]}, where an objective's are the points of its "
            f"minimum, [m, {target.size}]"
        )
    return values.astype(np.float32)


def _refuse(wrong: Array, values: Array, where: str, hint: str) -> None:
    """Raise DataError that names the first of the values marked as wrong."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{where} is {values[place]}, in sample {place[0]}", hint=hint)


# --- noise and units -----------------------------------------------------------------------------


def _with_label_noise(
    name: str, target: Target, samples: Samples, options: DatasetOptions
) -> Samples:
    """Replace a share of the labels, chosen at random, by any of the other classes."""
    if target.kind != "class":
        raise DataError(
            f"{name}: label_noise is for classes, and the targets are {target.kind}",
            hint="noise of numbers is a knob of the dataset itself",
        )
    random = np.random.default_rng([options.seed, NOISE_STREAM])
    labels = samples.targets.reshape(-1).copy()
    count = round(options.label_noise * len(labels))
    # Drawn for all, whatever the share: the labels that 20 % changes are among those of 40 %.
    hit = random.permutation(len(labels))[:count]
    shift = random.integers(1, target.size, size=len(labels))
    labels[hit] = (labels[hit] + shift[hit]) % target.size
    return Samples(samples.inputs, labels.reshape(samples.targets.shape))


def _target_scaling(
    name: str, target: Target, train: Samples, data: Data, options: DatasetOptions
) -> Scaling | None:
    """Fit the units of the targets, where they are to be standardised."""
    asked = options.standardize_target
    if not (data.standardize_target if asked is None else asked):
        return None
    if target.kind != "real":
        raise DataError(
            f"{name}: standardize_target is for real targets, and these are {target.kind}",
            hint="leave it out",
        )
    return Scaling.fit(train.targets)


def _scaled(samples: Samples, inputs: Scaling | None, targets: Scaling | None) -> Samples:
    """Bring samples into the units and the precision of training."""
    with np.errstate(over="ignore"):  # what does not fit is infinite, and refused below
        x = samples.inputs if inputs is None else inputs.apply(samples.inputs)
        y = samples.targets if targets is None else targets.apply(samples.targets)
        x = x.astype(np.float32, copy=False)
        if y.dtype.kind == "f":
            y = y.astype(np.float32, copy=False)
    return Samples(np.ascontiguousarray(x), np.ascontiguousarray(y))


def _finite(name: str, part: str, samples: Samples) -> Samples:
    """Raise DataError where single precision could not hold a value."""
    for what, values in (("an input", samples.inputs), ("a target", samples.targets)):
        _refuse(
            ~np.isfinite(values),
            values,
            f"{name}, {part}: {what} in single precision",
            "standardise it, or give it in larger units",
        )
    return samples
