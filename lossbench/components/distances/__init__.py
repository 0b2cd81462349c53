"""Distances and similarities: how far apart two points, boxes or sets are."""
