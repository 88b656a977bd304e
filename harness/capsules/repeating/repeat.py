"""Repeat iterations of a run, and say why that failed where it did."""

from __future__ import annotations

from pathlib import Path

from harness.capsules.free_space import check_room
from harness.errors import BadInput, HarnessError, RecordingFailed
from harness.exit_codes import Exit
from harness.replay import Replay, Replayed, replay
from harness.schemas.listener import RunListener
from harness.supervisor.signals import Interrupts

_RECORDING = 20 << 20  # bytes that a short recording takes, with what has to stay free for it


class WorkerDied(HarnessError):
    """The process that runs Caffe died; the message says what is known of it."""

    code = Exit.WORKER_DIED


def repeat(request: Replay, out: Path, listener: RunListener, interrupts: Interrupts) -> Replayed:
    """Replay as `harness.replay.replay`, to the end or to the first difference.

    Raises:
        BadInput: the run cannot be repeated from there.
        RecordingFailed: the disk is full.
        WorkerDied: Caffe died.
        KeyboardInterrupt: the user has interrupted it.
    """
    check_room(out.parent, _RECORDING)
    done = replay(request, out, listener, interrupts)
    outcome = done.outcome
    if outcome.code is Exit.INTERRUPTED:
        raise KeyboardInterrupt
    if outcome.code is Exit.RECORDING_FAILED:
        raise RecordingFailed(outcome.sentence)
    if outcome.death is not None:
        raise WorkerDied("\n".join([outcome.death, *outcome.last_words]))
    if outcome.code is Exit.BAD_INPUT:
        raise BadInput(
            f"iterations from {request.first:,} on cannot be repeated: {outcome.sentence}",
            file=request.run,
            remedy="Restart it from there (harness/restart.py) to see more of it",
        )
    return done
