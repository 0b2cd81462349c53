"""From YAML text to a frozen RunSpec, or to a list of everything that is wrong."""
