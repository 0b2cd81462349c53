"""Which trials of a comparison can be computed together, and in which pieces.

Trials share a computation when everything that shapes it is the same: data, network, loss, batch
size, number of steps. What may differ from row to row stays out of the key: seeds, optimizers,
schedules, and the `float` knobs of lossbench's own networks, activations and losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from lossbench.components.vocabulary import is_off
from lossbench.config.spec import Choice, RunSpec
from lossbench.plugins import resolve
from lossbench.training.plan import Plan

SHARED_KINDS = ("network", "activation", "loss")
"""The kinds of component that are part of the computation and may have knobs that differ."""


@dataclass(frozen=True)
class Chunk:
    """Trials that are computed together, by their positions, and how."""

    number: int
    group: int
    trials: tuple[int, ...]
    plan: Plan


def group_trials(specs: Sequence[RunSpec]) -> list[list[int]]:
    """Return the positions of the trials by group, groups and trials in the order they came."""
    groups: dict[str, list[int]] = {}
    for position, spec in enumerate(specs):
        groups.setdefault(group_key(spec), []).append(position)
    return list(groups.values())


def group_key(spec: RunSpec) -> str:
    """Return what two trials must have in common to be computed together."""
    shared = {kind: _shape_of(getattr(spec, kind)) for kind in SHARED_KINDS}
    alone = ""
    if spec.train.step == "plain" or needs_plain(spec):
        # Trained one by one, but looked at once: their seeds make no other group of them.
        alone = repr((spec.optimizer, spec.schedule))
    same = (
        spec.dataset,
        spec.metrics,
        replace(spec.train, seed=0),
        sorted(shared.items()),
        _cycles_momentum(spec),
        _watches(spec),
        alone,
    )
    return repr(same)


def needs_plain(spec: RunSpec) -> str | None:
    """Return why only the plain step can train a run, or none."""
    optimizer = resolve(spec.optimizer)
    if spec.train.amp != "off":
        return f"mixed precision (train.amp: {spec.train.amp}) needs the plain step"
    if resolve(spec.activation).facts.random:
        return f"activation '{spec.activation.name}' draws random numbers in torch's kernel"
    if optimizer.facts.kernel_only is not None:
        return f"optimizer '{optimizer.name}': {optimizer.facts.kernel_only}"
    if spec.optimizer.impl == "kernel":
        return "asked for (optimizer.impl: kernel)"
    return None


def _shape_of(choice: Choice) -> Any:
    """Return a choice without the values that may differ between rows."""
    free = _may_vary(choice)
    knobs = {
        name: ("off" if is_off(value) else "float") if name in free else value
        for name, value in choice.knobs.items()
    }
    return choice.name, choice.impl, str(choice.file), sorted(knobs.items(), key=lambda kv: kv[0])


def _may_vary(choice: Choice) -> frozenset[str]:
    """Return the knobs that may be tensors: the plain floats of a component of our own.

    A user's own code may call `math.log` on its knob, or branch on it: there they stay numbers.
    """
    if choice.file is not None or choice.impl == "kernel":
        return frozenset()
    return frozenset(name for name, value in choice.knobs.items() if isinstance(value, float))


def _cycles_momentum(spec: RunSpec) -> str:
    if spec.schedule is None:
        return ""
    facts = resolve(spec.schedule).facts
    return "" if facts.momentum is None else repr(spec.schedule)


def _watches(spec: RunSpec) -> bool:
    return spec.schedule is not None and bool(resolve(spec.schedule).facts.state)


def with_tensors(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Return the trials of a group with each knob that differs between them as a 0-d tensor."""
    varying = {kind: _differing([getattr(spec, kind) for spec in specs]) for kind in SHARED_KINDS}
    if not any(varying.values()):
        return list(specs)
    return [
        replace(
            spec,
            network=_as_tensors(spec.network, varying["network"]),
            activation=_as_tensors(spec.activation, varying["activation"]),
            loss=_as_tensors(spec.loss, varying["loss"]),
        )
        for spec in specs
    ]


def _differing(choices: Sequence[Choice]) -> frozenset[str]:
    first = choices[0]
    return frozenset(
        name
        for name in _may_vary(first)
        if any(choice.knobs[name] != first.knobs[name] for choice in choices)
    )


def _as_tensors(choice: Choice, names: frozenset[str]) -> Choice:
    knobs: Mapping[str, Any] = {
        name: torch.tensor(value, dtype=torch.float32) if name in names else value
        for name, value in choice.knobs.items()
    }
    return replace(choice, knobs=knobs)


SECONDS_PER_PIECE = 60.0
"""Estimated seconds that a piece may take: what an interrupt or a crash can cost."""

MOST_OVERHEAD = 0.1
"""The share of a piece's work that each piece may cost by itself, so that small ones stay cheap."""


def piece_size(chunk: int, own: float, per_trial: float) -> int:
    """Return how many of at most `chunk` trials make a piece that does not take long.

    A piece takes `own` seconds, estimated from shapes and never from a clock, and `per_trial` for
    each of its trials. Below a certain size its own seconds would make it slow: there it stays.
    """
    if per_trial <= 0:
        return chunk
    in_time = (SECONDS_PER_PIECE - own) / per_trial
    worth_it = own / (MOST_OVERHEAD * per_trial)
    return max(1, min(chunk, int(max(in_time, worth_it))))


def cut(trials: Sequence[int], chunk: int, at_least: int = 1) -> list[tuple[int, ...]]:
    """Cut a group into pieces of nearly equal size, none above `chunk`, and at least so many."""
    pieces = min(len(trials), max(at_least, -(-len(trials) // chunk)))
    size, longer = divmod(len(trials), pieces)
    bounds = [0]
    for piece in range(pieces):
        bounds.append(bounds[-1] + size + (piece < longer))
    return [tuple(trials[a:b]) for a, b in pairwise(bounds)]
