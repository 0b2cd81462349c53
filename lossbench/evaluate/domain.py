"""Whether given numbers are what a loss is defined for: probabilities, boxes, labels, ...

torch computes something for most of what lies outside; here it is said instead.
"""

from collections.abc import Callable
from typing import Any

from lossbench.components.boxes import require_boxes
from lossbench.errors import UsageError
from lossbench.evaluate.losses import Call
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


def require_domain(call: Call) -> list[str]:
    """Make sure that every input lies where the loss is defined; returns what is worth a warning.

    Raises UsageError naming the input, the place and the value.
    """
    facts = call.entry.facts
    slots: dict[str, str] = dict(facts.inputs)
    if not slots:
        slots["prediction"] = facts.prediction_with(call.knobs)
    slots |= dict(facts.heads)
    for name, slot in slots.items():
        value = {**call.inputs, **call.more}.get(name)
        if isinstance(value, torch.Tensor):
            _require(call, name, value, slot)
    target = call.inputs.get("target")
    if isinstance(target, torch.Tensor):
        _require_target(call, target)
    return _warnings(call, target)


def _require(call: Call, name: str, value: Tensor, slot: str) -> None:
    if slot == "boxes":
        require_boxes(value, name)
    if slot not in _RULES:
        return
    holds, words = _RULES[slot]
    wrong = ~holds(value)
    if not bool(wrong.any()):
        return
    place = [int(i) for i in wrong.nonzero()[0]]
    found = value[tuple(place)].tolist()
    hint = None
    if slot == "probabilities" and name == "prediction":
        others = _with_logits(call)
        hint = f"for raw outputs of a network: {', '.join(others)}" if others else None
    raise UsageError(
        f"{call.entry.name} takes {words} as {name}, and {name}{place} is {found}", hint=hint
    )


def _with_logits(call: Call) -> list[str]:
    """Return the losses that take logits where this one takes probabilities."""
    names = [
        name
        for name, entry in loss.items()
        if entry.facts.prediction == "logits"
        and call.entry.facts.encodings == entry.facts.encodings
    ]
    return sorted(names, key=lambda name: not name.startswith(call.entry.name))[:3]


_RULES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "probabilities": (lambda x: (x >= 0) & (x <= 1), "probabilities, from 0 to 1,"),
    "positive": (lambda x: x > 0, "positive numbers"),
    "plus_minus": (lambda x: (x == 1) | (x == -1), "-1 or 1"),
    "zero_one": (lambda x: (x >= 0) & (x <= 1), "numbers from 0 to 1"),
    "count": (lambda x: x >= 0, "counts, of at least 0,"),
    "distribution": (lambda x: x >= 0, "probabilities"),
}


def _require_target(call: Call, target: Tensor) -> None:
    facts = call.entry.facts
    prediction = call.inputs[call.entry.inputs[0]]
    if facts.inputs.get("target") is None:
        if not target.is_floating_point() and "index" in facts.encodings:
            _require_labels(call, target, prediction)
        else:
            if len(facts.encodings) == 1:
                _require(call, "target", target, facts.encodings[0])
        require_shapes(call)
    elif facts.inputs["target"] == "index":
        labels, counts = target.unique(return_counts=True)
        if len(labels) == 1 or int(counts.max()) == 1:
            same = "of one class" if len(labels) == 1 else "of different classes"
            raise UsageError(
                f"{call.entry.name} compares samples of one class with those of others, and all "
                f"{len(target)} samples are {same}",
                hint="give at least two classes, one of them with two samples",
            )


def _require_labels(call: Call, target: Tensor, prediction: Any) -> None:
    weight = next(
        (call.more[name] for name in call.entry.facts.parameters if name in call.more), None
    )
    classes = (
        len(weight) if weight is not None else prediction.shape[1 if prediction.dim() > 1 else 0]
    )
    outputs = call.entry.facts.outputs
    if outputs is not None:  # coral has one output fewer than classes
        classes = next(
            (n for n in range(1, classes + 3) if outputs(n, **call.knobs) == classes), classes
        )
    ignored = call.knobs.get("ignore_index")
    wrong = (target < 0) | (target >= classes)
    if ignored is not None:
        wrong &= target != ignored
    if bool(wrong.any()):
        place = [int(i) for i in wrong.nonzero()[0]]
        raise UsageError(
            f"target{place if place else ''} is class {int(target[tuple(place)])}, and there are "
            f"{classes} classes: 0 to {classes - 1}"
        )


def require_shapes(call: Call) -> None:
    """Make sure that a prediction and its target go together number by number.

    torch spreads one over the other where it can, and the result is rarely what is meant.
    Raises UsageError naming both shapes.
    """
    facts = call.entry.facts
    target, prediction = call.inputs.get("target"), call.inputs[call.entry.inputs[0]]
    if not isinstance(target, torch.Tensor) or not isinstance(prediction, torch.Tensor):
        return
    if facts.inputs or facts.outputs is not None or "index" in facts.encodings:
        return
    if target.shape == prediction.shape:
        return
    # One target for many outputs may be said with a dimension of 1; samples are never shared.
    alike = target.shape[:1] == prediction.shape[:1] and target.dim() == prediction.dim()
    pairs = zip(target.shape, prediction.shape, strict=False)
    if not alike or any(one not in (1, other) for one, other in pairs):
        raise UsageError(
            f"{call.entry.name}: the prediction is {list(prediction.shape)}, and the target "
            f"{list(target.shape)}"
        )


def _warnings(call: Call, target: Any) -> list[str]:
    found = []
    if call.entry.facts.masks and isinstance(target, torch.Tensor):
        if target.is_floating_point():
            sums = (
                target.reshape(*target.shape[:2], -1).sum(-1) if target.dim() > 1 else target.sum()
            )
            empty = bool((sums == 0).any())
        else:
            empty = bool((target == 0).all())
        if empty:
            found.append("a mask is empty: there the smoothing alone decides the value")
    return found
