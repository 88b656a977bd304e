"""Post-mortem of a recorded run: the onset, where in the net it began, and on which data."""
