"""One lane of a comparison: a solver that trains a few iterations at each of its turns.

    python -m tools.bench.lane bare SOCKET SOLVER [GPU]
    python -m tools.bench.lane harness SOCKET RUN.PY'S ARGUMENTS…
    python -m tools.bench.lane timed SOCKET FILE RUN.PY'S ARGUMENTS…

`bare` is plain pycaffe. `harness` is harness/run.py as a user starts it, except that its worker (this module again, as
`worker`) waits for its turn after it has put a frame into the ring. `timed` is the same with a clock for the parts of
the supervisor (`tools.bench.where`).

SOCKET is an inherited file descriptor. A lane that has made its iterations sends its process id, and receives the
number of iterations of its next turn.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock


class Turns:
    """A lane's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._left = 1  # the first iteration, which warms up, is made immediately

    @property
    def ending(self) -> bool:
        """The turn ends with this iteration."""
        return self._left == 1

    def iteration_made(self) -> bool:
        """Wait during the other lane's turns. Return False if there are no more turns."""
        self._left -= 1
        if not self._left:
            self._socket.send(str(os.getpid()).encode())
            self._left = int(self._socket.recv(32) or 0)
        return self._left > 0


def bare(turns: Turns, path: str, gpu: str | None = None) -> None:
    import caffe

    caffe.init_log(0, True)
    wait_for_gpu = _set_device(caffe, gpu)
    solver = caffe.SGDSolver(path)
    while True:
        solver.step(1)
        if turns.ending:
            wait_for_gpu()  # or the end of this iteration would run in the other lane's turn
        if not turns.iteration_made():
            return


def _set_device(caffe: Any, gpu: str | None) -> Callable[[], None]:
    """Have Caffe compute there. Returns a function that waits until all that was launched is done."""
    if gpu is None:
        caffe.set_mode_cpu()
        return lambda: None
    import cupy

    caffe.set_device(int(gpu))
    caffe.set_mode_gpu()
    device = cupy.cuda.Device(int(gpu))
    device.use()
    return cast(Callable[[], None], device.synchronize)


def harness(descriptor: int, arguments: list[str]) -> int:
    from harness import run

    start = subprocess.Popen

    def start_worker(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if "harness.worker.main" in command:
            inherited = command[command.index("harness.worker.main") + 1 :]
            command = [sys.executable, "-P", "-m", "tools.bench.lane", "worker", str(descriptor), *inherited]
            options["pass_fds"] = (*options["pass_fds"], descriptor)
        return start(command, **options)

    with mock.patch.object(subprocess, "Popen", start_worker):
        return run.main(arguments)


def worker(turns: Turns, lifeline: str) -> int:
    from harness.recording.ring import Kind
    from harness.worker.channel import Channel
    from harness.worker.main import carry_out

    class WaitingChannel(Channel):
        def put(self, kind: Kind, payload: Any, **where: int) -> None:
            super().put(kind, payload, **where)
            if kind is Kind.FRAME:
                turns.iteration_made()

    return carry_out(int(lifeline), make_channel=WaitingChannel)


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    role, descriptor, *rest = sys.argv[1:]
    if role == "bare":
        bare(Turns(int(descriptor)), *rest)
    elif role == "harness":
        return harness(int(descriptor), rest)
    elif role == "timed":
        from tools.bench.where import timed

        with timed(Path(rest[0])):
            return harness(int(descriptor), rest[1:])
    else:
        return worker(Turns(int(descriptor)), *rest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
