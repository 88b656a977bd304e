"""Prefetch processes: make the batches of a resumed data layer ahead of the solver."""
