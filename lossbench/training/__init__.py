"""From a RunSpec to a stream of events; names no component."""
