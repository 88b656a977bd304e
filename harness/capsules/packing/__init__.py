"""Make the run directory that a capsule holds, out of a run."""
