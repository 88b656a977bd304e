"""Post-mortem of a run from its log alone."""
