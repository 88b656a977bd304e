"""How many cores this process may use: one thread or process for each is what is fastest."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def cores(groups: Path = _GROUPS) -> int:
    """The cores of this process's affinity, or fewer where its container has a quota (`docker run --cpus 2`).

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
