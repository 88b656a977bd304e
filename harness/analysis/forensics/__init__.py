"""What became of a training run, from its log alone: `examine` says."""
