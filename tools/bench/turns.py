"""Lanes: the same training with and without the harness, a few iterations each in turn.

Whole runs one after the other would compare moments of the machine. Here all exist at the same time and one of them
runs: during a turn, the solvers of the other lanes wait on a socket and their supervisors are stopped (SIGSTOP), so
that data which a turn leaves to be written counts in the next turn of the same lane. The order is AB BA AB BA….
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]


class LaneDied(Exception):
    """A lane ended too early; the message contains the end of its log."""


class Lane:
    """A running lane: a bare solver, or harness/run.py with its worker and the process that draws.

    Args:
        role: `bare`, `harness` or `timed`.
        arguments: the solver, or those of run.py; for `timed` after the file for the times.
        log: file for the output.
        priority: nice value of the lane's session among others (sched(7)).
        still: a bare solver whose threads and prefetch processes are stopped between turns.
        checkout: the source tree whose harness it is, with its own virtual environment if it has one.
    """

    def __init__(
        self,
        role: str,
        arguments: list[str],
        log: Path,
        priority: int = 0,
        still: bool = False,
        checkout: Path = ROOT,
    ) -> None:
        self.log = log
        self._ours, theirs = socket.socketpair()
        own = checkout / ".venv" / "bin" / "python"
        python = str(own) if checkout != ROOT and own.exists() else sys.executable
        self._command = [python, "-P", "-m", "tools.bench.lane", role, str(theirs.fileno()), *arguments]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                self._command,
                pass_fds=(theirs.fileno(),),
                cwd=ROOT,  # paths in nets are relative to it
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # the live panel is drawn as on a terminal, which has its cost too
                env=dict(os.environ)
                | {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "PYTHONPATH": str(checkout)},
                start_new_session=True,
            )
        theirs.close()
        self.solver = psutil.Process(self._wait())
        self.harness = psutil.Process(self.process.pid) if role != "bare" else None
        self._others = self.solver.children() if still else []  # that read data, or draw
        if self.harness is not None:
            self._others = [child for child in self.harness.children() if child != self.solver]
        self._stopped = [self.solver, *self._others] if still else [*filter(None, [self.harness]), *self._others]
        if priority:
            for process in self.processes:
                Path(f"/proc/{process.pid}/autogroup").write_text(str(priority))

    def _wait(self) -> int:
        said = self._ours.recv(32)
        if not said:
            self.process.wait()
            words = self.log.read_text(errors="replace")[-3000:]
            raise LaneDied(f"{' '.join(self._command)}\nended with {self.process.returncode}:\n{words}")
        return int(said)

    def turn(self, iterations: int) -> float:
        """Train `iterations`, and return the seconds."""
        self._signal(signal.SIGCONT)
        started = time.perf_counter()
        self._ours.send(str(iterations).encode())
        self._wait()
        took = time.perf_counter() - started
        self._signal(signal.SIGSTOP)
        return took

    def _signal(self, number: signal.Signals) -> None:
        for process in self._stopped:
            process.send_signal(number)

    @property
    def processes(self) -> list[psutil.Process]:
        return [self.solver, *filter(None, [self.harness]), *self._others]

    def cpu_seconds(self) -> float:
        """Return the CPU time that all processes of the lane have used so far."""
        return sum(map(_cpu_seconds, self.processes))

    def supervisor_seconds(self) -> float:
        """Return the CPU time of the supervisor and of the process that draws."""
        return sum(_cpu_seconds(process) for process in self.processes if process != self.solver)

    def drawing_seconds(self) -> float:
        """Return the CPU time of the process that draws."""
        return sum(map(_cpu_seconds, self._others))

    def finish(self) -> None:
        """Let it end, which must be near.

        Raises:
            LaneDied: it has failed.
        """
        self._signal(signal.SIGCONT)
        self._ours.close()
        code = self.process.wait(timeout=120)
        if code:
            raise LaneDied(f"a lane ended with {code}: {self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        if self.process.poll() is None:
            for process in reversed(self.processes if hasattr(self, "solver") else [psutil.Process(self.process.pid)]):
                process.kill()
            self.process.wait()
        self._ours.close()


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def lane(
    role: str, arguments: list[str], log: Path, priority: int = 0, still: bool = False, checkout: Path = ROOT
) -> Iterator[Lane]:
    """Run a lane until the end of the block; see `Lane`."""
    one = Lane(role, arguments, log, priority, still, checkout)
    try:
        yield one
    finally:
        one.kill()


@dataclass(frozen=True)
class Comparison:
    """Seconds of each turn, bare and with the harness (or a part of it), and the CPU seconds of all turns.

    `supervisor_cpu` are those of the supervisor and of the process that draws.
    """

    turn: int
    bare: tuple[float, ...]
    harness: tuple[float, ...]
    bare_cpu: float
    harness_cpu: float
    supervisor_cpu: float = 0.0

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(h / b for h, b in zip(self.harness, self.bare, strict=True))

    @property
    def noise(self) -> float:
        """Typical difference of two equal turns: the median of |b' / b − 1| over neighbouring bare turns."""
        bare = np.array(self.bare)
        return float(np.median(np.abs(bare[1:] / bare[:-1] - 1))) if len(bare) > 1 else float("nan")


def compare(
    home: Path,
    solver: Path,
    turn: int,
    pairs: int,
    *,
    window: bool,
    warm_turns: int = 2,
    priority: int = 0,
    gpu: int | None = None,
    checkouts: Sequence[Path] = (ROOT,),
) -> list[Comparison]:
    """Train `solver` in a bare lane and with the harness of each of `checkouts`, in turn.

    Each lane has `pairs` turns, after `warm_turns` that do not count; on `gpu`, if given.
    """
    until = 1 + turn * (warm_turns + pairs)
    there = [] if gpu is None else [str(gpu)]
    with ExitStack() as stack:
        lanes = [stack.enter_context(lane("bare", [str(solver), *there], home / "bare.log", priority))]
        disks: list[_Disk | None] = [None]
        for number, checkout in enumerate(checkouts):
            run = home / ("run" if number == 0 else f"run-{number}")
            arguments = ["--solver", str(solver), "--out", str(run), "--until", str(until)]
            arguments += [f"--gpu={device}" for device in there]
            if window:
                arguments += ["--watch", f"0:{until}"]
            log = home / f"{run.name}.log"
            lanes.append(stack.enter_context(lane("harness", arguments, log, priority, checkout=checkout)))
            disks.append(_Disk(run / "recording.h5"))
        compared = _in_turns(lanes, turn, pairs, warm_turns, disks)
        for one in lanes[1:]:
            one.finish()
    return compared


def compare_solvers(
    home: Path, native: Path, other: Path, turn: int, pairs: int, *, warm_turns: int = 2, priority: int = 0
) -> Comparison:
    """Compare two solver files in bare pycaffe; the prefetch of the waiting one is stopped."""
    with (
        lane("bare", [str(native)], home / "native.log", priority, still=True) as bare,
        lane("bare", [str(other)], home / "other.log", priority, still=True) as changed,
    ):
        (compared,) = _in_turns([bare, changed], turn, pairs, warm_turns, [None, None])
        changed.finish()
    return compared


def _in_turns(
    lanes: Sequence[Lane], turn: int, pairs: int, warm_turns: int, disks: Sequence[_Disk | None]
) -> list[Comparison]:
    """Compare the first of `lanes` with each of the others. Each round has the order of the last one reversed."""
    seconds: list[list[float]] = [[] for _ in lanes]
    started = [(0.0, 0.0)] * len(lanes)
    for number in range(-warm_turns, pairs):
        if number == 0:
            started = [(one.cpu_seconds(), one.supervisor_seconds()) for one in lanes]
        for index in sorted(range(len(lanes)), reverse=number % 2 != 0):
            disk = disks[index]
            with disk.writing_back() if disk else nullcontext():
                took = lanes[index].turn(turn)
            if number >= 0:
                seconds[index].append(took)
    cpu = [one.cpu_seconds() - before for one, (before, _) in zip(lanes, started, strict=True)]
    beside = [one.supervisor_seconds() - before for one, (_, before) in zip(lanes, started, strict=True)]
    return [
        Comparison(turn, tuple(seconds[0]), tuple(seconds[n]), cpu[0], cpu[n], beside[n]) for n in range(1, len(lanes))
    ]


class _Disk:
    """Writes the page cache that a turn of the harness lane left to the disk, during that lane's next turn.

    The kernel could choose a turn of the bare lane for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing_back(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sync)
        thread.start()
        yield
        thread.join()

    def _sync(self) -> None:
        with self._path.open("rb") as file:
            os.fdatasync(file.fileno())
