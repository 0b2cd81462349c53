"""All commands gathered: importing a file of commands adds them to the application."""

from lossbench.cli import catalogue, check, config, plot, runs, train
from lossbench.cli.app import run

__all__ = ["catalogue", "check", "config", "plot", "run", "runs", "train"]
