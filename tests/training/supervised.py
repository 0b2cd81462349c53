"""The losses that a run on a data set may be given, and the knobs that they must be given."""

from typing import Any

from lossbench import registry
from lossbench.config.fit import OF_A_TASK

SUPERVISED = [
    name
    for name, entry in registry.loss.items()
    if not entry.facts.inputs
    and entry.facts.prediction not in OF_A_TASK
    and name not in ("boundary", "cl_dice", "hausdorff_dt")  # of pixels that have neighbours
]

_COUNTS = {"class_counts": (50, 20, 10)}

REQUIRED: dict[str, dict[str, Any]] = {  # knobs without a default, for three classes
    "bi_tempered": {"t1": 0.8, "t2": 1.2},
    "class_balanced": _COUNTS,
    "ldam": _COUNTS,
    "logit_adjusted": _COUNTS,
    "loss_correction": {"matrix": ((0.8, 0.1, 0.1), (0.0, 0.9, 0.1), (0.2, 0.0, 0.8))},
}
