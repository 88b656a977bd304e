"""Benchmarks of recording, exact resume, reports, logs and data; see `python -m tools.bench --help`."""
