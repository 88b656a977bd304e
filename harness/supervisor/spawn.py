"""Start a worker, and make sure that it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.processes import child_environment, signals_blocked
from harness.recording.black_box import BlackBox
from harness.recording.ring import Ring
from harness.supervisor.plan import Plan


@contextmanager
def worker_process(
    plan: Plan, ring: Ring, box: BlackBox, lock: int
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Start a worker that carries out `plan`; its output is a pipe. It is gone when the block is left.

    It inherits the memory of `ring` and `box`, the `lock` on the run directory, and a lifeline: a socket whose other
    end, which is yielded as well, closes with this process. The worker sends a byte through it where the ring is to be
    read.
    """
    payload = plan.payload
    if plan.keys is not None and payload.record_keys is not None:
        plan.keys.write(Path(payload.record_keys))
    held, lifeline = socket.socketpair()
    for end in (held, lifeline):
        end.setblocking(False)
    descriptors = (ring.fd, box.fd, lifeline.fileno(), lock)
    with signals_blocked():
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.worker.main", *map(str, descriptors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            env=child_environment(plan.info.blas_threads, payload.blas.core if payload.blas is not None else None),
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor, which passes it on
        )
    lifeline.close()
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already
            process.stdin.write(payload.encode())
            process.stdin.close()
        yield process, held
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        held.close()
