"""The changes of the restarts of the demo, and their last iteration."""

from __future__ import annotations

RESCUES = {"base_lr=0.0005": "slower", "clip_gradients=10": "clipped"}
RESCUED = 1100  # by then, the demo has been at chance level for 250 iterations
