"""Layers: torch's own, with input sizes inferred from the shape that arrives.

That is what torch's lazy variants are for, so `LazyLinear` is `linear` here, and so on.
"""
