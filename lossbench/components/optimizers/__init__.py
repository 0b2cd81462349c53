"""Optimizers: update rules, each a formula over whole tensors."""
