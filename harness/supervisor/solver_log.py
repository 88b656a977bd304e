"""Write solver.log: everything that Caffe printed, as `caffe train` would have printed it.

Under step(1) Caffe displays the loss of one iteration where `caffe train` displays the smoothed loss, and a wrong speed
(Solver::Step restarts both at every call). These lines are rewritten once the iteration's frame has arrived with the
right numbers; until then, they and all lines after them are held back.
"""

from __future__ import annotations

import math
import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from harness.caffe_log.death import death_message
from harness.errors import RecordingFailed
from harness.recording.snapshots import final_name

_LOSS = re.compile(r"(?P<head>^.*\] )Iteration (?P<n>\d+)(?: \(.* iter/s, .*s/(?P<every>-?\d+) iters\))?, loss = \S+$")
# Solver::Solve prints these when it is called, which here is at the end; the worker has printed them at the start.
_SOLVE = re.compile(r"solver\.cpp:\d+\] (Solving |Learning Rate Policy: )")


class SolverLog:
    """Takes Caffe's output in pieces and writes it, line by line, to `path` in the run directory.

    `run` is the name of that directory for the user.

    Raises:
        RecordingFailed: the disk is full.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._file = path.open("a", encoding="utf-8")
        self._part = b""
        self._held: deque[str] = deque()
        self._shown: dict[int, tuple[float, float]] = {}
        self._last_shown = 0
        self.last_lines: deque[str] = deque(maxlen=200)

    def __enter__(self) -> SolverLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk, which was reported already
            self._write_held()
        with suppress(OSError):
            os.fsync(self._file.fileno())
            self._file.close()

    def feed(self, data: bytes) -> None:
        """Add more of Caffe's output."""
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            text = final_name(line.decode(errors="replace").rstrip("\r"), self._run)
            self.last_lines.append(text)
            if not _SOLVE.search(text):
                self._held.append(text)
        self._write()

    def loss(self, iteration: int, smoothed: float, lapse: float = 0) -> None:
        """Set what `caffe train` displays for `iteration`; `lapse` seconds have passed since the previous display."""
        self._shown[iteration] = (smoothed, lapse)
        self._write()

    def _write(self) -> None:
        try:
            while self._held:
                match = _LOSS.match(self._held[0])
                if match and int(match["n"]) not in self._shown:
                    break
                line = self._held.popleft()
                self._file.write((self._rewritten(match) if match else line) + "\n")
            self._file.flush()
        except OSError as error:
            raise RecordingFailed(
                f"{self._path}: cannot be written any further ({error.strerror}); free some space and run again, or "
                "give --out on another disk"
            ) from error

    def _rewritten(self, match: re.Match[str]) -> str:
        iteration = int(match["n"])
        smoothed, lapse = self._shown.pop(iteration)
        speed = ""
        if match["every"]:
            rate = (iteration - self._last_shown) / (lapse or 1)
            speed = f" ({rate:g} iter/s, {lapse:g}s/{match['every']} iters)"
            self._last_shown = iteration
        return f"{match['head']}Iteration {iteration}{speed}, loss = {_as_printed(smoothed)}"

    def _write_held(self) -> None:
        # the worker died before it could send the right number: Caffe's own line is better than none
        self._file.writelines(line + "\n" for line in self._held)
        if self._part:
            self._file.write(self._part.decode(errors="replace") + "\n")
        self._held.clear()
        self._file.flush()

    def lines(self) -> list[str]:
        """Return everything that was written so far, and what is held back."""
        written = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [*written, *self._held, self._part.decode(errors="replace")]

    def last_words(self) -> list[str]:
        """Return Caffe's own explanation of its death (see `death_message`)."""
        return death_message((*self.last_lines, self._part.decode(errors="replace")))


def _as_printed(value: float) -> str:
    """Format `value` as a C++ stream prints a float: six digits, and a NaN with its sign."""
    return "-nan" if math.isnan(value) and math.copysign(1, value) < 0 else f"{value:g}"
