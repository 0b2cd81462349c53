"""What the metrics are shown of a network's outputs.

A metric sees the prediction through the same link as the loss, in the form it declares: values in
the data's own units, a score per class (the largest wins), or probabilities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lossbench.components.declarations import MetricFacts
from lossbench.components.vocabulary import Applied, Target
from lossbench.errors import UsageError
from lossbench.training.model import Heads

TOGETHER = 250_000
"""Outputs of which a metric is computed at once, over all trials: bounds its memory."""


@dataclass(frozen=True)
class Scores:
    """Turns raw outputs [N, ...] into what metrics are shown.

    `mean` and `scale` are those of the real targets before they were standardised.
    """

    target: Target
    heads: Heads
    mean: Tensor | None = None
    scale: Tensor | None = None

    def to(self, device: torch.device) -> "Scores":
        """Return the same on a device."""
        if self.mean is None or self.scale is None:
            return self
        return replace(self, mean=self.mean.to(device), scale=self.scale.to(device))

    def views(self) -> frozenset[str]:
        """Return which forms of prediction this loss gives."""
        if self.target.kind in ("real", "count"):
            return frozenset({"values"})
        if self.target.kind == "objective":
            return frozenset({"values", "point"})
        if dict(self.heads.kinds)["prediction"] in ("scores", "real", "positive"):
            return frozenset({"scores"})
        return frozenset({"scores", "probabilities"})

    def show(self, raw: Tensor) -> dict[str, Tensor]:
        """Return every form of prediction that there is, by name."""
        if self.target.kind == "objective":
            return {"values": raw[:, :1], "point": raw[:, 1:]}
        kind = dict(self.heads.kinds)["prediction"]
        own = None if self.heads.show is None else self.heads.show(raw)
        if own is not None and "values" not in own:
            return dict(own)
        shown = self.heads.split(raw)["prediction"] if own is None else own["values"]
        if self.target.kind in ("real", "count"):
            values = shown.exp() if kind == "log" else shown
            if self.mean is not None and self.scale is not None:
                values = values * self.scale + self.mean
            return {"values": values}
        if kind == "positive":
            raw = -raw  # a distance: what is near is alike
        exclusive = self.heads.encoding in ("index", "distribution")
        single = not exclusive and self.target.kind == "class" and raw.shape[1] == 1
        if single:  # one output for two classes: its sign decides
            raw = torch.cat([-raw, raw], dim=1)
        if "probabilities" not in self.views():
            return {"scores": raw}
        if self.target.kind == "multilabel":
            return {"scores": raw, "probabilities": raw.sigmoid()}
        if exclusive:
            return {"scores": raw, "probabilities": raw.softmax(dim=1)}
        # One against the rest: the sigmoids are made to sum to one (two classes do already).
        each = raw.sigmoid()
        return {"scores": raw, "probabilities": each / each.sum(dim=1, keepdim=True)}


@dataclass(frozen=True)
class Metrics:
    """The metrics of a run, called on a whole split."""

    chosen: tuple[Applied, ...]
    scores: Scores

    def to(self, device: torch.device) -> "Metrics":
        """Return the same on a device."""
        return replace(self, scores=self.scores.to(device))

    def check(self) -> None:
        """Refuse a metric of another kind of target, or one that wants what the loss cannot say."""
        views = self.scores.views()
        kind = self.scores.target.kind
        for metric in self.chosen:
            facts: MetricFacts = metric.facts
            if kind not in facts.target:
                raise UsageError(
                    f"metric '{metric.name}' is for {' or '.join(facts.target)} targets, "
                    f"this dataset's are of kind {kind}"
                )
            if self.scores.target.size < facts.least_size:
                raise UsageError(
                    f"metric '{metric.name}' needs {facts.least_size} values per target, "
                    f"this dataset has {self.scores.target.size}"
                )
            if facts.prediction not in views:
                raise UsageError(
                    f"metric '{metric.name}' needs {facts.prediction}, which this loss's "
                    f"predictions are not (they give {' and '.join(sorted(views))})"
                )

    def names(self) -> tuple[str, ...]:
        """Return the metrics' names, in order."""
        return tuple(metric.name for metric in self.chosen)

    def lower_is_better(self) -> Mapping[str, bool]:
        """Return each metric's direction, where it has one; the loss's is always down."""
        directions = {m.name: m.facts.lower_is_better for m in self.chosen}
        return {"loss": True} | {n: lower for n, lower in directions.items() if lower is not None}

    def compute(self, outputs: Tensor, target: Tensor) -> dict[str, list[float]]:
        """Return every metric of every trial, from outputs [trials, N, ...] and plain targets."""
        alone = [metric for metric in self.chosen if not metric.facts.vmaps]
        rows = [self._one(alone, raw, target) for raw in outputs] if alone else []
        values = {metric.name: [row[metric.name] for row in rows] for metric in alone}
        for metric in self.chosen:
            if metric.facts.vmaps:
                values[metric.name] = self._together(metric, outputs, target)
        return {name: values[name] for name in self.names()}

    def _one(self, metrics: Sequence[Applied], raw: Tensor, target: Tensor) -> dict[str, float]:
        if not bool(torch.isfinite(raw).all()):
            return {metric.name: float("nan") for metric in metrics}
        shown = self.scores.show(raw)
        return {m.name: float(m(shown[m.facts.prediction], target)) for m in metrics}

    def _together(self, metric: Applied, outputs: Tensor, target: Tensor) -> list[float]:
        """Return a metric of all trials from one computation."""

        def one(raw: Tensor) -> Tensor:
            value: Tensor = metric(self.scores.show(raw)[metric.facts.prediction], target)
            return value

        # Metrics calculate in double precision, and compare samples with classes or bins.
        trials = max(1, TOGETHER // outputs[0].numel())
        values = torch.cat([torch.vmap(one)(part) for part in outputs.split(trials)])
        finite = torch.isfinite(outputs).flatten(1).all(dim=1)
        found: list[float] = torch.where(finite, values, torch.nan).tolist()
        return found
