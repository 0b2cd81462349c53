"""Components on the user's own numbers: their values and gradients, and expected numbers."""
