"""The parameters of all trials of a group as one flat tensor, and views of it by name.

Trial axis first, always: `vmap` with the trial axis last silently leaves the running statistics of
batch norm untouched, and a trial's row would no longer be contiguous.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row of the flat tensor."""

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, model: nn.Module) -> "Layout":
        """Return the layout of a model's trainable parameters, in the module's own order."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        return cls(tuple(n for n, _ in named), tuple(tuple(p.shape) for _, p in named))

    @property
    def sizes(self) -> list[int]:
        """The number of elements of each parameter."""
        return [torch.Size(shape).numel() for shape in self.shapes]

    @property
    def total(self) -> int:
        """The number of elements of all parameters of one trial."""
        return sum(self.sizes)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return each parameter of all trials, [trials, *shape], as a view of the flat tensor."""
        trials = flat.shape[0]
        return [
            share.view(trials, *shape)
            for share, shape in zip(flat.split(self.sizes, dim=1), self.shapes, strict=True)
        ]

    def row(self, flat: Tensor, trial: int) -> dict[str, Tensor]:
        """Return one trial's parameters by name, as views of its row."""
        return {
            name: share.view(shape)
            for name, share, shape in zip(
                self.names, flat[trial].split(self.sizes), self.shapes, strict=True
            )
        }

    def mask(self, chosen: frozenset[str], flat: Tensor) -> Tensor:
        """Return a row with 1 where an element belongs to a chosen parameter, else 0."""
        parts = [
            torch.full((size,), float(name in chosen), dtype=flat.dtype, device=flat.device)
            for name, size in zip(self.names, self.sizes, strict=True)
        ]
        return torch.cat(parts) if parts else flat.new_zeros(0)


@dataclass(frozen=True)
class Given:
    """What a step computes with: the weights as they lie, and as tensors, the buffers behind."""

    layout: Layout
    flat: Tensor
    tensors: tuple[Tensor, ...]

    @property
    def buffers(self) -> tuple[Tensor, ...]:
        """The buffers alone."""
        return self.tensors[len(self.layout.names) :]


@dataclass
class Stack:
    """All weights of a group: `flat` [trials, parameters], and the buffers [trials, *shape]."""

    layout: Layout
    flat: Tensor
    buffers: dict[str, Tensor]

    @classmethod
    def build(
        cls, fresh: Callable[[int], nn.Module], trials: Sequence[int], device: torch.device
    ) -> "Stack":
        """Stack the models that `fresh(trial)` makes.

        `fresh` must be a function of the trial alone, so that a trial starts from the same
        weights in every group.
        """
        rows: list[Tensor] = []
        buffers: dict[str, list[Tensor]] = {}
        layout: Layout | None = None
        for trial in trials:
            model = fresh(trial)
            layout = layout or Layout.of(model)
            by_name = dict(model.named_parameters())
            parts = [by_name[name].detach().reshape(-1) for name in layout.names]
            rows.append(torch.cat(parts) if parts else torch.zeros(0))
            for name, buffer in model.named_buffers():
                buffers.setdefault(name, []).append(buffer.detach())
        assert layout is not None
        return cls(
            layout,
            torch.stack(rows).to(device),
            {name: torch.stack(values).to(device) for name, values in buffers.items()},
        )

    @property
    def trials(self) -> int:
        """The number of trials."""
        return self.flat.shape[0]

    def part(self, trials: slice) -> "Stack":
        """Return the weights of some trials, as views of these."""
        buffers = {name: value[trials] for name, value in self.buffers.items()}
        return Stack(self.layout, self.flat[trials], buffers)

    def given(self) -> Given:
        """Return what a step computes with."""
        return Given(
            self.layout, self.flat, (*self.layout.views(self.flat), *self.buffers.values())
        )
