"""Activations: functions between the layers of a network."""
