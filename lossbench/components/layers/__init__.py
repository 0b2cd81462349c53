"""Layers: torch's own, with input sizes inferred from the shape that arrives."""
