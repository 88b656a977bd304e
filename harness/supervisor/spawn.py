"""Start a worker, and make sure that it ends."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from harness.processes import blas_threads, child_environment, signals_blocked


class WaitingWorker:
    """A worker that imports Caffe, and then waits for a run to carry out. It is gone when the block is left.

    Few modules are imported here, so that a command can start it before its own imports, and before it plans the run.

    Attributes:
        process: its output is a pipe.
    """

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs, signals_blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.worker.main", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                env=child_environment(blas_threads()),
                start_new_session=True,  # the terminal's Ctrl-C is for the supervisor, which passes it on
            )

    def __enter__(self) -> WaitingWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def bell(self) -> int:
        """The descriptor of the connection, through which the worker sends a byte where the ring is to be read."""
        return self._connection.fileno()

    @contextmanager
    def carry_out(self, payload: bytes, *descriptors: int) -> Iterator[subprocess.Popen[bytes]]:
        """Have it carry out an encoded Payload, in this process's current directory and with its limit of open files.

        It is gone when the block is left. Its lifeline is the connection, whose other end closes with this process.

        Args:
            descriptors: the memory of the ring and of the black box, and the lock on the run directory.
        """
        content, directory = os.memfd_create("caffe-harness-payload"), os.open(".", os.O_PATH)
        try:
            with open(content, "wb", closefd=False) as file:
                file.write(payload)
            with suppress(OSError):  # it is dead already, or this is not allowed here
                resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
            with suppress(OSError):  # it is dead already
                socket.send_fds(self._connection, [b"\0"], (*descriptors, content, directory))
            self._connection.setblocking(False)
            yield self.process
        finally:
            os.close(content)
            os.close(directory)
            self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._connection.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
