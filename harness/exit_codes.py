"""Exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    RECORDING_FAILED = 1
    BAD_INPUT = 2
    DIVERGED = 3
    WORKER_DIED = 4
    INTERRUPTED = 130
