"""Train a small net under the harness for long, and check that no process grows.

    .venv/bin/python -m tools.soak [--minutes N] [--out DIR]

A short run is resumed, so that prefetch processes feed it; windows are recorded, tests made, snapshots taken and old
ones removed. The memory of each process that is not shared with others is measured every few seconds. Exit code 1 if a
process grows: if the line through its sizes after the first third rises by more than 4 KiB per 1,000 iterations and by
more than its noise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from harness.recording import Recording
from tools.small_net import small_solver

ROOT = Path(__file__).resolve().parents[1]
_EVERY = 3.0  # seconds between two measurements
_SNAPSHOT, _KEEP = 500, 3
_LIMIT = 4096.0  # bytes per 1,000 iterations
_FOREVER = 100_000_000

Sizes = npt.NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="duration (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the run is made (default: a temporary directory)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        iterations, sizes = soak(args.out or Path(name) / "soak", 60 * args.minutes)
    late = iterations >= iterations[-1] / 3
    print(f"{iterations[-1]:,.0f} iterations, {len(iterations)} measurements")
    growing = 0
    for role, values in sizes.items():
        slope, error = growth(iterations[late], values[late])
        grows = slope > _LIMIT and slope > 3 * error
        growing += grows
        print(
            f"{role:12s} {values[late][0] / 2**20:6.1f} … {values[-1] / 2**20:6.1f} MiB, "
            f"{slope / 1024:+.2f} ± {error / 1024:.2f} KiB per 1,000 iterations{'  GROWS' if grows else ''}"
        )
    return int(growing > 0)


def growth(iterations: Sizes, sizes: Sizes) -> tuple[float, float]:
    """Fit a line. Returns bytes per 1,000 iterations, and the standard error of that."""
    (slope, _), covariance = np.polyfit(iterations / 1000, sizes, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def soak(home: Path, seconds: float) -> tuple[Sizes, dict[str, Sizes]]:
    """Train for `seconds` in the new directory `home`.

    Returns:
        (n,) the iteration at each of n measurements, and (n,) bytes of each process by its role.
    """
    solver = small_solver(home, max_iter=_FOREVER, snapshot=_SNAPSHOT)
    run: list[str | Path] = [sys.executable, ROOT / "harness/run.py", "--solver", solver]
    subprocess.run([*run, "--out", home / "first", "--until", str(_SNAPSHOT)], check=True, stdout=subprocess.DEVNULL)
    state = home / f"first/snapshots/tiny_iter_{_SNAPSHOT}.solverstate"
    windows = [f"--watch={start}:{start + 20}" for start in range(1000, 1_000_000, 10_000)]
    more: list[str | Path] = ["--keep-snapshots", str(_KEEP), "--out", home / "run", *windows]
    with (home / "stderr").open("wb") as log:
        process = subprocess.Popen([*run, "--resume", state, *more], stdout=subprocess.DEVNULL, stderr=log)
    try:
        rows = list(_measured(process, home / "run", time.monotonic() + seconds))
    finally:
        process.terminate()
        process.wait()
    if process.returncode != 130:
        raise SystemExit(f"the run ended with exit code {process.returncode}: {(home / 'stderr').read_text()[-2000:]}")
    roles = set.intersection(*(set(found) for _, found in rows))
    iterations = np.array([iteration for iteration, _ in rows], np.float64)
    return iterations, {role: np.array([found[role] for _, found in rows], np.float64) for role in sorted(roles)}


def _measured(process: subprocess.Popen[bytes], run: Path, end: float) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield the iteration and the sizes of all processes, until `end` or until the run ends."""
    while not (run / "recording.h5").exists() and process.poll() is None:
        time.sleep(0.1)
    with Recording(run) as recording:
        while time.monotonic() < end and process.poll() is None:
            time.sleep(_EVERY)
            recording.refresh()
            count = len(recording.series("lr"))
            with suppress(psutil.NoSuchProcess):
                yield count, _sizes(psutil.Process(process.pid))


def _sizes(supervisor: psutil.Process) -> dict[str, int]:
    """Return the resident bytes that a process does not share, by its role."""
    found = {"supervisor": _own(supervisor)}
    for child in supervisor.children(recursive=True):
        command = " ".join(child.cmdline())
        if "harness.worker.main" in command:
            found["worker"] = _own(child)
        elif "harness.prefetch" in command:
            number = sum(role.startswith("prefetch") for role in found)
            found[f"prefetch {number}"] = _own(child)
    return found


def _own(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


if __name__ == "__main__":
    sys.exit(main())
