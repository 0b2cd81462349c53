"""Data sets: made by a formula, shipped with scikit-learn, or read from files."""
