"""Metrics: what people read, computed on a whole split."""
