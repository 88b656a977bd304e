"""Benchmarks: what recording, an exact resume, reports and logs cost. `python -m tools.bench --help` lists them."""
