"""Studies: restarts of a run, several at a time, each a run directory."""
