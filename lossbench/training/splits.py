"""Dividing data into training, validation and test parts: at random, repeatably, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lossbench.components.vocabulary import Samples, Target
from lossbench.config.spec import DatasetOptions
from lossbench.errors import DataError
from lossbench.lazy import np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

PARTS = ("train", "validation", "test")

SPLIT_STREAM = 1
"""What the draw is for, beside the seed: it must not repeat the draws that made the data."""


def split(
    name: str, target: Target, given: dict[str, Samples], options: DatasetOptions
) -> tuple[dict[str, Samples], tuple[str, ...]]:
    """Cut what comes whole into three parts; a missing validation part out of the training one.

    `given` holds the whole data as "all", or ready parts. Returns the parts and notes on classes
    that are missing from one. Raises DataError where there are too few samples.
    """
    train, validation, test = options.split
    if "all" in given:
        whole, shares = given["all"], {"train": train, "validation": validation, "test": test}
    elif "validation" not in given and validation > 0:
        both = train + validation
        whole, shares = given["train"], {"train": train / both, "validation": validation / both}
    else:
        return dict(given), _rare(target, given)
    shares = {part: share for part, share in shares.items() if share > 0}
    if len(whole) < len(shares):
        raise DataError(
            f"{name}: {len(whole)} samples cannot be divided into {' and '.join(shares)}",
            hint="take more samples, or a split with zeros: split: [1, 0, 0]",
        )
    random = np.random.default_rng([options.seed, SPLIT_STREAM])
    classes = whole.targets if target.kind == "class" and whole.targets.ndim == 1 else None
    rows = divide(len(whole), classes, tuple(shares.values()), random)
    cut = {part: whole.take(rows[i]) for i, part in enumerate(shares)}
    for part, samples in cut.items():
        if len(samples) == 0:
            raise DataError(
                f"{name}: {len(whole)} samples leave none for {part}",
                hint="take more samples, or give it a larger share or 0: split: [0.5, 0.5, 0]",
            )
    together = {**given, **cut}
    splits = {part: together[part] for part in PARTS if part in together}
    return splits, _rare(target, splits)


def divide(
    count: int, classes: Array | None, shares: tuple[float, ...], random: np.random.Generator
) -> list[Array]:
    """Divide the rows 0 to count - 1 at random into parts of these shares.

    With classes, each part has each class in its share, and at least once where the class has as
    many samples as there are parts; of a rarer class the first part has one in any case.
    """
    groups = [np.arange(count)]
    if classes is not None:
        groups = [np.flatnonzero(classes == c) for c in np.unique(classes)]
    parts: list[list[Array]] = [[] for _ in shares]
    due = np.zeros(len(shares))
    for group in groups:
        # What rounding took from a part in one class, it gets back in the next ones: the parts'
        # sizes come out as if there were no classes.
        due += len(group) * np.asarray(shares)
        sizes = _whole_shares(len(group), due)
        # Bounded, lest many rare classes, which each part gets one of, be made up by a large one.
        due = np.clip(due - sizes, -1, 1)
        ends = np.cumsum(sizes)[:-1]
        for part, rows in zip(parts, np.split(random.permutation(group), ends), strict=True):
            part.append(rows)
    return [random.permutation(np.concatenate(part)) for part in parts]


def _whole_shares(count: int, due: Array) -> Array:
    """Round what is due to whole numbers that sum to `count`, none of them 0 if that can be."""
    lowest = np.zeros(len(due), dtype=int)
    lowest[: len(due) if count >= len(due) else 1] = 1
    sizes = np.maximum(np.floor(due).astype(int), lowest)
    while sizes.sum() < count:
        sizes[int(np.argmax(due - sizes))] += 1
    while sizes.sum() > count:
        surplus = np.where(sizes > lowest, sizes - due, -np.inf)
        sizes[int(np.argmax(surplus))] -= 1
    return sizes


def _rare(target: Target, splits: Mapping[str, Samples]) -> tuple[str, ...]:
    """Say which classes are missing from a split."""
    if target.kind != "class":
        return ()
    notes = []
    for part, samples in splits.items():
        absent = sorted(set(range(target.size)) - set(np.unique(samples.targets).tolist()))
        if absent:
            names = [target.names[c] if target.names else str(c) for c in absent[:10]]
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            notes.append(f"no sample of class {', '.join(names)}{more} in the {part} split")
    return tuple(notes)
