"""Everything that a YAML file may name."""
