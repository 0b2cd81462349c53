"""All contracts of all kinds, collected: importing this file is what fills the table."""

from lossbench.checks import (
    activations,
    distances,
    documentation,
    loss_kernels,
    losses,
    optimizers,
    parts,
    schedules,
)
from lossbench.checks.contracts import CONTRACTS, check_contract, check_entries, check_entry

PARTS = (activations, distances, documentation, loss_kernels, losses, optimizers, parts, schedules)
"""The files that hold contracts."""

__all__ = ["CONTRACTS", "PARTS", "check_contract", "check_entries", "check_entry"]
