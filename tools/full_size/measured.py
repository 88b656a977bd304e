"""Run a command, and measure its time and the memory of all its processes together."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

import psutil

from tools.bench.nets import ROOT

_EVERY = 2.0  # seconds between two measurements of the memory


def measured(name: str, command: list[str]) -> int:
    """Run Python with `command` in the repository, and print what it took. Returns its exit code.

    The memory is that of the command and all its descendants at one time; what several of them share counts once.
    """
    started, most, largest = time.monotonic(), 0, 0
    with subprocess.Popen([sys.executable, *command], cwd=ROOT) as process:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_EVERY)
                break
            sizes = [_resident(one) for one in _family(process.pid)]
            most, largest = max(most, sum(sizes)), max(largest, *sizes, 0)
    print(
        f"{name}: exit code {process.returncode}, {time.monotonic() - started:,.0f} s, {most / 2**30:.2f} GiB in all "
        f"processes together, {largest / 2**30:.2f} GiB in the largest one",
        file=sys.stderr,
    )
    return process.returncode


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _resident(process: psutil.Process) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has ended."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
