"""Start child processes that find this package, with the number of threads that suits the machine; free memory."""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress
from pathlib import Path

import harness

_GROUPS = Path("/sys/fs/cgroup")
_M_MMAP_THRESHOLD = -3  # malloc.h


def child_environment(blas_threads: int) -> dict[str, str]:
    """Return the environment for a child process: it finds this package, and BLAS uses `blas_threads` threads."""
    paths = [str(Path(harness.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": str(blas_threads)}


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
