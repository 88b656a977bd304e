"""What a run that is over has to tell: what became of it, where in the net it broke, on which data."""
