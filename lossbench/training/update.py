"""How a gradient becomes new weights: the rules of the catalogue on the flat storage of a group.

A rule of scope "element" runs on the rows of many trials at once, with knobs that may differ from
row to row: no `vmap`, no loop over tensors. A rule of scope "tensor" runs tensor by tensor under
`vmap`: a norm taken over flat rows would mix what must stay apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from lossbench.components.declarations import OptimizerFacts
from lossbench.components.vocabulary import Applied, is_off
from lossbench.training.stack import Layout

BLOCK_ELEMENTS = 100_000
"""Elements that a rule works on at once: what it reads and writes then stays in the cache."""

EXACT_PIECES = 64
"""Pieces up to which a group is cut by the values of its knobs: each costs one call of its rule."""

Rate = float | Tensor
"""A learning rate: one number for all rows, or one per row, [rows, 1]."""


@dataclass(frozen=True)
class Optimizer:
    """A trial's optimizer: the rule with its knobs, and what weight decay acts on."""

    applied: Applied
    decayed: frozenset[str]
    schedule: str = ""
    """What is written of its schedule: where it is the same, the rates are."""

    @property
    def facts(self) -> OptimizerFacts:
        """What the optimizer declares, with these knobs."""
        return _facts(self.applied)

    @property
    def rate(self) -> float:
        """The learning rate before any schedule; a wrapper without its own has its base's."""
        return _own_rate(self.applied)

    @property
    def rest(self) -> Applied | None:
        """The optimizer of what is no matrix, where the rule takes matrices only."""
        name = self.facts.matrices_only
        return None if name is None else self.applied.knobs[name]

    def without_rest(self) -> Applied:
        """Return the rule with only the knobs that it takes itself."""
        knobs = dict(self.applied.knobs)
        if self.facts.matrices_only is not None:
            del knobs[self.facts.matrices_only]
        return replace(self.applied, knobs=knobs)


def _own_rate(applied: Applied) -> float:
    rate = applied.knobs.get("lr")
    return _own_rate(applied.knobs[applied.facts.wraps]) if rate is None else float(rate)


def _facts(applied: Applied) -> OptimizerFacts:
    facts: OptimizerFacts = applied.facts.resolved(applied.knobs)
    return facts


class Updater:
    """Updates the flat weights of a group, each optimizer its own rows."""

    def __init__(self, optimizers: Sequence[Optimizer], layout: Layout, flat: Tensor) -> None:
        self._pieces: list[_Piece] = []
        self._flat = flat
        for rows in _alike(optimizers, layout.total):
            self._pieces += _pieces(rows, optimizers[rows], layout, flat[rows])
        self._averages = any(opt.facts.evaluate is not None for opt in optimizers)

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None = None) -> None:
        """Make step number `step` (from 1) with the gradients [trials, parameters]."""
        for piece in self._pieces:
            piece.step(grads, step, rate, momentum)

    def evaluation(self) -> Tensor:
        """Return the weights to evaluate with: averaged ones where an optimizer keeps them."""
        if not self._averages:
            return self._flat
        weights = self._flat.clone()
        for piece in self._pieces:
            piece.write_evaluation(weights)
        return weights

    def state(self) -> list[Any]:
        """Return the state of every piece, in order; tensors are copies."""
        return [_clone(piece.state) for piece in self._pieces]

    def load(self, state: Sequence[Any]) -> None:
        """Take a state that `state()` gave."""
        for piece, saved in zip(self._pieces, state, strict=True):
            piece.state = _clone(saved)


class _Piece:
    """One rule on some rows and some parameters, with its knobs and its state."""

    state: Any

    def __init__(self, rows: slice, params: Tensor, applieds: Sequence[Applied]) -> None:
        self.rows = rows
        self.params = params
        self.applied = _merged(applieds, params)
        # The companion of a rule for matrices runs at its own rate; a schedule scales both.
        self.rate_scale: Rate = 1.0

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        raise NotImplementedError

    def write_evaluation(self, weights: Tensor) -> None:
        raise NotImplementedError

    def in_force(self, rate: Rate, momentum: Rate | None) -> tuple[Rate, Mapping[str, Any]]:
        """Return the rate and the knobs in force for these rows."""
        rate = self._own(rate)
        momentum = None if momentum is None else self._own(momentum)
        if isinstance(self.rate_scale, Tensor) or self.rate_scale != 1.0:
            rate = rate * self.rate_scale
        knobs = self.applied.knobs
        return rate, knobs if momentum is None else _with_momentum(knobs, momentum)

    def _own(self, value: Rate) -> Rate:
        """Return these rows' share of a value: a number where they agree, else a column."""
        if not isinstance(value, Tensor):
            return value
        own = value[self.rows]
        first = float(own[0])
        if bool((own == first).all()):
            return first
        return own.to(device=self.params.device, dtype=self.params.dtype)


class _FlatPiece(_Piece):
    """An elementwise rule on whole rows, or on some columns of them."""

    def __init__(
        self,
        rows: slice,
        params: Tensor,
        applieds: Sequence[Applied],
        mask: Tensor,
        columns: Tensor | None = None,
    ) -> None:
        super().__init__(rows, params, applieds)
        self.columns = columns
        self.applied = _masked(self.applied, mask if columns is None else mask[columns])
        knobs = _without_rate(self.applied.knobs)
        self.state = _facts(self.applied).init(self._chosen(params), **knobs)

    def _chosen(self, tensor: Tensor) -> Tensor:
        return tensor if self.columns is None else tensor[:, self.columns]

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place."""
        rate, knobs = self.in_force(rate, momentum)
        new, self.state = self.applied.function(
            self._chosen(self.params),
            self._chosen(grads if self.rows == slice(0, len(grads)) else grads[self.rows]),
            self.state,
            step,
            **{**knobs, "lr": rate},
        )
        if self.columns is None:
            self.params.copy_(new)
        else:
            self.params[:, self.columns] = new

    def write_evaluation(self, weights: Tensor) -> None:
        """Write the averaged weights of these rows, where the rule keeps any."""
        evaluate = _facts(self.applied).evaluate
        if evaluate is None:
            return
        knobs = _without_rate(self.applied.knobs)
        averaged = evaluate(self._chosen(self.params), self.state, **knobs)
        if self.columns is None:
            weights[self.rows] = averaged
        else:
            weights[self.rows][:, self.columns] = averaged


class _TensorPiece(_Piece):
    """A rule that needs the boundaries of tensors: each parameter by itself, trials by `vmap`."""

    def __init__(
        self,
        rows: slice,
        params: Tensor,
        applieds: Sequence[Applied],
        layout: Layout,
        names: Sequence[str],
        decayed: frozenset[str],
    ) -> None:
        super().__init__(rows, params, applieds)
        self._layout = layout
        self._indices = [layout.names.index(name) for name in names]
        self._decayed = [name in decayed for name in names]
        views = layout.views(params)
        self._views = [views[index] for index in self._indices]
        knobs = _without_rate(self.applied.knobs)
        init = _facts(self.applied).init
        self.state = [torch.vmap(lambda p: init(p, **knobs))(view) for view in self._views]

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place, tensor by tensor."""
        rate, knobs = self.in_force(rate, momentum)
        all_grads = self._layout.views(grads[self.rows])
        for place, (view, index, decays) in enumerate(
            zip(self._views, self._indices, self._decayed, strict=True)
        ):
            own = dict(knobs) if decays else _no_decay(knobs)
            new, self.state[place] = self._vmapped(
                view, all_grads[index], self.state[place], step, {**own, "lr": rate}
            )
            view.copy_(new)

    def _vmapped(
        self, params: Tensor, grads: Tensor, state: Any, step: int, knobs: Mapping[str, Any]
    ) -> tuple[Tensor, Any]:
        """Call the rule for all rows; knobs that differ between rows go in along the trials."""
        leaves, tree = tree_flatten(dict(knobs))
        varying = {i: leaf.reshape(-1) for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}

        def one(p: Tensor, g: Tensor, s: Any, values: dict[int, Tensor]) -> tuple[Tensor, Any]:
            filled = [values.get(i, leaf) for i, leaf in enumerate(leaves)]
            return self.applied.function(p, g, s, step, **tree_unflatten(filled, tree))

        return torch.vmap(one)(params, grads, state, varying)

    def write_evaluation(self, weights: Tensor) -> None:
        """Write the averaged weights of these rows, where the rule keeps any."""
        evaluate = _facts(self.applied).evaluate
        if evaluate is None:
            return
        knobs = _without_rate(self.applied.knobs)
        views = self._layout.views(weights[self.rows])
        for view, state, index in zip(self._views, self.state, self._indices, strict=True):
            views[index].copy_(torch.vmap(lambda p, s: evaluate(p, s, **knobs))(view, state))


def _pieces(
    rows: slice, optimizers: Sequence[Optimizer], layout: Layout, params: Tensor
) -> list[_Piece]:
    """Return what updates these rows, which share a rule."""
    first = optimizers[0]
    mask = layout.mask(first.decayed, params)
    applieds = [opt.without_rest() for opt in optimizers]
    if first.rest is None:
        if first.facts.scope == "element":
            return [_FlatPiece(rows, params, applieds, mask)]
        return [_TensorPiece(rows, params, applieds, layout, layout.names, first.decayed)]
    matrices = [n for n, s in zip(layout.names, layout.shapes, strict=True) if len(s) == 2]
    columns = layout.mask(frozenset(layout.names) - frozenset(matrices), params).nonzero()[:, 0]
    rest = [opt.rest for opt in optimizers if opt.rest is not None]
    pieces: list[_Piece] = []
    if matrices:
        pieces.append(_TensorPiece(rows, params, applieds, layout, matrices, first.decayed))
    if len(columns):
        piece = _FlatPiece(rows, params, rest, mask, columns)
        ratios = [_own_rate(own) / opt.rate for own, opt in zip(rest, optimizers, strict=True)]
        piece.rate_scale = _merged_value(ratios, params)
        pieces.append(piece)
    return pieces


def _alike(optimizers: Sequence[Optimizer], parameters: int) -> list[slice]:
    """Cut the trials into neighbours that are updated together.

    Neighbours with the same knobs and schedule share plain numbers, and each is then updated bit
    for bit as it would be alone. Where that would cut the group into too many pieces, knobs that
    differ become columns, which round differently (1e-7 of a step).
    """
    exact = _cut(optimizers, parameters, lambda opt: (repr(_exact(opt.applied)), opt.schedule))
    if len(exact) <= EXACT_PIECES:
        return exact
    return _cut(optimizers, parameters, lambda opt: _signature(opt.applied))


def _exact(applied: Applied) -> Any:
    return applied.name, sorted((name, _exact_value(v)) for name, v in applied.knobs.items())


def _exact_value(value: Any) -> str:
    return repr(_exact(value)) if isinstance(value, Applied) else repr(value)


def _cut(
    optimizers: Sequence[Optimizer], parameters: int, key: Callable[[Optimizer], Any]
) -> list[slice]:
    """Cut the trials into neighbours that agree in `key` and in what decays, of a bounded size."""
    most = max(1, BLOCK_ELEMENTS // max(1, parameters))
    slices: list[slice] = []
    start = 0
    for _, same in groupby(optimizers, key=lambda opt: (key(opt), opt.decayed)):
        stop = start + len(list(same))
        slices += [slice(at, min(at + most, stop)) for at in range(start, stop, most)]
        start = stop
    return slices


def _signature(applied: Applied) -> Any:
    """Return what two rules must share to be computed together: all but their `float` knobs."""
    knobs = tuple(
        (name, "lr" if name == "lr" and value is not None else _kind(value))
        for name, value in sorted(applied.knobs.items())
    )
    return applied.name, knobs


def _kind(value: Any) -> Any:
    if isinstance(value, Applied):
        return _signature(value)
    if isinstance(value, tuple):
        return tuple(_kind(item) for item in value)
    # A knob that is off may let its rule skip a term: then all rows must have it off.
    return ("off" if is_off(value) else "float") if isinstance(value, float) else value


def _merged(applieds: Sequence[Applied], like: Tensor) -> Applied:
    """Return one rule for all rows: knobs that differ become columns [rows, 1]."""
    first = applieds[0]
    knobs = {
        name: _merged_value([applied.knobs[name] for applied in applieds], like)
        for name in first.knobs
    }
    return replace(first, knobs=knobs)


def _merged_value(values: list[Any], like: Tensor) -> Any:
    first = values[0]
    if isinstance(first, Applied):
        return _merged(values, like)
    if all(value == first for value in values):
        return first  # a plain number: closer to torch.optim, and cheaper
    if isinstance(first, tuple):
        return tuple(_merged_value(list(items), like) for items in zip(*values, strict=True))
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


DECAY = "weight_decay"


def _masked(applied: Applied, mask: Tensor) -> Applied:
    """Return the rule with its weight decay 0 where a parameter is not to be shrunk."""
    knobs: dict[str, Any] = {
        name: _masked(value, mask) if isinstance(value, Applied) else value
        for name, value in applied.knobs.items()
    }
    decay = knobs.get(DECAY)
    if decay is not None and not is_off(decay) and not bool(mask.all()):
        knobs[DECAY] = decay * mask
    return replace(applied, knobs=knobs)


def _no_decay(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the knobs without weight decay, that of a wrapped rule included."""
    return {
        name: replace(value, knobs=_no_decay(value.knobs))
        if isinstance(value, Applied)
        else (0.0 if name == DECAY else value)
        for name, value in knobs.items()
    }


def _without_rate(knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in knobs.items() if name != "lr"}


def _with_momentum(knobs: Mapping[str, Any], momentum: Rate) -> dict[str, Any]:
    """Return the knobs with the momentum that a schedule cycles: `momentum`, or the first beta."""
    changed = dict(knobs)
    if "momentum" in changed:
        changed["momentum"] = momentum
    elif "betas" in changed:
        changed["betas"] = (momentum, *changed["betas"][1:])
    return changed


def _clone(state: Any) -> Any:
    leaves, tree = tree_flatten(state)
    copies = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return tree_unflatten(copies, tree)
