"""Inputs drawn for a component by what it declares: the numbers that the checks try it on.

A `Draw` has a sort: usual numbers, large, tiny, constant ones, or those on the boundary of cases.
The same words ask for all sorts, so that a component that needs inputs of its own says once what
they are and is tried on all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lossbench.lazy import Tensor, torch

Sort = Literal["random", "large", "tiny", "constant", "boundary"]
SORTS: tuple[Sort, ...] = ("random", "large", "tiny", "constant", "boundary")

ROWS, CLASSES = 6, 4
"""The usual number of samples, and of classes, channels or coordinates (even: glu halves it)."""

LARGE, TINY, CONSTANT = 1e4, 1e-30, 0.75


@dataclass
class Draw:
    """Draws inputs of one sort, the same ones every time.

    `largest` bounds the size of real numbers, for formulas that grow exponentially. Integers and
    signs are always random: only what is differentiated has sorts.
    """

    sort: Sort = "random"
    dtype: "torch.dtype | None" = None
    seed: int = 0
    largest: float = LARGE
    _source: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.dtype = self.dtype or torch.float32
        self._source = torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, whatever the sort."""
        return torch.randn(shape, generator=self._source, dtype=torch.float64).to(self.dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers between two ends, whatever the sort."""
        drawn = torch.rand(shape, generator=self._source, dtype=torch.float64)
        return (low + (high - low) * drawn).to(self.dtype)

    def real(self, *shape: int) -> Tensor:
        """Return numbers of either sign; on the boundary: halves and quarters, zeros among them."""
        drawn = self.normal(*shape)
        if self.sort == "large":
            return min(self.largest, LARGE) * drawn.clamp(-1, 1)
        if self.sort == "tiny":
            return TINY * drawn
        if self.sort == "constant":
            return torch.full_like(drawn, CONSTANT)
        return (4 * drawn).round() / 4 if self.sort == "boundary" else 2 * drawn

    def positive(self, *shape: int) -> Tensor:
        """Return positive numbers, of at least a thousandth."""
        return self.real(*shape).abs().clamp(min=1e-3)

    def probabilities(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1]; large inputs give exact zeros and ones."""
        return self.real(*shape).sigmoid()

    def distribution(self, *shape: int, dim: int = 1) -> Tensor:
        """Return probabilities that add up to 1 along a dimension."""
        return self.real(*shape).softmax(dim)

    def labels(self, *shape: int, classes: int = CLASSES) -> Tensor:
        """Return class indices."""
        return torch.randint(classes, shape, generator=self._source)

    def pairs(self, rows: int = ROWS) -> Tensor:
        """Return labels of which each occurs at least twice, in mixed order."""
        doubled = torch.arange(rows) // 2
        return doubled[torch.randperm(rows, generator=self._source)]

    def counts(self, *shape: int) -> Tensor:
        """Return counts from 0 to 7."""
        return self.uniform(*shape, high=8.0).floor()

    def zero_one(self, *shape: int) -> Tensor:
        """Return zeros and ones."""
        return (self.uniform(*shape) > 0.5).to(self.dtype)

    def signs(self, *shape: int) -> Tensor:
        """Return -1 and 1."""
        return 2 * self.zero_one(*shape) - 1

    def boxes(self, rows: int = ROWS) -> Tensor:
        """Return boxes x1, y1, x2, y2 of positive size; large and tiny ones by the sort."""
        scale = {"large": 1e3, "tiny": 1e-2}.get(self.sort, 1.0)
        if self.sort == "constant":
            return torch.tensor([[0.25, 0.5, 1.25, 2.0]], dtype=self.dtype).repeat(rows, 1)
        corner = self.uniform(rows, 2, low=-0.5, high=0.5)
        size = self.uniform(rows, 2, low=0.5, high=1.5)
        if self.sort == "boundary":  # edges that touch, boxes within boxes, equal ones
            corner, size = (2 * corner).round() / 2, (2 * size).round().clamp(min=1) / 2
        return torch.cat([corner, corner + size], dim=1) * scale

    def images(self, *shape: int) -> Tensor:
        """Return images with values in [0, 1]; by default 2 of 1 channel, 16 x 16."""
        shape = shape or (2, 1, 16, 16)
        if self.sort == "constant":
            return torch.full(shape, CONSTANT, dtype=self.dtype)
        drawn = self.uniform(*shape)
        if self.sort == "boundary":
            return drawn.round()
        return 1e-3 * drawn if self.sort == "tiny" else drawn

    def features(self, rows: int = ROWS) -> list[Tensor]:
        """Return the feature maps of four layers, fewer places and more channels from each on."""
        shapes = ((1, 3, 3), (2, 2, 2), (2, 2, 1), (3, 1, 1))
        return [self.real(rows, *shape) for shape in shapes]

    def lists(self, rows: int = ROWS, classes: int = CLASSES) -> Tensor:
        """Return lists of label indices padded with -1: none, some and all labels."""
        order = torch.rand(rows, classes, generator=self._source).argsort(1)
        ends = torch.arange(rows) % (classes + 1)
        return torch.where(torch.arange(classes) == ends.unsqueeze(1), -1, order)

    def prediction(self, kind: str, shape: Sequence[int] = (ROWS, CLASSES)) -> Tensor:
        """Return what a loss wants from the network, by the name of its kind."""
        if kind == "boxes":
            return self.boxes(shape[0])
        if kind == "image":
            return self.images()
        if kind == "value":
            return self.real(shape[0])
        if kind == "log_probabilities":
            return self.real(*shape).log_softmax(1)
        makers = {"probabilities": self.probabilities, "positive": self.positive}
        return makers.get(kind, self.real)(*shape)

    def target(self, encoding: str, shape: Sequence[int] = (ROWS, CLASSES)) -> Tensor:
        """Return a target for predictions of this shape, by the name of its encoding."""
        if encoding == "index":
            return self.labels(shape[0], *shape[2:], classes=shape[1] if len(shape) > 1 else 2)
        if encoding == "labels":
            return self.lists(shape[0], shape[1])
        if encoding == "boxes":
            return self.boxes(shape[0])
        if encoding == "image":
            return self.images()
        if encoding == "distribution":
            return (4 * self.uniform(*shape)).softmax(1)
        if encoding == "objective":
            return self.normal(shape[0], 1, shape[-1])
        if encoding == "real":
            # Quarters, so that residuals lie exactly on a kink where predictions do.
            return (4 * self.uniform(*shape, low=-1.0)).round() / 4
        makers = {"count": self.counts, "zero_one": self.zero_one, "plus_minus": self.signs}
        return makers[encoding](*shape)

    def slot(self, slot: str, shape: Sequence[int] = (ROWS, CLASSES)) -> Any:
        """Return one named input of a loss by what it is declared to be.

        Labels among named inputs are drawn in pairs: comparing samples needs some that are alike.
        Real numbers are predictions here.
        """
        if slot == "features":
            return self.features(shape[0])
        if slot == "index":
            return self.pairs(shape[0])
        if slot == "plus_minus":
            return self.signs(shape[0])
        if slot in ("zero_one", "count", "labels", "distribution", "objective"):
            return self.target(slot, shape)
        return self.prediction(slot, shape)
