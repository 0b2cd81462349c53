"""A loss on given numbers: inputs made what it wants, values, reductions."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lossbench.components.declarations import LossFacts
from lossbench.components.vocabulary import Terms
from lossbench.errors import UnknownNameError, UsageError, listed
from lossbench.evaluate.arguments import (
    absent,
    find_knob,
    floats,
    knobs_from,
    number_tensor,
    place_inputs,
)
from lossbench.evaluate.names import SYMBOLS
from lossbench.kernels import loss_function, missing_state, reduce
from lossbench.lazy import Tensor, torch
from lossbench.registry import Entry, loss

Loss = Entry[LossFacts]

INPUT_KINDS = (
    "logits", "logits_sigmoid", "logits_softmax", "probs", "log_probs", "labels", "scores",
    "cosines", "embeddings",
)  # fmt: skip
"""What the numbers given as a prediction may be said to be."""

TARGET_KINDS = ("labels", "probs", "logits", "log_probs")

REDUCTIONS = (
    "none", "mean", "sum", "batchmean", "per_sample_mean", "per_sample_sum", "mean_all_elements",
    "mean_nonzero",
)  # fmt: skip

MULTI = ("index", "distribution")
"""Encodings of a target that is one of several classes."""


@dataclass(frozen=True)
class Call:
    """A loss with all that it is called with: `inputs` by position, `more` by name."""

    entry: Loss
    knobs: Mapping[str, Any]
    inputs: Mapping[str, Any]
    more: Mapping[str, Any]

    def terms(self, inputs: Mapping[str, Any] | None = None, impl: str = "auto") -> Terms:
        """Return the loss before reduction; other inputs may be given, by name."""
        changed = inputs or {}
        given = [changed.get(name, self.inputs[name]) for name in self.entry.inputs]
        more = {name: changed.get(name, value) for name, value in self.more.items()}
        return loss_function(self.entry, self.knobs, impl)(*given, **more)

    def floats(self) -> dict[str, Tensor]:
        """Return what a gradient may be taken by: floats, but neither target nor state."""
        fixed = {"target", *self.entry.facts.state}
        return {
            name: value
            for name, value in {**self.inputs, **self.more}.items()
            if name not in fixed and isinstance(value, torch.Tensor) and value.is_floating_point()
        }


def prepare(
    entry: Loss, params: Mapping[str, Any], inputs: Mapping[str, Any], target: Any = None
) -> Call:
    """Make a call of plain data.

    `params` are the knobs, with `input_kind`, `target_kind` and `part` where the loss can take
    them. Raises UsageError where something cannot be placed or does not fit.
    """
    given = dict(params)
    input_kind, target_kind = given.pop("input_kind", None), given.pop("target_kind", None)
    _known("input_kind", input_kind, INPUT_KINDS)
    _known("target_kind", target_kind, TARGET_KINDS)
    arrays = dict(inputs) | ({} if target is None else {"target": target})
    entry = _form(entry, arrays)
    if entry.facts.forms and find_knob(entry, "form") is None:
        given.pop("form", None)  # the inputs have said it
    part = _part(entry, given)
    for name in [n for n in given if _is_array(entry, n, given[n])]:
        arrays[name] = given.pop(name)
    if entry.facts.parameters:
        for name in ("in_features", "num_classes", "embedding_size"):
            given.pop(name, None)  # the matrix says it
    if input_kind in _ACTIVATIONS and find_knob(entry, "activation"):
        given.setdefault("activation", _ACTIVATIONS[input_kind])
        input_kind = None
    knobs = knobs_from(entry, given)
    placed = place_inputs(entry.inputs, arrays, lambda name: _further(entry, name), entry.name)
    missing = [name for name in entry.inputs if name not in placed]
    for name in list(missing):
        # The generator of many games never sees the real ones.
        needless = part == "generator" and name in ("d_real", "d_fake")
        if _optional(entry, name) or (needless and {"d_real", "d_fake"} & set(placed)):
            placed[name] = None
            missing.remove(name)
    if missing:
        raise UsageError(f"{entry.name} takes {listed(entry.inputs)}: {absent(missing)}")
    tensors = {n: _tensor(entry, knobs, n, v) for n, v in placed.items()}
    if "target_lengths" in tensors and tensors["target"].dim() == 1:
        tensors["target"] = _in_rows(tensors["target"], tensors["target_lengths"])
    _convert(entry, knobs, tensors, input_kind, target_kind)
    more = {name: value for name, value in tensors.items() if name not in entry.inputs}
    like = next(value for value in tensors.values() if isinstance(value, torch.Tensor))
    more |= missing_state(entry, knobs, like, more)
    named = {name: tensors[name] for name in entry.inputs}
    return Call(entry, knobs, named, more | ({} if part is None else {"part": part}))


def _form(entry: Loss, given: Mapping[str, Any]) -> Loss:
    """Return the form of a loss that takes what is given: itself, unless another fits better."""
    if set(given) <= {*entry.inputs, *entry.facts.parameters, *entry.facts.state}:
        return entry
    forms = (loss[name] for name in entry.facts.forms)
    return next((form for form in forms if set(form.inputs) == set(given)), entry)


def _optional(entry: Loss, name: str) -> bool:
    """Tell whether a formula does without an input: its annotation then allows none."""
    annotation = inspect.signature(entry.function).parameters[name].annotation
    return type(None) in get_args(annotation)


_ACTIVATIONS = {
    "probs": "none", "labels": "none", "logits_sigmoid": "sigmoid", "logits_softmax": "softmax"
}  # fmt: skip


def _known(what: str, given: str | None, valid: tuple[str, ...]) -> None:
    if given is not None and given not in valid:
        raise UnknownNameError(what, str(given), valid)


def _part(entry: Loss, given: dict[str, Any]) -> str | None:
    if not entry.facts.parts:
        return None
    part = given.pop("part", None)
    if part is None:
        raise UsageError(f"{entry.name} is a game of {listed(entry.facts.parts)}: say which part")
    _known(f"part of {entry.name}", part, entry.facts.parts)
    return str(part)


def _is_array(entry: Loss, name: str, value: Any) -> bool:
    """Tell whether one of the params is numbers of a head, a matrix or a state, and no knob."""
    if _further(entry, name) is None:
        return False
    matrix = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    return matrix or find_knob(entry, name) is None


def _further(entry: Loss, name: str) -> str | None:
    """Return the head, learned parameter or state that a name stands for."""
    facts = entry.facts
    known = [*facts.heads, *facts.parameters, *facts.state]
    if name in known:
        return name
    if name in ("var", "variance") and "variance" in known:
        return "variance"
    symbol = SYMBOLS.get(entry.name, {}).get(name)
    if symbol in known:
        return symbol
    matrices = list(facts.parameters)
    if name in ("weight", "weights", "W", "proxies", "prototypes", "centers") and matrices:
        return matrices[0]
    return None


def _tensor(entry: Loss, knobs: Mapping[str, Any], name: str, value: Any) -> Any:
    """Return one input as a tensor; a list of feature maps as a list of them."""
    if value is None:
        return None
    slot = entry.facts.inputs.get(name)
    if slot == "features":
        return [floats(number_tensor(item, f"{name}[{i}]")) for i, item in enumerate(value)]
    tensor = number_tensor(value, name)
    if slot in ("index", "lengths"):
        return _indices(tensor, name)
    if name == "target" and slot is None:
        return tensor  # which encoding it is depends on the prediction
    state = entry.facts.state.get(name)
    if state is not None and not tensor.is_floating_point():
        made = state(1, **knobs) if callable(state) else torch.tensor(float(state))
        return tensor.to(made.dtype) if not made.is_floating_point() else tensor.double()
    return floats(tensor)


def _indices(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_floating_point():
        if bool((tensor != tensor.round()).any()):
            raise UsageError(f"{name} must be whole numbers, for they are indices")
        tensor = tensor.round()
    return tensor.long()


def _in_rows(target: Tensor, lengths: Tensor) -> Tensor:
    """Return labels that lie one sequence after the other as rows, padded with zeros."""
    sizes = lengths.reshape(-1).tolist()
    if sum(sizes) != len(target):
        raise UsageError(f"target holds {len(target)} labels, and target_lengths {sum(sizes)}")
    return torch.nn.utils.rnn.pad_sequence(list(target.split(sizes)), batch_first=True)


def _convert(
    entry: Loss,
    knobs: Mapping[str, Any],
    tensors: dict[str, Any],
    input_kind: str | None,
    target_kind: str | None,
) -> None:
    """Make the prediction and the target what the loss wants, in place."""
    first = entry.inputs[0]
    slots = entry.facts.inputs
    wants = slots.get(first) if slots else entry.facts.prediction_with(knobs)
    if "target" in tensors and not slots.get("target"):
        tensors["target"] = _target(entry, tensors[first], tensors["target"], target_kind)
    if input_kind is None:
        if not slots and target_kind is None:
            return
    else:
        multi = bool(set(MULTI) & set(entry.facts.encodings)) or not entry.facts.encodings
        tensors[first] = _prediction(tensors[first], input_kind, str(wants), multi)
        if input_kind == "cosines":
            for name in entry.facts.parameters:
                tensors.setdefault(name, None)
    second = entry.inputs[1] if len(entry.inputs) > 1 else None
    if target_kind in ("probs", "log_probs") and second and slots.get(second) == "logits":
        given = tensors[second]
        tensors[second] = given if target_kind == "log_probs" else given.log()
    elif target_kind == "probs" and second == "target" and knobs.get(entry.facts.log_target or ""):
        tensors["target"] = tensors["target"].log()


def _prediction(given: Tensor, kind: str, wants: str, multi: bool) -> Tensor:
    """Turn what a prediction is said to be into what the loss wants."""
    tiny = torch.finfo(given.dtype).tiny
    if kind == "labels":
        kind = "probs"
    if wants in ("logits", "raw"):
        if kind == "probs":
            return given.clamp(min=tiny).log() if multi else torch.logit(given)
        return given
    if wants == "log_probabilities":
        if kind == "probs":
            return given.log()
        return given.log_softmax(1) if kind in ("logits", "logits_softmax") else given
    if wants == "probabilities":
        if kind == "log_probs":
            return given.exp()
        if kind == "logits_softmax" or (kind == "logits" and multi):
            return given.softmax(1)
        return given.sigmoid() if kind in ("logits", "logits_sigmoid") else given
    return given


def _target(entry: Loss, prediction: Any, target: Tensor, target_kind: str | None) -> Tensor:
    """Return the target in the encoding that fits what was given."""
    encodings = entry.facts.encodings
    if encodings in (("labels",),):
        return _indices(target, "target")
    whole = not target.is_floating_point() or bool((target == target.round()).all())
    as_index = target.dim() < prediction.dim() and target_kind != "probs"
    if "index" in encodings and as_index:
        if not whole:
            raise UsageError("the target must be class indices, which are whole numbers")
        return _indices(target, "target")
    if encodings == ("index",) and target.shape == prediction.shape and target.dim() > 1:
        one_hot = whole and bool((target.sum(1) == 1).all())
        if not one_hot:
            raise UsageError(f"{entry.name} takes class indices, and the target is a distribution")
        return target.argmax(1)
    target = floats(target)
    if encodings == ("plus_minus",) and bool(((target == 0) | (target == 1)).all()):
        return 2 * target - 1  # zeros and ones can only mean this
    return target


def reduced(terms: Terms, reduction: str) -> Tensor:
    """Reduce a loss: as torch does, or per sample, over all elements, or over those that are not 0.

    Raises UnknownNameError for any other reduction.
    """
    if reduction not in REDUCTIONS:
        raise UnknownNameError("reduction", str(reduction), REDUCTIONS)
    values = terms.values
    if reduction.startswith("per_sample"):
        flat = values.reshape(len(values), -1)
        return flat.sum(1) if reduction.endswith("sum") else flat.mean(1)
    if reduction == "mean_all_elements":
        return values.mean()
    if reduction == "mean_nonzero":
        count = (values > 0).sum()
        return values.sum() / count.clamp(min=1)
    return reduce(terms, reduction)
