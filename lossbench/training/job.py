"""A group of trials, ready to train: built, checked, and on its device."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lossbench.config.spec import EarlyStopping, RunSpec
from lossbench.training.order import Order
from lossbench.training.plan import Plan
from lossbench.training.rates import Rates
from lossbench.training.scoring import Metrics
from lossbench.training.step import Split, Step


@dataclass(frozen=True)
class Job:
    """What the loop needs.

    splits:         inputs and encoded targets by split; `targets` are the plain ones, in the
                    data's own units, for the metrics.
    monitor:        the validation metric whose best weights are kept; none without validation.
    watched:        the validation metric that a schedule or early stopping may wait for.
    facts:          shapes, sizes and fingerprints, for the run's record.
    """

    specs: tuple[RunSpec, ...]
    plan: Plan
    step: Step
    order: Order
    rates: Rates
    metrics: Metrics
    splits: Mapping[str, Split]
    targets: Mapping[str, Tensor]
    epochs: int
    evaluate_every: int
    monitor: str | None
    watched: str
    early_stopping: EarlyStopping | None
    dtype: torch.dtype = torch.float32
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps of an epoch."""
        return self.order.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run, unless it stops early."""
        return self.order.steps_per_epoch * self.epochs

    def record(self) -> dict[str, Any]:
        """Return what was found out while building, as plain data."""
        return dict(self.facts) | {
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
            "note": self.step.note,
            "lower_is_better": dict(self.metrics.lower_is_better()),
        }
