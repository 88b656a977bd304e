"""Replay arms of a run: each from a checkpoint, with something changed, and each once."""

from harness.experiments.arms import Arms, local
from harness.experiments.engine import Engines
from harness.experiments.local_pool import default_workers
from harness.experiments.repeating import Repeated, repeat
from harness.experiments.results import locked

__all__ = ["Arms", "Engines", "Repeated", "default_workers", "local", "locked", "repeat"]
