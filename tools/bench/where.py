"""Where the supervisor's time goes: CPU seconds of its parts, while a run is recorded.

The functions in `_PARTS` are wrapped, in the supervisor of an ordinary lane, with two looks at the CPU time of the
process. What a function calls that is not in the list counts as its own.
"""

from __future__ import annotations

import json
import pkgutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row
from tools.bench.turns import lane

_PARTS = {
    "harness.supervisor.session.Session._attend": "the rest",
    "harness.supervisor.session.Session._open_writer": "",  # once, as is the next
    "harness.supervisor.session.Session._begin": "",
    "harness.supervisor.waiting.Waiting.wait": "waiting, and waking up",
    "harness.supervisor.session.Session._read_log": "solver.log",
    "harness.supervisor.solver_log.SolverLog.loss": "solver.log",
    "harness.recording.consumer.Consumer.drain": "reading the ring",
    "harness.recording.writer.Writer.append_frames": "rows into HDF5",
    "harness.recording.writer.Writer.append_activations": "rows into HDF5",
    "harness.recording.checksums.row_checksums": "checksums of rows",
    "harness.recording.writer.Writer.write_slab": "arrays of windows",
    "harness.recording.writer.Writer.complete_window_iteration": "arrays of windows",
    "harness.recording.window_writer.WindowWriter.flush": "arrays of windows",
    "harness.recording.writer.Writer.flush": "flushing the file",
    "harness.recording.writer.Writer.reserve": "allocating disk space",
    "harness.supervisor.health_monitor.HealthMonitor.alarms": "the rules",
    "harness.reports.listeners.RunListeners.event": "sending what is shown",
    "harness.reports.listeners.RunListeners.tick": "sending what is shown",
}
_TURNS = 20


class _Clock:
    """Adds the CPU seconds of this process to the part that runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._part, self._since = "", time.process_time()

    def switch(self, part: str) -> str:
        """Let `part` run from here on. Returns the one before."""
        now, before = time.process_time(), self._part
        self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before

    def wrapped(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            before = self.switch(part)
            try:
                return function(*given, **named)
            finally:
                self.switch(before)

        return run


@contextmanager
def timed(path: Path) -> Iterator[None]:
    """Write to `path` the CPU seconds of each part of a run in the block, and those of what is done once as ""."""
    clock = _Clock()
    with ExitStack() as stack:
        for name, part in _PARTS.items():
            place, _, attribute = name.rpartition(".")
            owner = pkgutil.resolve_name(place)
            wrapped = clock.wrapped(getattr(owner, attribute), part)
            stack.enter_context(mock.patch.object(owner, attribute, wrapped))
        yield
    clock.switch("")
    path.write_text(json.dumps(clock.seconds))


def rows(problem: str, *, window: bool = False) -> Callable[[str, Path, Effort], Iterator[Row]]:
    """Return what measures the parts for `problem`, in CPU milliseconds for 1,000 iterations."""

    def make(name: str, home: Path, effort: Effort) -> Iterator[Row]:
        made, turns = PROBLEMS[problem](home), effort.of(_TURNS)
        turn = effort.turn(made.turn)
        iterations = 1 + turn * turns
        found = home / "parts.json"
        arguments = ["--solver", str(made.solver), "--out", str(home / "run"), "--until", str(iterations)]
        if window:
            arguments += ["--watch", f"0:{iterations}"]
        with lane("timed", [str(found), *arguments], home / "run.log", effort.priority) as one:
            for _ in range(turns):
                one.turn(turn)
            drawing = one.drawing_seconds()
            one.finish()
        parts: dict[str, float] = json.loads(found.read_text())
        parts.pop("")  # before and after the iterations
        what = f"{problem} in a window" if window else problem
        total = sum(parts.values())
        parts = dict(sorted(parts.items(), key=lambda item: -item[1])) | {"all of these": total, "drawing": drawing}
        for part, seconds in parts.items():
            yield Row(name, f"{what}: {part}", 1e6 * seconds / iterations, "ms in 1,000 iterations", raw=parts)

    return make
