"""Plant faults into trainings, have explain.py find them, and compare what it says with what is true.

Each fault is a data set, a net and a solver, trained as any other and recorded, healthy at first and broken for good;
replays in which one thing is undone tell what is true of it. Each has a directory NET-KIND-SEED in the work directory,
with its files, the recorded run, truth.json and result.json. What is there is not made again: after an interruption
(Ctrl-C), the same command continues.

All of it takes hours. `--only` takes nets, kinds, seeds, or patterns of names, as in --only lenet 'batchnorm-units-*'.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.progress import Progress
from rich_argparse import RawDescriptionRichHelpFormatter

from tools.bench.faults import result_file, truth_file
from tools.bench.faults.names import Fault, faults
from tools.bench.faults.scoring import Score, score
from tools.bench.faults.table import markdown
from tools.bench.nets import ROOT

_PATIENCE = 10  # seconds that a process has to end


class Campaign:
    """Runs the steps of faults in processes, each in a session of its own, in the work directory `work`."""

    def __init__(self, work: Path, jobs: int) -> None:
        self._work, self._jobs = work, jobs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ends = False

    def run(self, step: str, wanted: Sequence[Fault]) -> Iterator[tuple[Fault, str]]:
        """Make a step of each fault; yield those that are done with what went wrong, if something did."""
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._one, step, fault): fault for fault in wanted}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                self._end()

    def _one(self, step: str, fault: Fault) -> str:
        command = [sys.executable, "-m", "tools.bench.faults.one", step, str(fault), str(self._work / str(fault))]
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench faults", description=__doc__, formatter_class=RawDescriptionRichHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, default=ROOT / "runs" / "faults", metavar="DIR", help="default: runs/faults")
    add("--only", nargs="+", default=[], metavar="PATTERN", help="only these faults")
    add("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="at a time (default: %(default)s)")
    add("--plant", action="store_true", help="plant only: nothing is explained")
    add("--table", action="store_true", help="show the table of what there is: nothing is planted or explained")
    args = parser.parse_args(arguments)
    work = args.work.resolve()
    wanted = list(faults(args.only))
    if not wanted:
        parser.error(f"no fault matches {' '.join(args.only)}")
    work.mkdir(parents=True, exist_ok=True)
    failed = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what runs, as Ctrl-C does
    if not args.table:
        try:
            failed = _step("plant", truth_file.NAME, wanted, work, args.jobs)
            if not args.plant:
                planted = [fault for fault in wanted if (work / str(fault) / truth_file.NAME).exists()]
                failed |= _step("explain", result_file.NAME, planted, work, args.jobs)
        except KeyboardInterrupt:
            print("Interrupted; the same command continues.", file=sys.stderr)
            return 130
    if scores := list(_scores(wanted, work)):
        print(markdown(scores), end="")
    return int(failed)


def _step(step: str, made: str, wanted: Sequence[Fault], work: Path, jobs: int) -> bool:
    """Make a step of each fault that has no file `made`. Returns whether something went wrong."""
    left = [fault for fault in wanted if not (work / str(fault) / made).exists()]
    failed = False
    with Progress() as bar:
        task = bar.add_task(step, total=len(wanted), completed=len(wanted) - len(left))
        for fault, wrong in Campaign(work, jobs).run(step, left):
            bar.update(task, advance=1)
            if wrong:
                failed = True
                bar.console.print(f"{fault}: {wrong.strip()}", markup=False, highlight=False)
    return failed


def _scores(wanted: Sequence[Fault], work: Path) -> Iterator[Score]:
    for fault in wanted:
        home = work / str(fault)
        result = result_file.read_result(home)
        if result is not None:
            yield score(truth_file.read_truth(home), result)
