"""The wait of a worker for its run: it is started early, and has imported Caffe when the supervisor has planned."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from harness.blas_kernels import CORETYPE
from harness.processes import child_environment
from harness.worker.blas import loaded_blas
from harness.worker.payload import Payload


def wait_for_run(connection: int) -> list[int]:
    """Wait for the descriptors that `WaitingWorker.carry_out` (supervisor.spawn) sends; ends with the supervisor."""
    with socket.socket(fileno=os.dup(connection)) as theirs:
        descriptors = socket.recv_fds(theirs, 1, 5)[1]
        theirs.setblocking(False)  # of both descriptors: a supervisor that is busy does not stop the worker
    if not descriptors:
        sys.exit()
    return descriptors


def restart_for_blas(payload: Payload, arguments: Sequence[int]) -> None:
    """Execute this process anew, with these arguments, where OpenBLAS runs otherwise than `payload` says.

    OpenBLAS chooses its kernels and starts its threads when it is loaded.
    """
    wanted = child_environment(payload.info.blas_threads, payload.blas.core if payload.blas is not None else None)
    core = wanted.get(CORETYPE)
    same_threads = wanted["OPENBLAS_NUM_THREADS"] == os.environ.get("OPENBLAS_NUM_THREADS")
    if same_threads and core in (os.environ.get(CORETYPE), loaded_blas().core):
        return
    _execute(arguments, wanted)


def _execute(arguments: Sequence[int], environment: dict[str, str]) -> NoReturn:
    for descriptor in arguments:
        os.set_inheritable(descriptor, True)
    command = [sys.executable, "-P", "-m", "harness.worker.main", *map(str, arguments)]
    os.execve(sys.executable, command, environment)
