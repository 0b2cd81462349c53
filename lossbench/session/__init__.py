"""From a config to a finished run: the only place where config, training and rundir meet."""
