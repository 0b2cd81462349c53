"""The module that a problem brings: a point as its only parameter, and a function of it."""

from collections.abc import Callable
from typing import Any

from lossbench.components.modules import KEEP_WITHIN
from lossbench.components.noise import normal
from lossbench.components.vocabulary import NOISE_KEY
from lossbench.lazy import Tensor, nn, torch

Function = Callable[..., Tensor]
"""(point [d], inputs [N, ...], *constants) -> values [N]."""


class Point(nn.Module):
    """The point [d] at which a function is looked at; what is trained is where it lies.

    `constants` are tensors that the function takes besides. In training, `noise` is the deviation
    of a normal error of every element of the gradient, drawn anew in every step; the value that is
    shown has none of it. With `within` the point is kept in that interval.
    """

    noise_key: Tensor

    def __init__(
        self,
        function: Function,
        start: Tensor,
        *constants: Tensor,
        noise: float = 0.0,
        within: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.point = nn.Parameter(start.detach().clone())
        self.noise = noise
        self.place = 0
        self._function = function
        # No buffers: they belong to the problem, and the trials of a group share them.
        self._constants = constants
        if noise:
            # Not part of the weights: the training step writes it before each forward pass.
            self.register_buffer(NOISE_KEY, torch.zeros(2, dtype=torch.int64), persistent=False)
        if within is not None:
            setattr(self, KEEP_WITHIN, within)

    def _apply(self, fn: Any, recurse: bool = True) -> "Point":
        """Take the constants along to another device or number type."""
        super()._apply(fn, recurse)
        self._constants = tuple(fn(constant) for constant in self._constants)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the value at the point for each sample, then the point: [N, 1 + d]."""
        count, size = len(inputs), self.point.numel()
        values = self._function(self.point, inputs, *self._constants)
        if self.noise and self.training:
            error = self.noise * normal(self.noise_key, self.place, count * size)
            # Worth nothing here, but its gradient is the error.
            nothing = self.point - self.point.detach()
            values = values + (error.view(count, size) * nothing).sum(dim=1)
        return torch.cat([values[:, None], self.point.expand(count, size)], dim=1)


def on_surface(formula: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """Return a function of the two coordinates alone: every sample sees the same value."""

    def value(point: Tensor, inputs: Tensor) -> Tensor:
        return formula(point[0], point[1]).expand(len(inputs))

    return value


def quadratic(point: Tensor, inputs: Tensor, hessian: Tensor) -> Tensor:
    """Return (point - x)^T Q (point - x) / 2 for each sample x; Q is a matrix, or its diagonal."""
    away = point - inputs
    pull = away * hessian if hessian.ndim == 1 else away @ hessian
    return (away * pull).sum(dim=1) / 2


def linear(point: Tensor, inputs: Tensor) -> Tensor:
    """Return the value of the line whose slope each sample is."""
    return (inputs * point).sum(dim=1)
