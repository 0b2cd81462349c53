"""How a group of trials will be trained, decided before the first step.

The plan is made from shapes and bytes, never from a clock: timing a few steps picks wrongly near
the break-even, and the choice changes the last bits of the results. It is written into the run's
record and taken from there by a resume.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

StepKind = Literal["fused", "plain"]

FUSE_BELOW = 50_000
"""Parameters per trial from which fusing gains nothing (4 to 5 times at 9 600, 1.0 at 85 000)."""

CHUNK_BYTES = 24_000_000
"""Bytes of the largest tensor of a chunk. Above 32 MB the allocator returns its pages at every
step and takes them again, which makes a step two to three times slower."""

CHUNK_TRIALS = 1024

BUSY_STEP = 50_000_000
"""Multiplications per step from which a second intra-op thread pays for its synchronisation."""


@dataclass(frozen=True)
class Plan:
    """The decisions, each with its reason.

    chunk is the number of trials computed together; threads are torch's intra-op threads.
    """

    step: StepKind
    reason: str
    device: str
    device_reason: str
    trials: int = 1
    chunk: int = 1
    threads: int = 1
    parameters: int = 0

    def record(self) -> dict[str, Any]:
        """Return the plan as plain data, for the run's record."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Plan":
        """Read a plan back."""
        return cls(**record)


@dataclass(frozen=True)
class Sizes:
    """What the plan is made from: elements per trial, and multiplications of one step.

    `largest_activation` and `activations` (their sum) are those of one batch.
    """

    parameters: int
    largest_activation: int
    activations: int
    multiplications: int


def make_plan(
    sizes: Sizes,
    *,
    trials: int,
    asked: Literal["auto", "fused", "plain"],
    needs_plain: str | None,
    device: tuple[str, str],
    threads: int | Literal["auto"],
) -> Plan:
    """Decide how to train `trials` trials of these sizes.

    `needs_plain` is the reason why only the plain step can train them, or none. `asked` wins where
    it can.
    """
    step, reason = _choose_step(sizes.parameters, asked, needs_plain)
    largest = max(sizes.parameters, sizes.largest_activation, 1)
    chunk = max(1, min(trials, CHUNK_TRIALS, CHUNK_BYTES // (4 * largest)))
    return Plan(
        step=step,
        reason=reason,
        device=device[0],
        device_reason=device[1],
        trials=trials,
        chunk=1 if step == "plain" else chunk,
        threads=_choose_threads(sizes.multiplications) if threads == "auto" else threads,
        parameters=sizes.parameters,
    )


def _choose_step(parameters: int, asked: str, needs_plain: str | None) -> tuple[StepKind, str]:
    if needs_plain is not None:
        return "plain", needs_plain
    if asked == "plain":
        return "plain", "asked for (train.step: plain)"
    if asked == "fused":
        return "fused", "asked for (train.step: fused)"
    if parameters < FUSE_BELOW:
        return "fused", f"{parameters} parameters, below {FUSE_BELOW}: a traced step is faster"
    return "plain", f"{parameters} parameters, {FUSE_BELOW} or more: fusing gains nothing"


def _choose_threads(multiplications: int) -> int:
    """One thread for small steps: two spin at barriers, 10 to 50 times slower on a busy machine."""
    if multiplications < BUSY_STEP:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), 8) if hasattr(os, "sched_getaffinity") else 1)
