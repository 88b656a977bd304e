"""The rows about the start: the time from a command to its first iteration, compared with that of `caffe train`.

Caffe itself says when: each line of its log begins with the time at which it was printed, and `Iteration N, loss = …`
is printed in the middle of the first iteration.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from harness.caffe_files.messages import pb, read_text
from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row, median
from tools.bench.turns import ROOT, LaneDied

_SNAPSHOT = 4
_FIRST = re.compile(r"^I\d+ (\d\d):(\d\d):(\d\d\.\d+) .*\] Iteration \d+.*, loss = ")
_DAY = 24 * 3600


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Start the three commands in turn, in an order that alternates."""
    small = "lenet" if effort.quick else "glyphs280"
    solver = _displaying_all(PROBLEMS[small](home).solver)
    run, out = home / "run", home / "out"
    _harness("run", "--solver", solver, "--out", run, "--until", _SNAPSHOT, "--snapshot-every", _SNAPSHOT)
    seconds: dict[str, list[float]] = {"caffe train": [], "run.py": [], "restart.py": []}
    for number in range(-1, effort.of(15)):
        for one in sorted(seconds, reverse=number % 2 == 0):
            started = time.time()
            if one == "caffe train":
                took = _until_first(_log_of_caffe(solver), started)
            else:
                what = ("run", "--solver", solver) if one == "run.py" else ("restart", run, "--from", _SNAPSHOT)
                _harness(*what, "--until", 1 if one == "run.py" else _SNAPSHOT + 1, "--out", out)
                with (out / "solver.log").open() as log:
                    took = _until_first(log, started)
                shutil.rmtree(out)
            if number >= 0:
                seconds[one].append(took)
    native = seconds["caffe train"]
    for one, bound in (("run.py", 1.3), ("restart.py", 1.5)):
        low, value, high = median([mine / theirs for mine, theirs in zip(seconds[one], native, strict=True)])
        detail = (
            f"{np.median(seconds[one]):.3f} s, caffe train {np.median(native):.3f} s: from the start of the command to "
            f"its first iteration; {len(native)} pairs"
        )
        yield Row(name, f"{small}, {one}", value, "× caffe train", bound, True, low, high, detail, dict(seconds))


def _displaying_all(solver: Path) -> Path:
    """Write the same solver with a display at each iteration."""
    param = read_text(solver, pb.SolverParameter, "solver")
    param.display = 1
    path = solver.with_name("displaying.prototxt")
    path.write_text(text_format.MessageToString(param))
    return path


def _log_of_caffe(solver: Path) -> Iterator[str]:
    """Start `caffe train`, and yield the lines of its log; it is ended when no more are wanted."""
    command = [str(Path(sys.executable).parent / "caffe"), "train", f"--solver={solver}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        try:
            yield from process.stderr
        finally:
            process.kill()


def _harness(command: str, *arguments: object) -> None:
    words = [sys.executable, str(ROOT / f"harness/{command}.py"), *map(str, arguments)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaneDied(f"{' '.join(words)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")


def _until_first(log: Iterable[str], started: float) -> float:
    """Return the seconds from `started` to the first line that displays an iteration."""
    for line in log:
        if match := _FIRST.match(line):
            then = time.localtime(started)
            passed = int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
            return (passed - (then.tm_hour * 3600 + then.tm_min * 60 + then.tm_sec + started % 1)) % _DAY
    raise LaneDied("the log displays no iteration")
