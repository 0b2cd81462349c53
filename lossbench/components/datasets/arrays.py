"""Arrays that a Python program has saved with `numpy.savez`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lossbench.components.datasets import _arrays
from lossbench.components.vocabulary import Data, FilePath, PositiveInt, Samples, Target, TargetKind
from lossbench.errors import DataError
from lossbench.lazy import np
from lossbench.registry import dataset

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]
    Parts = dict[str, Array]  # by the ending of the array's name: "", "_validation", "_test"

MOST_CLASSES = 1_000_000
"""A label beyond it is a mistake (an identifier, a date), not the number of an output."""

Task = Literal["auto", "real", "count", "class", "multilabel", "distribution"]


@dataset(target=None, real=True, validation=None)
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
    x = {part: _arrays.named(file, stored, inputs + part) for part in parts}
    y = {part: _arrays.named(file, stored, targets + part) for part in parts}
    _refuse_mismatch(file, inputs, x)
    _refuse_mismatch(file, targets, y)
    kind = _guess(y[""]) if task == "auto" else task
    target, y = _target(kind, y, classes)
    splits = {part: Samples(x[part], y[part]) for part in parts}
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


def _refuse_mismatch(file: Path, name: str, parts: "Parts") -> None:
    """Raise DataError unless a sample has the same shape in all parts."""
    for part, values in parts.items():
        if values.ndim == 0 or values.shape[1:] != parts[""].shape[1:]:
            raise DataError(
                f"{file}: '{name}{part}' has shape {values.shape}, and '{name}' has "
                f"{parts[''].shape}: the first dimension counts the samples, and only it may differ"
            )


def _guess(y: "Array") -> TargetKind:
    """Guess what targets are, from their type and shape."""
    if y.dtype.kind == "f":
        return "real"
    zeros_and_ones = y.dtype.kind in "biu" and bool(((y == 0) | (y == 1)).all())
    return "multilabel" if y.ndim == 2 and y.shape[1] > 1 and zeros_and_ones else "class"


def _target(kind: TargetKind, y: "Parts", classes: int | None) -> "tuple[Target, Parts]":
    """Say what the targets are; classes that go by texts get numbers.

    Whether the values are in order is for the loader to see, as with every dataset.
    """
    if kind != "class":
        return Target(kind, y[""].shape[1] if y[""].ndim > 1 else 1), y
    y = {part: v[:, 0] if v.ndim == 2 and v.shape[1] == 1 else v for part, v in y.items()}
    if all(v.dtype.kind == "U" for v in y.values()):
        names = np.unique(np.concatenate([v.ravel() for v in y.values()]))
        labels = {part: np.searchsorted(names, v) for part, v in y.items()}
        return Target("class", len(names), tuple(map(str, names))), labels
    if classes is None and all(v.dtype.kind in "fiub" and v.size for v in y.values()):
        highest = max(float(np.nanmax(v)) for v in y.values())
        classes = 1 + int(highest) if highest < MOST_CLASSES else MOST_CLASSES
    return Target("class", max(classes or 2, 2)), y
