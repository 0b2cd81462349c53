"""Losses, activations and optimizers on the bench: one YAML file in, honest curves out.

    result = lossbench.train("config.yaml", "optimizer.lr=0.1")
    run = lossbench.load(result.path)
    run.metrics["loss"], run.summary["test"], run.weights()
    compared = lossbench.load("runs/optimizers_cubic/20260101-120000-c100-bcdf")
    compared.trials["contender"], compared.curves["train/loss"]["value"], compared.summary
    lossbench.losses.focal(x, y, gamma=2.0, reduction="mean")
    lossbench.activations.gelu(x)

Each name is imported when it is first used, so that `import lossbench` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lossbench._version import __version__

if TYPE_CHECKING:
    from lossbench.rundir.loading import load
    from lossbench.session.actions import train

    activations: Any
    distances: Any
    losses: Any

__all__ = ["__version__", "activations", "distances", "load", "losses", "train"]

_MODULES = {"load": "lossbench.rundir.loading", "train": "lossbench.session.actions"}
_KINDS = {"activations": "activation", "distances": "distance", "losses": "loss"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and remember it."""
    if name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    elif name in _KINDS:
        value = importlib.import_module("lossbench.functional").namespace(_KINDS[name])
    else:
        raise AttributeError(f"module 'lossbench' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
