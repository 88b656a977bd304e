"""Processes: how children are started and which signals reach them; cores, scheduling and memory of this one."""

from __future__ import annotations

import ctypes
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
from harness.blas_kernels import choice

_GROUPS = Path("/sys/fs/cgroup")
_M_MMAP_THRESHOLD = -3  # malloc.h


def child_environment(blas_threads: int, core: str | None = None) -> dict[str, str]:
    """Return the environment for a child process: it finds this package, and BLAS uses `blas_threads` threads.

    Args:
        core: the kernels that OpenBLAS is to take, if this processor can run them; None for those that it chooses.
    """
    paths = [str(Path(harness.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        dict(os.environ)
        | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": str(blas_threads)}
        | choice(core)
    )


def blas_threads() -> int:
    """Return the number of BLAS threads that the user's environment asks for, else the number of cores."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return cores()


# The supervisor decides what follows from these, also when they are sent to all processes of a run, as by systemd.
_FOR_THE_SUPERVISOR = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Start a process inside the block that none of the supervisor's signals reaches, until it calls `take_signals`."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_SUPERVISOR)  # inherited
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def take_signals() -> None:
    """Do nothing at the supervisor's signals from here on, but let them end the processes that this one starts.

    A Python layer may have processes of its own, and end them with SIGTERM.
    """
    for number in _FOR_THE_SUPERVISOR:
        signal.signal(number, lambda number, frame: None)  # unlike SIG_IGN, not inherited by another program
        signal.siginterrupt(number, False)
    os.register_at_fork(after_in_child=_restore_signals)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_THE_SUPERVISOR)


def _restore_signals() -> None:
    for number in _FOR_THE_SUPERVISOR:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def batch_scheduling() -> Iterator[None]:
    """Let this process wait for a core when it wakes up, instead of taking it from the worker (sched(7), SCHED_BATCH).

    BLAS threads wait for each other: to stop one for a moment stops all of them.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def cores(groups: Path = _GROUPS) -> int:
    """Count the cores of this process's affinity, or fewer if its container has a quota (`docker run --cpus 2`).

    cpu.max of cgroup v2, cpu.cfs_quota_us of v1 (Linux, Documentation/admin-guide/cgroup-v2.rst and
    scheduler/sched-bwc.rst): microseconds of all cores together, in a period of so many.
    """
    allowed = len(os.sched_getaffinity(0))
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    return allowed


def return_large_blocks() -> None:
    """Make malloc return blocks of 128 KiB and more to the system when they are freed.

    glibc raises that limit by itself to the largest block that was freed, and such blocks then leave gaps between small
    ones (mallopt(3), M_MMAP_THRESHOLD): a process that now and then computes with large arrays grows.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 17)
