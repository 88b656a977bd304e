"""Carry out steps of many faults: what is there is not made again, and an interruption leaves nothing running."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.progress import Progress

from tools.bench.faults.names import Fault, faults
from tools.bench.nets import ROOT

INTERRUPTED = 130
_PATIENCE = 10  # seconds that a process has to end


class Campaign:
    """Runs the steps of faults in processes of `module`, each in a session of its own, in the work directory `work`."""

    def __init__(self, module: str, work: Path, jobs: int) -> None:
        self._module, self._work, self._jobs = module, work, jobs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ends = False

    def make(self, step: str, made: str, wanted: Sequence[Fault]) -> bool:
        """Make a step of each fault that has no file `made`. Returns whether something went wrong."""
        left = [fault for fault in wanted if not (self._work / str(fault) / made).exists()]
        self._ends = False
        failed = False
        with Progress() as bar:
            task = bar.add_task(step, total=len(wanted), completed=len(wanted) - len(left))
            for fault, wrong in self._run(step, left):
                bar.update(task, advance=1)
                if wrong:
                    failed = True
                    bar.console.print(f"{fault}: {wrong.strip()}", markup=False, highlight=False)
        return failed

    def _run(self, step: str, wanted: Sequence[Fault]) -> Iterator[tuple[Fault, str]]:
        """Make a step of each fault; yield those that are done with what went wrong, if something did."""
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._one, step, fault): fault for fault in wanted}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                self._end()

    def _one(self, step: str, fault: Fault) -> str:
        command = [sys.executable, "-m", self._module, step, str(fault), str(self._work / str(fault))]
        with self._lock:
            if self._ends:
                return "interrupted"
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            self._running.add(process)
        _, errors = process.communicate()
        with self._lock:
            self._running.discard(process)
        return errors.decode(errors="replace")[-2000:] if process.returncode else ""

    def _end(self) -> None:
        """End what still runs."""
        with self._lock:
            self._ends = True
            running = list(self._running)
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which faults, where, and how many at a time."""
    add = parser.add_argument
    add("--work", type=Path, default=ROOT / "runs" / "faults", metavar="DIR", help="default: runs/faults")
    add("--only", nargs="+", default=[], metavar="PATTERN", help="only these faults")
    add("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="at a time (default: %(default)s)")


def wanted_faults(parser: argparse.ArgumentParser, only: Sequence[str]) -> list[Fault]:
    """Return the faults that match `only`; end the command where none does."""
    wanted = list(faults(only))
    if not wanted:
        parser.error(f"no fault matches {' '.join(only)}")
    return wanted


def carried_out(steps: Callable[[], bool]) -> int:
    """Return the exit code of steps that tell whether something went wrong; they may be interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what runs, as Ctrl-C does
    try:
        return int(steps())
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
        return INTERRUPTED
