"""Where checks train, and how they run programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.processes import child_environment
from tools.bench.nets import ROOT
from tools.gpu_checks.nets import (
    CPU_BROKEN,
    CPU_NETS,
    CPU_TIMED,
    GPU_BROKEN,
    GPU_NETS,
    GPU_TIMED,
    Broken,
    Net,
    Timed,
)
from tools.gpu_checks.results import Unexpected

_LAST_LINES = 25


@dataclass(frozen=True)
class Place:
    """A directory for the files of all checks, and the GPU to train on (None: the CPU, with smaller nets)."""

    home: Path
    gpu: int | None

    @property
    def nets(self) -> tuple[Net, ...]:
        """The nets whose bits are compared."""
        return CPU_NETS if self.gpu is None else GPU_NETS

    def timed(self, net: str) -> Timed:
        """Return how `net` is timed; on the CPU, it is LeNet that is timed, for a moment."""
        return CPU_TIMED if self.gpu is None else GPU_TIMED[net]

    @property
    def broken(self) -> Broken:
        return CPU_BROKEN if self.gpu is None else GPU_BROKEN

    @property
    def device(self) -> tuple[str, ...]:
        """Options of run.py."""
        return ("--cpu",) if self.gpu is None else ("--gpu", str(self.gpu))

    def run(self, *command: str | Path, codes: Sequence[int] = (0,)) -> str:
        """Run a program in the repository with one BLAS thread, and return its standard output.

        Raises:
            Unexpected: it ends with another exit code than one of `codes`.
        """
        environment = child_environment(blas_threads=1)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode not in codes:
            shown = [Path(part).name if part == sys.executable else str(part) for part in command]
            lines = (done.stdout + done.stderr).splitlines()[-_LAST_LINES:]
            raise Unexpected(f"`{' '.join(shown)}` ended with exit code {done.returncode}", "\n".join(lines))
        return done.stdout

    def python(self, *arguments: str | Path, codes: Sequence[int] = (0,)) -> str:
        """Run this Python with `arguments`, as above."""
        return self.run(sys.executable, *arguments, codes=codes)
