"""The run directory: what is written while a run trains, and read ever after."""
