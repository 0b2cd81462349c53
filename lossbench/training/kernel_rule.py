"""An elementwise rule through torch's kernel, which updates flat tensors in place in one pass.

A formula reads and writes all weights once per operation, of which Adam has eight; what a small
network computes takes less time than that. A kernel rounds otherwise, 1e-7 of a step, but always
in the same way: it is taken wherever all knobs are plain numbers, for one trial as for a thousand.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lossbench.components.vocabulary import Applied
from lossbench.training.knobs import Rate, are_plain
from lossbench.training.rules import FlatPiece, facts_of

REGISTER = 16
"""Numbers in the widest vector register. What a kernel finds beyond a multiple of its register it
computes one by one, where the compiler rounds otherwise: the last elements are computed in a
tensor of this size, so that a trial's are the same wherever in the group they lie."""

FEW = 512
"""Elements up to which all of them are computed in such a tensor."""


class KernelPiece(FlatPiece):
    """An elementwise rule on whole rows, whose optimizer declares a kernel that updates in place.

    The state keeps its names and shapes, and is a view of storage that fills whole registers.
    """

    def __init__(
        self, rows: slice, params: Tensor, applieds: Sequence[Applied], mask: Tensor
    ) -> None:
        self._count = params.numel()
        # Of few elements, copying all of them costs less than telling the last ones apart.
        self._whole = self._count - self._count % REGISTER if self._count > FEW else 0
        self._filled = -(-self._count // REGISTER) * REGISTER
        super().__init__(rows, params, applieds, mask)
        self._in_place: Any = facts_of(self.applied).in_place
        flat = params.view(-1)
        # The last elements, and where they are computed.
        self._last = flat[self._whole :]
        self._last_params, self._last_grads = params.new_zeros(2, self._filled - self._whole)
        self._new_last = self._last_params[: len(self._last)]
        self._new_grads = self._last_grads[: len(self._last)]
        self._grads = [self._last_grads]
        self._params = self._lists(flat[: self._whole], self._last_params)

    @staticmethod
    def serves(applied: Applied, params: Tensor) -> bool:
        """Tell whether there is a kernel for a rule with these knobs on such parameters."""
        return (
            facts_of(applied).in_place is not None
            and applied.kernel is not None  # else the formula is asked for
            and are_plain(applied.knobs)
            and params.device.type == "cpu"
            and params.is_contiguous()
            and params.numel() > 0
        )

    def keep(self, state: Any) -> None:
        """Take a new state, into storage that ends with a whole register."""
        self.state, self._padded = {}, {}
        for name, value in state.items():
            padded = value.new_zeros(self._filled)
            padded[: self._count] = value.reshape(-1)
            self.state[name] = padded[: self._count].view(value.shape)
            self._padded[name] = self._lists(padded[: self._whole], padded[self._whole :])

    def step(self, grads: Tensor, step: int, rate: Rate, momentum: Rate | None) -> None:
        """Update these rows in place."""
        now, knobs = self.in_force(rate, momentum)
        if isinstance(now, Tensor) or isinstance(momentum, Tensor):
            # Rates that watch a metric, or cycle, may differ from row to row.
            super().step(grads, step, rate, momentum)
            return
        own = self.own(grads).view(-1)
        if len(self._last):
            self._new_last.copy_(self._last)
            self._new_grads.copy_(own[self._whole :] if self._whole else own)
        lists = self._lists(own[: self._whole], self._last_grads) if self._whole else self._grads
        self._in_place(self._params, lists, self._padded, step, **{**knobs, "lr": now})
        if len(self._last):
            self._last.copy_(self._new_last)

    def _lists(self, whole: Tensor, last: Tensor) -> list[Tensor]:
        """Return those of the two in which there is something to compute."""
        if not self._whole:
            return [last]
        return [whole, last] if self._count > self._whole else [whole]
