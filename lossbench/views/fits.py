"""What a component goes with, in words: data sets with losses, layers with shapes, and so on.

All of it is read from the declarations of both sides.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossbench.components.vocabulary import FITS, Target
from lossbench.config.fit import OF_A_TASK
from lossbench.registry import KINDS, Entry


def plural(kind: str) -> str:
    """Return the name of a kind's folder: losses, activations."""
    return KINDS[kind].package.rpartition(".")[2]


def fits(entry: Entry[Any]) -> dict[str, str]:
    """Say in words what the component can be used with, from its declarations."""
    said = _FITS.get(entry.kind, lambda _: {})(entry.facts)
    for name, title in _LIMITS.items():
        reason = getattr(entry.facts, name, None)
        if reason is not None:
            said[title] = reason
    return said


_LIMITS: Mapping[str, str] = {
    "kernel_only": "no formula",
    "python_only": "from Python only",
}
"""Declarations that hold a reason where something cannot be done."""


def target_kinds(declared: Any) -> list[str]:
    """Return the kinds of target that a loss can be trained on, through its encodings."""
    if declared.inputs or declared.prediction in OF_A_TASK:
        return []
    encodings = set(declared.encodings)
    return [kind for kind, possible in FITS.items() if encodings & set(possible)]


def target_kind_words(target: Target | str | None) -> str:
    """Return the kind of a data set's target."""
    if target is None:
        return "as the data say"
    return target if isinstance(target, str) else target.kind


def _loss_fits(declared: Any) -> dict[str, str]:
    if declared.inputs:
        inputs = [f"{words(name)} ({words(slot)})" for name, slot in declared.inputs.items()]
        said = {"inputs": ", ".join(inputs)}
    else:
        kinds, encodings = target_kinds(declared), listed(declared.encodings)
        said = {
            "targets": f"{listed(kinds)} (as {encodings})" if kinds else encodings,
            "data sets": _datasets_with(kinds),
            "prediction": words(declared.prediction),
        }
    if declared.heads:
        heads = [f"{name} ({words(kind)})" for name, kind in declared.heads.items()]
        said["more outputs"] = listed(heads)
    if declared.whole_batch:
        said["batch"] = "one value for the whole batch: cannot be accumulated"
    return said


def _datasets_with(kinds: Sequence[str]) -> str:
    names = [
        entry.name
        for entry in KINDS["dataset"].values()
        if entry.facts.target is None or target_kind_words(entry.facts.target) in kinds
    ]
    return ", ".join(names) or "none yet"


def _dataset_fits(declared: Any) -> dict[str, str]:
    target = declared.target
    if target is None:
        return {"target": "as the data say"}
    kind = target_kind_words(target)
    said = kind
    if isinstance(target, Target):
        unit = {"class": "classes", "multilabel": "labels"}.get(kind, "values")
        said = f"{kind}, {target.size} {unit if target.size != 1 else unit.removesuffix('s')}"
    losses = [e.name for e in KINDS["loss"].values() if kind in target_kinds(e.facts)]
    return {"target": said, "inputs": shape_words(declared.inputs), "losses": ", ".join(losses)}


def _activation_fits(declared: Any) -> dict[str, str]:
    said = {"values": interval(declared.range)}
    if declared.parameters:
        said["learned"] = listed([f"{n} (one per {p.per})" for n, p in declared.parameters.items()])
    if not declared.elementwise:
        said["acts on"] = "a dimension, not on every element by itself"
    return said


def _optimizer_fits(declared: Any) -> dict[str, str]:
    scope = {
        "element": "every weight by itself",
        "tensor": "one parameter tensor at a time",
        "model": "all parameters together",
    }
    said = {"acts on": scope[declared.scope]}
    if declared.decoupled:
        said["weight decay"] = "decoupled: shrinks the weights directly"
    if declared.closure:
        said["step"] = "asks for the loss several times"
    return said


def _schedule_fits(declared: Any) -> dict[str, str]:
    said = {"counts": f"{declared.unit}s"}
    if declared.total:
        said["length"] = "depends on the length of the run: it cannot be prolonged later"
    return said


def _metric_fits(declared: Any) -> dict[str, str]:
    return {
        "targets": listed(declared.target),
        "prediction": declared.prediction,
        "better": direction_words(declared.lower_is_better),
    }


def direction_words(lower_is_better: bool | None) -> str:
    """Return which values of a metric are better."""
    return {True: "lower", False: "higher", None: "neither"}[lower_is_better]


def _network_fits(declared: Any) -> dict[str, str]:
    return {"inputs": "vectors and images" if declared.inputs == "any" else f"{declared.inputs}s"}


def _layer_fits(declared: Any) -> dict[str, str]:
    if not declared.dimensions:
        return {"inputs": "of any shape"}
    return {"inputs": f"with {listed([str(n) for n in declared.dimensions])} dimensions"}


_FITS: Mapping[str, Callable[[Any], dict[str, str]]] = {
    "loss": _loss_fits,
    "dataset": _dataset_fits,
    "activation": _activation_fits,
    "optimizer": _optimizer_fits,
    "schedule": _schedule_fits,
    "metric": _metric_fits,
    "network": _network_fits,
    "layer": _layer_fits,
}


def interval(limits: tuple[float, float]) -> str:
    """Return a range of values: any number, at least 0, -1 to 1."""
    low, high = limits
    if math.isinf(low) and math.isinf(high):
        return "any number"
    if math.isinf(high):
        return f"{low:.4g} and above"
    if math.isinf(low):
        return f"{high:.4g} and below"
    return f"{low:.4g} to {high:.4g}"


def shape_words(shape: tuple[int, ...] | None) -> str:
    """Return a declared shape: 1 x 8 x 8."""
    return "as the data say" if shape is None else " x ".join(map(str, shape)) or "1"


def words(name: str) -> str:
    """Return a name as words."""
    return name.replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """Return 'a, b or c'."""
    names = [words(name) for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
