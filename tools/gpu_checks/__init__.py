"""Checks of the harness on a GPU, for owners of one; see `tools/check_gpu --help`."""
