"""All commands gathered: importing a file of commands adds them to the application."""

from lossbench.cli import (
    catalogue,
    check,
    compare,
    config,
    evaluate,
    new,
    plot,
    plot_comparison,
    plot_components,
    runs,
    train,
)
from lossbench.cli.app import run

__all__ = [
    "catalogue",
    "check",
    "compare",
    "config",
    "evaluate",
    "new",
    "plot",
    "plot_comparison",
    "plot_components",
    "run",
    "runs",
    "train",
]
