"""The growth of both processes of a run: their resident size over many iterations of a tiny net."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row
from tools.bench.turns import lane


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the worker and of the supervisor after each number of iterations: (n,) each.

    `ring` is the maximum of shared memory that either of them had.
    """

    iterations: npt.NDArray[np.int64]
    solver: npt.NDArray[np.int64]
    harness: npt.NDArray[np.int64]
    ring: int

    def growth(self, sizes: npt.NDArray[np.int64]) -> float:
        """Return bytes per 1000 iterations: the slope of a line through the second half; the first half is warm-up."""
        late = self.iterations >= self.iterations[-1] / 2
        return 1000 * float(np.polyfit(self.iterations[late], sizes[late], 1)[0])

    @property
    def worst(self) -> float:
        return max(self.growth(self.solver), self.growth(self.harness))


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Measure the growth of each process, and the size of the ring."""
    made = PROBLEMS["tiny"](home)
    ring = 1
    seen = measure(home, made.solver, made.turn, 4000 if effort.quick else 20_000, ring)
    growth = {"solver": seen.growth(seen.solver), "harness": seen.growth(seen.harness)}
    detail = f"{seen.iterations[-1]:,} iterations; " + ", ".join(
        f"{who} {sizes[-1] / 2**20:.0f} MiB {growth[who]:+,.0f} B"
        for who, sizes in (("solver", seen.solver), ("harness", seen.harness))
    )
    raw = {n: getattr(seen, n).tolist() for n in ("iterations", "solver", "harness")} | {"growth": growth}
    yield Row(name, "growth of a process, per 1000 iterations", seen.worst / 1024, "KiB", 32, detail=detail, raw=raw)
    yield Row("ring", f"shared memory under --ring-mib {ring}", seen.ring / 2**20, "MiB", ring + 4096 / 2**20)


def measure(home: Path, solver: Path, turn: int, iterations: int, ring_mib: int) -> Memory:
    """Train `iterations` with the harness, and measure both processes after every `turn`."""
    arguments = ["--solver", str(solver), "--out", str(home / "run"), "--ring-mib", str(ring_mib)]
    arguments += ["--until", str(1 + iterations)]
    seen: list[tuple[int, int, int]] = []
    ring = 0
    with lane("harness", arguments, home / "harness.log") as one:
        for done in range(turn, iterations + 1, turn):
            one.turn(turn)
            solver_size, harness_size, *_ = (process.memory_info().rss for process in one.processes)
            seen.append((done, solver_size, harness_size))
            ring = max(ring, *(_shared(process) for process in one.processes))
        one.finish()
    iterations_seen, solvers, harnesses = np.array(seen, np.int64).T
    return Memory(iterations_seen, solvers, harnesses, ring)


def _shared(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssShmem:"))
