"""Replay arms of a run: each from a checkpoint, with something changed, and each once."""

from harness.experiments.arms import Arms, local
from harness.experiments.local_pool import default_workers

__all__ = ["Arms", "default_workers", "local"]
