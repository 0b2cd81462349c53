"""The knobs of a rule for many trials: merged, masked, and as a schedule changes them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lossbench.components.vocabulary import Applied, is_off

DECAY = "weight_decay"

Rate = float | Tensor
"""A learning rate: one number for all rows, or one per row, [rows, 1]."""


def merged(applieds: Sequence[Applied], like: Tensor) -> Applied:
    """Return one rule for all rows: knobs that differ become columns [rows, 1]."""
    first = applieds[0]
    knobs = {
        name: merged_value([applied.knobs[name] for applied in applieds], like)
        for name in first.knobs
    }
    return replace(first, knobs=knobs)


def merged_value(values: list[Any], like: Tensor) -> Any:
    """Return one value for all rows: a number where they agree, else a column."""
    first = values[0]
    if isinstance(first, Applied):
        return merged(values, like)
    if all(value == first for value in values):
        return first  # a plain number: closer to torch.optim, and cheaper
    if isinstance(first, tuple):
        return tuple(merged_value(list(items), like) for items in zip(*values, strict=True))
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def masked(applied: Applied, mask: Tensor) -> Applied:
    """Return the rule with its weight decay 0 where a parameter is not to be shrunk."""
    knobs: dict[str, Any] = {
        name: masked(value, mask) if isinstance(value, Applied) else value
        for name, value in applied.knobs.items()
    }
    decay = knobs.get(DECAY)
    if decay is not None and not is_off(decay) and not bool(mask.all()):
        knobs[DECAY] = decay * mask
    return replace(applied, knobs=knobs)


def no_decay(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs without weight decay, that of a wrapped rule included."""
    return {
        name: replace(value, knobs=no_decay(value.knobs))
        if isinstance(value, Applied)
        else (0.0 if name == DECAY else value)
        for name, value in knobs.items()
    }


def without_rate(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs that make the first state."""
    return {name: value for name, value in knobs.items() if name != "lr"}


def with_momentum(knobs: Mapping[str, Any], momentum: Rate) -> dict[str, Any]:
    """Return the knobs with the momentum that a schedule cycles: `momentum`, or the first beta."""
    changed = dict(knobs)
    if "momentum" in changed:
        changed["momentum"] = momentum
    elif "betas" in changed:
        changed["betas"] = (momentum, *changed["betas"][1:])
    return changed


def are_plain(*values: Any) -> bool:
    """Tell whether there is nothing but numbers and words: no tensor, no other component."""
    return not any(isinstance(leaf, Tensor | Applied) for leaf in tree_leaves(values))
