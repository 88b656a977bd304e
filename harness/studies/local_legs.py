"""Legs in processes on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from typing import IO

import msgspec

from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.processes import child_environment, signals_blocked
from harness.schemas.leg import Leg, LegResult
from harness.studies.leg_runs import is_recorded, outcome, result_of, stretches

_LOOK = 0.1  # seconds between two looks at the processes


class LocalLegs:
    """A `LegEngine` that carries out up to `workers` legs at a time. Use it as a context manager."""

    def __init__(self, workers: int) -> None:
        self._limit = workers
        self._waiting: deque[Leg] = deque()
        self._stopped: deque[Leg] = deque()  # before they began
        self._running: list[LegProcess] = []
        self._cancelled = False

    def __enter__(self) -> LocalLegs:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes of the legs."""
        return [process.pid for process in self._running]

    def submit(self, leg: Leg) -> None:
        self._waiting.append(leg)

    def results(self) -> Iterator[LegResult | None]:
        while True:
            if self._cancelled:
                self._waiting.clear()
                for process in self._running:
                    process.stop()
            while self._stopped:
                yield interrupted(self._stopped.popleft())
            yield from self._start()
            if not self._running and not self._waiting:
                return
            yield None
            time.sleep(_LOOK)
            for process in list(self._running):
                result = process.result()
                if result is not None:
                    self._running.remove(process)
                    yield result

    def stop(self, leg: Leg) -> None:
        if leg in self._waiting:
            self._waiting.remove(leg)
            self._stopped.append(leg)
        for process in self._running:
            if process.leg == leg:
                process.stop()

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._waiting.clear()
        for process in self._running:
            process.kill()
        self._running.clear()

    def _start(self) -> Iterator[LegResult]:
        """Start as many legs as there is room for. Yields the results of those that need no process."""
        busy = {process.leg.directory for process in self._running}
        for leg in list(self._waiting):
            if len(self._running) >= self._limit:
                return
            if leg.directory in busy:  # it was submitted twice
                continue
            self._waiting.remove(leg)
            done = finished(leg)
            if done is not None:
                yield done
            else:
                busy.add(leg.directory)
                self._running.append(LegProcess(leg))


class LegProcess:
    """A process that carries out `leg`; it ends with a snapshot if this process dies."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self._asked = False  # to end
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `_last_words`
        with signals_blocked():  # the terminal's Ctrl-C is for this process, which stops its legs
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.studies.leg_process", msgspec.json.encode(leg).decode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=child_environment(1),  # the solver's process gets the threads that the parent recorded
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Have it take a snapshot and end; asked once more, it would end without."""
        if not self._asked:
            self._asked = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now; the process of its solver ends after the iteration that it computes, with a snapshot."""
        self._process.kill()
        self._process.wait()
        self._last_words()

    def result(self) -> LegResult | None:
        """Return how the leg has ended; None while it goes on."""
        code = self._process.poll()
        if code is None or (code < 0 and is_recorded(self.leg)):  # its solver takes a snapshot
            return None
        said = self._last_words()
        try:
            runs = stretches(self.leg)
        except BadInput as error:
            return failed(self.leg, error)
        done = result_of(self.leg, runs)
        if done is not None:
            return done
        if code < 0 and self._asked:
            return outcome(self.leg, runs, Exit.INTERRUPTED)
        if code < 0:
            return outcome(self.leg, runs, Exit.WORKER_DIED, f"its process was killed ({signal.Signals(-code).name})")
        if code == Exit.INTERRUPTED:
            return outcome(self.leg, runs, code)
        return outcome(self.leg, runs, code or Exit.RECORDING_FAILED, said or f"restart.py ended with exit code {code}")

    def _last_words(self) -> str:
        """Return the last thing that restart.py said."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._said.closed:
            return ""
        with self._said as file:
            file.seek(0)
            lines = file.read().decode(errors="replace").split("\n")
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return next(iter([*errors[-1:], *(line for line in reversed(lines) if line.strip())]), "")


def finished(leg: Leg) -> LegResult | None:
    """Return how a leg has ended, or why it cannot be made, without a process; None if it takes one to find out.

    Only what is final counts here: another process may make this leg now.
    """
    try:
        runs = stretches(leg)
    except BadInput as error:
        return failed(leg, error)
    return result_of(leg, runs)


def interrupted(leg: Leg) -> LegResult:
    """Return the result of a leg that was stopped while no process made it."""
    try:
        return outcome(leg, stretches(leg), Exit.INTERRUPTED)
    except BadInput as error:
        return failed(leg, error)


def failed(leg: Leg, error: BadInput) -> LegResult:
    """Return the result of a leg that was not made."""
    return LegResult(leg=leg, directory="", code=int(Exit.BAD_INPUT), last=leg.start, why=str(error))
