"""Arrays that a Python program has saved with `numpy.savez`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lossbench.components.datasets import _arrays
from lossbench.components.vocabulary import Data, FilePath, PositiveInt, Samples, Target, TargetKind
from lossbench.errors import DataError, suggest
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]
    Parts = Mapping[str, Array]  # by the ending of the array's name: "", "_validation", "_test"
    Encoder = Callable[[Path, str, Parts, int | None], tuple[Target, Parts]]

SUM_TOLERANCE = 1e-4
"""How far the probabilities of a sample may be from 1 together: rounding to four places passes."""

Task = Literal["auto", "real", "count", "class", "multilabel", "distribution"]


@dataset(target=None, real=True)
def npz(
    _seed: int,
    *,
    path: Annotated[str, FilePath()],
    inputs: str = "x",
    targets: str = "y",
    task: Task = "auto",
    classes: PositiveInt | None = None,
) -> Data:
    """Arrays of the user's own, with ready splits where the file has them.

    Beside `x` and `y` the file may hold `x_validation` and `y_validation`, `x_test` and `y_test`:
    then `x` and `y` are the training data. Objects are never unpickled.

    Shapes:    inputs [N, ...]: features, or channels first ([N, C, H, W]); targets [N] or [N, ...]
    Knobs:
        path: the file, as numpy.savez writes it.
        inputs: the name of the inputs' array.
        targets: the name of the targets' array.
        task: what the targets are; auto takes texts and whole numbers for classes, rows of whole
            zeros and ones [N, L] for sets of labels, and floats for real numbers.
        classes: the number of classes, where the highest label does not say it.
    Note:      bytes of images are taken as they are, 0 to 255; standardisation scales them.
    Errors:    an array that is not there, with the nearest name; shapes that do not match; labels
               outside the range; NaN and infinities, with their index; objects.
    """
    file = Path(path)
    stored = _arrays.read_arrays(file)
    parts = [""] + [
        part
        for part in ("_validation", "_test")
        if inputs + part in stored or targets + part in stored
    ]
    x = {
        part: _arrays.as_inputs(file, inputs + part, _named(file, stored, inputs + part))
        for part in parts
    }
    y = {part: _named(file, stored, targets + part) for part in parts}
    for part in parts:
        _refuse_mismatch(file, (inputs, targets), part, x, y)
    kind = _guess(y[""]) if task == "auto" else task
    target, encoded = ENCODERS[kind](file, targets, y, classes)
    splits = {part: Samples(x[part], encoded[part]) for part in parts}
    ready = len(splits) > 1
    return Data(
        target=target,
        samples=None if ready else splits[""],
        train=splits[""] if ready else None,
        validation=splits.get("_validation"),
        test=splits.get("_test"),
        standardize_target=kind == "real",
        notes=(f"targets '{targets}' are taken as {kind} (say task: to decide)",)
        if task == "auto"
        else (),
    )


def _named(file: Path, stored: "Mapping[str, Array]", name: str) -> "Array":
    """Return the array of that name; raise DataError with the nearest one otherwise."""
    if name not in stored:
        raise DataError(f"{file}: there is no array '{name}'", hint=suggest(name, stored))
    return stored[name]


def _refuse_mismatch(file: Path, names: tuple[str, str], part: str, x: "Parts", y: "Parts") -> None:
    """Raise DataError unless inputs and targets are as many, and shaped as the training ones."""
    inputs, targets = (name + part for name in names)
    if y[part].ndim == 0 or len(x[part]) != len(y[part]):
        raise DataError(
            f"{file}: '{inputs}' has shape {x[part].shape} and '{targets}' {y[part].shape}: "
            "the first dimension counts the samples of both"
        )
    for name, first, here in ((names[0], x[""], x[part]), (names[1], y[""], y[part])):
        if first.shape[1:] != here.shape[1:]:
            raise DataError(
                f"{file}: '{name}{part}' has shape {here.shape}, and '{name}' {first.shape}: "
                "only the first dimension may differ"
            )


def _guess(y: "Array") -> TargetKind:
    """Guess what targets are, from their type and shape."""
    if y.dtype.kind == "f":
        return "real"
    zeros_and_ones = y.dtype.kind in "biu" and bool(((y == 0) | (y == 1)).all())
    return "multilabel" if y.ndim == 2 and y.shape[1] > 1 and zeros_and_ones else "class"


# --- each kind of target: checked, and in the form that Samples prescribes -----------------------


def _class(file: Path, name: str, y: "Parts", classes: int | None) -> "tuple[Target, Parts]":
    """Take whole numbers as labels; number texts in the order of the alphabet."""
    y = {part: v[:, 0] if v.ndim == 2 and v.shape[1] == 1 else v for part, v in y.items()}
    if y[""].dtype.kind == "U":
        return _named_classes(file, name, y)
    labels = {part: _whole(file, name + part, v) for part, v in y.items()}
    size = max(2, 1 + max(int(v.max()) for v in labels.values())) if classes is None else classes
    for part, values in labels.items():
        _arrays.refuse_where(
            (values < 0) | (values >= size),
            values,
            f"{file}: '{name}{part}'",
            f"labels are 0 to {size - 1}" + ("" if classes is None else f" (classes: {classes})"),
        )
    return Target("class", size), labels


def _named_classes(file: Path, name: str, y: "Parts") -> "tuple[Target, Parts]":
    """Number classes that go by texts; every one must occur in the training data."""
    names = np.unique(y[""])
    labels = {}
    for part, values in y.items():
        number = np.minimum(np.searchsorted(names, values), len(names) - 1)
        _arrays.refuse_where(
            names[number] != values,
            values,
            f"{file}: '{name}{part}'",
            f"the classes of '{name}' are {', '.join(map(str, names[:20]))}",
        )
        labels[part] = number.astype(np.int64)
    return Target("class", len(names), tuple(map(str, names))), labels


def _real(file: Path, name: str, y: "Parts", _classes: int | None) -> "tuple[Target, Parts]":
    """Take numbers as they are, one row per sample."""
    values = {part: _rows(file, name + part, v) for part, v in y.items()}
    return Target("real", values[""].shape[1]), values


def _count(file: Path, name: str, y: "Parts", _classes: int | None) -> "tuple[Target, Parts]":
    """Take whole numbers from 0."""
    values = {part: _rows(file, name + part, v) for part, v in y.items()}
    for part, v in values.items():
        where = f"{file}: '{name}{part}'"
        _arrays.refuse_where((v < 0) | (v != np.floor(v)), v, where, "counts are 0, 1, 2, ...")
    return Target("count", values[""].shape[1]), values


def _multilabel(file: Path, name: str, y: "Parts", _classes: int | None) -> "tuple[Target, Parts]":
    """Take rows of zeros and ones, a column per label."""
    values = {part: _rows(file, name + part, v) for part, v in y.items()}
    for part, v in values.items():
        where = f"{file}: '{name}{part}'"
        _arrays.refuse_where((v != 0) & (v != 1), v, where, "labels are marked by 0 and 1")
    return Target("multilabel", values[""].shape[1]), values


def _distribution(
    file: Path, name: str, y: "Parts", _classes: int | None
) -> "tuple[Target, Parts]":
    """Take rows that give each class its probability."""
    values = {part: _rows(file, name + part, v) for part, v in y.items()}
    for part, v in values.items():
        where = f"{file}: '{name}{part}'"
        _arrays.refuse_where((v < 0) | (v > 1), v, where, "probabilities lie in [0, 1]")
        total = v.sum(axis=1)
        wrong = np.abs(total - 1) > SUM_TOLERANCE
        _arrays.refuse_where(
            wrong, total, f"{where}: the sum", "probabilities of a sample sum to 1"
        )
    return Target("distribution", values[""].shape[1]), values


ENCODERS: "Mapping[TargetKind, Encoder]" = {
    "class": _class,
    "real": _real,
    "count": _count,
    "multilabel": _multilabel,
    "distribution": _distribution,
}


def _whole(file: Path, name: str, values: "Array") -> "Array":
    """Return whole numbers as int64; floats may hold them, too."""
    _arrays.numbers(file, name, values)
    if values.dtype.kind == "f":
        _arrays.refuse_infinite(file, name, values)
        wrong = values != np.floor(values)
        _arrays.refuse_where(wrong, values, f"{file}: '{name}'", "labels are whole numbers")
    return values.astype(np.int64)


def _rows(file: Path, name: str, values: "Array") -> "Array":
    """Return finite floats [N, d]; one number per sample makes one column."""
    _arrays.numbers(file, name, values)
    _arrays.refuse_infinite(file, name, values)
    if values.ndim > 2:
        raise DataError(
            f"{file}: '{name}' has shape {values.shape}, where targets of this kind are [N, d]",
            hint="reshape them: numpy.savez(file, x=x, y=y.reshape(len(y), -1))",
        )
    values = values if values.dtype == np.float64 else values.astype(np.float32)
    return values[:, None] if values.ndim == 1 else values
