"""The rules of the catalogue on some rows of a group: a whole row at once, or tensor by tensor.

A rule of scope "element" runs on the rows of many trials at once, with knobs that may differ from
row to row: no `vmap`, no loop over tensors. A rule of scope "tensor" runs tensor by tensor under
`vmap`: a norm taken over flat rows would mix what must stay apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from lossbench.components.rules import OptimizerFacts
from lossbench.components.vocabulary import Applied
from lossbench.training.knobs import Rate, masked, merged, no_decay, with_momentum, without_rate
from lossbench.training.stack import Layout


def facts_of(applied: Applied) -> OptimizerFacts:
    """Return what an optimizer declares, with its knobs."""
    facts: OptimizerFacts = applied.facts.resolved(applied.knobs)
    return facts


class Piece:
    """One rule on some rows and some parameters, with its knobs and its state."""

    state: Any

    def __init__(self, rows: slice, params: Tensor, applieds: Sequence[Applied]) -> None:
        self.rows = rows
        self.params = params
        self.applied = merged(applieds, params)
        # The companion of a rule for matrices runs at its own rate; a schedule scales both.
        self.rate_scale: Rate = 1.0

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place."""
        raise NotImplementedError

    def write_evaluation(self, weights: Tensor) -> None:
        """Write the averaged weights of these rows, where the rule keeps any."""
        raise NotImplementedError

    def keep(self, state: Any) -> None:
        """Take a new state."""
        self.state = state

    def own(self, grads: Tensor) -> Tensor:
        """Return the gradients of these rows."""
        return grads if self.rows == slice(0, len(grads)) else grads[self.rows]

    def in_force(self, rate: Rate, momentum: Rate | None) -> tuple[Rate, Mapping[str, Any]]:
        """Return the rate and the knobs in force for these rows."""
        rate = self._own(rate)
        momentum = None if momentum is None else self._own(momentum)
        if isinstance(self.rate_scale, Tensor) or self.rate_scale != 1.0:
            rate = rate * self.rate_scale
        knobs = self.applied.knobs
        return rate, knobs if momentum is None else with_momentum(knobs, momentum)

    def _own(self, value: Rate) -> Rate:
        """Return these rows' share of a value: a number where they agree, else a column."""
        if not isinstance(value, Tensor):
            return value
        own = value[self.rows]
        first = float(own[0])
        if bool((own == first).all()):
            return first
        return own.to(device=self.params.device, dtype=self.params.dtype)


class FlatPiece(Piece):
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
        self.applied = masked(self.applied, mask if columns is None else mask[columns])
        knobs = without_rate(self.applied.knobs)
        self.keep(facts_of(self.applied).init(self._chosen(params), **knobs))

    def _chosen(self, tensor: Tensor) -> Tensor:
        return tensor if self.columns is None else tensor[:, self.columns]

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place."""
        rate, knobs = self.in_force(rate, momentum)
        own, knobs = self._chosen(self.own(grads)), {**knobs, "lr": rate}
        new, state = self.applied.function(
            self._chosen(self.params), own, self.state, step, **knobs
        )
        self.keep(state)
        if self.columns is None:
            self.params.copy_(new)
        else:
            self.params[:, self.columns] = new

    def write_evaluation(self, weights: Tensor) -> None:
        """Write the averaged weights of these rows, where the rule keeps any."""
        evaluate = facts_of(self.applied).evaluate
        if evaluate is None:
            return
        knobs = without_rate(self.applied.knobs)
        averaged = evaluate(self._chosen(self.params), self.state, **knobs)
        if self.columns is None:
            weights[self.rows] = averaged
        else:
            weights[self.rows][:, self.columns] = averaged


class TensorPiece(Piece):
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
        knobs = without_rate(self.applied.knobs)
        init = facts_of(self.applied).init
        self.state = [torch.vmap(lambda p: init(p, **knobs))(view) for view in self._views]

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place, tensor by tensor."""
        rate, knobs = self.in_force(rate, momentum)
        all_grads = self._layout.views(self.own(grads))
        for place, (view, index, decays) in enumerate(
            zip(self._views, self._indices, self._decayed, strict=True)
        ):
            own = dict(knobs) if decays else no_decay(knobs)
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
        evaluate = facts_of(self.applied).evaluate
        if evaluate is None:
            return
        knobs = without_rate(self.applied.knobs)
        views = self._layout.views(weights[self.rows])
        for view, state, index in zip(self._views, self.state, self._indices, strict=True):
            views[index].copy_(torch.vmap(lambda p, s: evaluate(p, s, **knobs))(view, state))
