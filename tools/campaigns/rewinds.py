"""Kill processes of a rewind at random moments, then rewind again, once or twice at the same time.

Windows that are there must hold what a watched run recorded, at any time; the next rewind must complete them and leave
nothing else behind; and no other file of the run may change.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil

from harness.recording import Recording
from tools.campaigns.campaign import Campaign, Case
from tools.small_net import small_solver

ROOT = Path(__file__).resolve().parents[2]
VICTIMS = ("rewind", "worker", "both", "drawer", "interrupt")
MOMENTS = ("start", "replay", "store")
_UNTIL, _SNAPSHOT = 300, 50  # iterations
_PATIENCE = 180.0  # seconds


class Wrong(Exception):
    """Something is not as documented."""


@dataclass(frozen=True)
class _Runs:
    """A run without a window, and the same run with one of all iterations."""

    run: Path
    watched: Path


def check(number: int) -> Case:
    """Make the case `number`, and check what is left."""
    chance = random.Random(number)
    victim, moment = VICTIMS[number % len(VICTIMS)], MOMENTS[number // len(VICTIMS) % len(MOMENTS)]
    kind = f"{'interrupt' if victim == 'interrupt' else f'kill {victim}'} in {moment}"
    runs = _runs()
    with tempfile.TemporaryDirectory(prefix="rewinds-") as name:
        run = Path(shutil.copytree(runs.run, Path(name) / "run"))
        before = _files(run)
        first = chance.randrange(_UNTIL - 80)
        watch = range(first, first + chance.randrange(1, 80))
        try:
            code = _disturb(_rewind(run, watch, "first"), run, victim, moment, chance)
            kept = _examine(run, runs, watch)
            again = [_rewind(run, watch, f"again{number}") for number in range(chance.choice((1, 1, 2)))]
            for one in again:
                _require(one.process.wait(_PATIENCE) == 0, f"the next rewind failed: {one.said}")
            _require(_examine(run, runs, watch) == len(watch), "the next rewind has left something out")
            _require(_files(run) == before, "another file of the run has changed")
            left = [path.name for path in (run / "windows").iterdir() if path.name.startswith(".")]
            _require(not left, f"left behind: {left}")
        except Wrong as wrong:
            failed = Path(tempfile.mkdtemp(prefix=f"rewinds-failed-{number}-")) / "files"
            shutil.copytree(name, failed, symlinks=True)
            return Case(number, kind, "wrong", failure=f"{wrong} (kept in {failed})")
    stored = "all" if kept == len(watch) else "none" if not kept else "some"
    return Case(number, kind, f"exit {code}, {stored} stored at first")


@cache
def _runs() -> _Runs:
    """Make the two runs, once in a process."""
    home = Path(tempfile.mkdtemp(prefix="rewinds-whole-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    solver = small_solver(home / "net", max_iter=_UNTIL, snapshot=_SNAPSHOT)
    for name, watch in (("run", ()), ("watched", ("--watch", f"0:{_UNTIL}"))):
        arguments = ("--solver", solver, "--out", home / name, "--black-box-mib", 0, *watch)
        done = _started(home / f"{name}.stderr", "run.py", *arguments)
        if done.process.wait(_PATIENCE) != 0:
            raise RuntimeError(f"the undisturbed run failed: {done.said}")
    return _Runs(home / "run", home / "watched")


@dataclass(frozen=True)
class _Started:
    """A command, whose standard error is the file `log`."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()[-1500:]


def _started(log: Path, script: str, *arguments: object) -> _Started:
    command = [sys.executable, str(ROOT / "harness" / script), *map(str, arguments)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, cwd=ROOT, env=environment)
    return _Started(process, log)


def _rewind(run: Path, watch: range, name: str) -> _Started:
    return _started(run.with_name(name), "rewind.py", run, "--watch", f"{watch.start}:{watch.stop}")


def _disturb(started: _Started, run: Path, victim: str, moment: str, chance: random.Random) -> int:
    """Kill or interrupt a process of a rewind, and wait until it has ended. Returns its exit code."""
    process = started.process
    if moment == "start":
        time.sleep(chance.uniform(0, 1.5))
    else:
        pattern = "recording.h5" if moment == "replay" else "windows/.window.h5.*"
        _until(lambda: any(run.glob(f"windows/.rewind.*/{pattern}")) or process.poll() is not None)
        time.sleep(chance.uniform(0, 0.5 if moment == "replay" else 0.05))
    children = {}
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            children["worker" if "harness.worker.main" in child.cmdline() else "drawer"] = child
    if victim == "interrupt":
        for _ in range(chance.choice((1, 2))):
            process.send_signal(signal.SIGINT)
            time.sleep(chance.uniform(0, 0.1))
    elif victim in ("rewind", "both"):
        process.kill()
    for name in ("worker",) if victim == "both" else (victim,):
        if name in children:
            with suppress(psutil.Error):
                children[name].kill()
    code = process.wait(_PATIENCE)
    _require("Traceback" not in started.said, f"a traceback: {started.said}")
    return code


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong("waited too long")
        time.sleep(0.0005)


def _files(run: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of each file but windows."""
    files = [path for path in run.rglob("*") if path.is_file() and "windows" not in path.relative_to(run).parts]
    return {str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def _examine(run: Path, runs: _Runs, watch: range) -> int:
    """Check the windows of a run. Returns the number of iterations in them."""
    with Recording(run, may_repair=False) as recording, Recording(runs.watched) as watched:
        _require(not recording.damaged_windows, f"damaged: {recording.damaged_windows}")
        kept = recording.window_iterations.tolist()
        _require(set(kept) <= set(watch), f"iterations {kept}")
        for t in kept:
            for group in recording.window_arrays(t):
                if group == "key":
                    _require(recording.keys(t) == watched.keys(t), f"other keys at {t}")
                elif group == "input":
                    _require(np.array_equal(recording.input(t, "data"), watched.input(t, "data")), f"input at {t}")
                else:
                    mine, theirs = (getattr(one, group)(t, "conv", 0) for one in (recording, watched))
                    _require(np.array_equal(mine, theirs), f"another {group} at {t}")
        return len([t for t in kept if "update" in recording.window_arrays(t)])


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


CAMPAIGN = Campaign("rewinds", 300, 600.0, check)
