"""From run directories to numbers: no torch, no training."""
