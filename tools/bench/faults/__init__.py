"""Faults planted into trainings, and whether explain.py finds them; see `python -m tools.bench faults --help`."""
