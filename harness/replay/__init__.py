"""Repeat a stretch of a run exactly as it was, verified by the digests that the run recorded at every iteration."""

from harness.replay.replaying import Replay, Replayed, replay
from harness.replay.starts import Nearest, nearest

__all__ = ["Nearest", "Replay", "Replayed", "nearest", "replay"]
