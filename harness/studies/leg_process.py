"""The process of a leg: it does what restart.py does, with what is left of the leg.

    python -P -m harness.studies.leg_process LEG

LEG is a leg as JSON. The process ends with a snapshot and exit code 130 after SIGINT or SIGTERM, when a file STOP
appears in a run directory of the leg (which is then removed), and when its standard input closes: who started it has
died.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import select
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from harness import output
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.recording.writer import SPARE_SPACE
from harness.schemas.leg import Leg
from harness.studies.leg_runs import STOP, next_command, numbered, result_of, stretches, wait_for_recorder

_LOOK = 200  # milliseconds between two looks for the file


def main(leg: Leg) -> int:
    """Make what is left of `leg`, unless another process has done so meanwhile. Returns the exit code.

    It is that of restart.py, whose module is run as `python -m harness.restart` would: it then ends this process.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until restart.py handles it
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1))
        _lock(leg)
        wait_for_recorder(leg)  # the solver of a process that was killed
        runs = stretches(leg)
        done = result_of(leg, runs)
        if done is not None:
            return done.code
        free = shutil.disk_usage(Path(leg.directory).parent).free
        if free < SPARE_SPACE:
            print(f"error: the disk is full ({free / 2**20:.1f} MiB free). Free some space", file=sys.stderr)
            return Exit.RECORDING_FAILED
        command = next_command(leg, runs)
        places = [numbered(leg, number) / STOP for number in range(1, len(runs) + 2)]
        for place in places:
            place.unlink(missing_ok=True)  # it was meant for an earlier process
        threading.Thread(target=_watch, args=(places,), daemon=True).start()
        sys.argv[1:] = command
        runpy.run_module("harness.restart", run_name="__main__", alter_sys=True)
    except BadInput as error:
        print(f"error: {output.visible_line(error)}", file=sys.stderr)
        return Exit.BAD_INPUT
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.DONE


def _lock(leg: Leg) -> None:
    """Wait until no other process makes this leg; this one has the lock from here to its end.

    Raises:
        BadInput: the file of the lock cannot be made.
    """
    directory = Path(leg.directory)
    path = directory.with_name(f".{directory.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        remedy = "Give a directory where you may write"
        raise BadInput(f"cannot be made ({error.strerror})", file=path, remedy=remedy) from None
    with suppress(OSError):  # this file system has no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _watch(places: Sequence[Path]) -> None:
    """Send this process SIGTERM when one of the files `places` appears, which is removed, or standard input closes.

    SIGTERM, because a second SIGINT would ask for an end without a snapshot.
    """
    lifeline = select.poll()
    lifeline.register(0, select.POLLIN)
    asked = False
    while not asked:
        asked = bool(lifeline.poll(_LOOK))
        for place in places:
            if place.exists():
                place.unlink(missing_ok=True)
                asked = True
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(msgspec.json.decode(sys.argv[1], type=Leg)))
