"""Post-mortem of a recorded run: onset, where in the net it broke, and on which data."""
