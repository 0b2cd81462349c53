"""How a gradient becomes new weights: the optimizers of a group, each on its own rows.

Neighbours that share a rule are updated together (training/rules.py, training/kernel_rule.py).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from lossbench.components.rules import OptimizerFacts
from lossbench.components.vocabulary import Applied, is_off
from lossbench.training.kernel_rule import KernelPiece
from lossbench.training.knobs import Rate, masked, merged, merged_value
from lossbench.training.rules import FlatPiece, Piece, TensorPiece, facts_of
from lossbench.training.stack import Layout

BLOCK_ELEMENTS = 100_000
"""Elements that a rule works on at once: what it reads and writes then stays in the cache."""

EXACT_PIECES = 64
"""Pieces up to which a group is cut by the values of its knobs: each costs one call of its rule."""


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
        return facts_of(self.applied)

    @property
    def rate(self) -> float:
        """The learning rate before any schedule; a wrapper without its own has its base's."""
        return self.applied.rate

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


Climb = Callable[[Tensor, Tensor], Tensor]
"""(weights, gradients) of some rows -> where their gradients are to be taken once more."""


class Updater:
    """Updates the flat weights of a group, each optimizer its own rows."""

    def __init__(self, optimizers: Sequence[Optimizer], layout: Layout, flat: Tensor) -> None:
        self._pieces: list[Piece] = []
        self._flat = flat
        self._climbs: list[tuple[slice, Climb]] = []
        for rows in _alike(optimizers, layout.total):
            self._pieces += _pieces(rows, optimizers[rows], layout, flat[rows])
            climb = _climb(optimizers[rows], flat[rows])
            if climb is not None:
                self._climbs.append((rows, climb))
        self._averages = any(opt.facts.evaluate is not None for opt in optimizers)

    @property
    def looks_again(self) -> bool:
        """Whether some rule wants the gradient of a second place before it makes its step."""
        return bool(self._climbs)

    def second_place(self, grads: Tensor) -> Tensor:
        """Return the weights at which the gradients are to be taken once more; others stay."""
        place = self._flat.clone()
        for rows, climb in self._climbs:
            place[rows] = climb(self._flat[rows], grads[rows])
        return place

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

    def load(self, state: Iterable[Any]) -> None:
        """Take a state that `state()` gave; of an iterator, only as much as there are pieces."""
        states = iter(state)
        for piece in self._pieces:
            piece.keep(_clone(next(states)))


def _pieces(
    rows: slice, optimizers: Sequence[Optimizer], layout: Layout, params: Tensor
) -> list[Piece]:
    """Return what updates these rows, which share a rule."""
    first = optimizers[0]
    mask = layout.mask(first.decayed, params)
    applieds = [opt.without_rest() for opt in optimizers]
    if first.rest is None:
        if first.facts.scope != "tensor":  # sums over the model run along its row
            return [_flat_piece(rows, params, applieds, mask)]
        return [TensorPiece(rows, params, applieds, layout, layout.names, first.decayed)]
    matrices = [n for n, s in zip(layout.names, layout.shapes, strict=True) if len(s) == 2]
    columns = layout.mask(frozenset(layout.names) - frozenset(matrices), params).nonzero()[:, 0]
    rest = [opt.rest for opt in optimizers if opt.rest is not None]
    pieces: list[Piece] = []
    if matrices:
        pieces.append(TensorPiece(rows, params, applieds, layout, matrices, first.decayed))
    if len(columns):
        piece = FlatPiece(rows, params, rest, mask, columns)
        ratios = [own.rate / opt.rate for own, opt in zip(rest, optimizers, strict=True)]
        piece.rate_scale = merged_value(ratios, params)
        pieces.append(piece)
    return pieces


def _climb(optimizers: Sequence[Optimizer], params: Tensor) -> Climb | None:
    """Return where these rows, which share a rule, take their second gradient, if they do."""
    rule = merged([opt.applied for opt in optimizers], params)
    second_pass = facts_of(rule).second_pass
    if second_pass is None:
        return None
    return lambda weights, grads: second_pass(weights, grads, **rule.knobs)


def _flat_piece(
    rows: slice, params: Tensor, applieds: Sequence[Applied], mask: Tensor
) -> FlatPiece:
    """Return an elementwise rule on whole rows, through a kernel where one serves."""
    applied = masked(merged(applieds, params), mask)
    kind = KernelPiece if KernelPiece.serves(applied, params) else FlatPiece
    return kind(rows, params, applieds, mask)


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
    slices: list[slice] = []
    start = 0
    for _, same in groupby(optimizers, key=lambda opt: (key(opt), opt.decayed)):
        stop = start + len(list(same))
        # A kernel makes one pass, and needs no cache for what lies between two.
        passes = optimizers[start].facts.in_place is None
        most = max(1, BLOCK_ELEMENTS // max(1, parameters)) if passes else stop - start
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


def _clone(state: Any) -> Any:
    leaves, tree = tree_flatten(state)
    copies = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return tree_unflatten(copies, tree)
