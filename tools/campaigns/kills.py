"""Kill the worker, the supervisor or both at any moment of a run; nothing that was recorded may be lost.

A case trains a small net and kills what its number says: while the run starts, in a window, while a snapshot is
written, at any time of the training, while the recording is closed, while a reader repairs it, or while a restart
starts. Then the recording must hold every iteration that reached the ring buffer, with the digests of an undisturbed
run; `closed` and run.json must agree; and a restart from the last good snapshot must have those digests as well.
"""

from __future__ import annotations

import atexit
import json
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
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import psutil

from harness.recording import Recording
from harness.recording.hdf5_schema import datasets
from harness.recording.ring import Kind, Ring
from harness.recording.snapshots import iterations_of
from tools.campaigns.campaign import Campaign, Case
from tools.small_net import small_solver

ROOT = Path(__file__).resolve().parents[2]
PHASES = ("start", "window", "snapshot", "training", "close", "repair", "restart")
VICTIMS = ("worker", "supervisor", "both")
_UNTIL, _WINDOW, _SNAPSHOT, _RESTARTED = 300, (60, 120), 50, 25  # iterations
_PATIENCE = 180.0  # seconds


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: its solver, (T,) digests, and one window array."""

    solver: Path
    digest: npt.NDArray[np.uint64]
    updates: dict[int, npt.NDArray[np.float32]]


class Wrong(Exception):
    """Something is not as documented."""


def check(number: int) -> Case:
    """Make the case `number`, and check what is left."""
    chance = random.Random(number)
    phase, victim = PHASES[number % len(PHASES)], VICTIMS[number // len(PHASES) % len(VICTIMS)]
    kind = f"kill {victim} in {phase}" if phase != "repair" else "kill the reader in repair"
    whole = undisturbed()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        run = Path(name) / "run"
        try:
            if phase == "restart":
                _train(whole, run).wait(_PATIENCE)
                first = run
                start = 50 * chance.randrange(1, _UNTIL // _SNAPSHOT)
                run = Path(name) / "restart"
                lost = _disturb(_restart(first, run, start, _UNTIL), run, phase, victim, chance)
            else:
                start = 0
                lost = _disturb(_train(whole, run), run, phase, victim, chance)
            if phase == "repair":
                _kill_readers(run, chance)
            outcome = _examine(run, whole, start, lost, Path(name))
        except Wrong as wrong:
            kept = Path(tempfile.mkdtemp(prefix=f"kills-failed-{number}-")) / "files"
            shutil.copytree(name, kept, symlinks=True)
            return Case(number, kind, "wrong", failure=f"{wrong} (kept in {kept})")
    return Case(number, kind, outcome)


@cache
def undisturbed() -> Undisturbed:
    """Make the undisturbed run, once in a process."""
    home = Path(tempfile.mkdtemp(prefix="kills-whole-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    solver = small_solver(home / "net", max_iter=10 * _UNTIL, snapshot=_SNAPSHOT)
    whole = Undisturbed(solver, np.empty(0, np.uint64), {})
    if _train(whole, home / "run").wait(_PATIENCE) != 0:
        raise RuntimeError(f"the undisturbed run failed: {(home / 'run.stderr').read_text()}")
    with Recording(home / "run") as recording:
        updates = {t: recording.update(t, "ip") for t in range(*_WINDOW)}
        return Undisturbed(solver, recording.series("digest"), updates)


# -- processes --------------------------------------------------------------------------------------------------------


def _started(out: Path, *arguments: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with out.with_name(f"{out.name}.stderr").open("wb") as log:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment, cwd=ROOT)


def _train(whole: Undisturbed, out: Path) -> subprocess.Popen[bytes]:
    watch = "{}:{}".format(*_WINDOW)
    options = ("--solver", whole.solver, "--out", out, "--until", _UNTIL, "--watch", watch)
    return _started(out, ROOT / "harness/run.py", *options)


def _restart(run: Path, out: Path, start: int | str, until: int) -> subprocess.Popen[bytes]:
    return _started(out, ROOT / "harness/restart.py", run, "--from", start, "--out", out, "--until", until)


@dataclass(frozen=True)
class _Lost:
    """What a kill may have taken with it: iterations from `first` on, which were in the ring when both died.

    `nobody_left`: no process was left that could complete the run directory.
    """

    first: int | None
    nobody_left: bool


def _disturb(process: subprocess.Popen[bytes], run: Path, phase: str, victim: str, chance: random.Random) -> _Lost:
    """Kill `victim` at a moment of `phase`, and wait until all processes have ended."""
    worker: psutil.Process | None = None
    ring: Ring | None = None
    try:
        _await(phase, process, run, chance)
        worker, ring = _worker(process), _ring(process.pid)
        both = victim == "both" or phase == "repair"
        targets = [process.pid] if victim != "worker" or worker is None else []
        if worker is not None and (both or victim == "worker"):
            targets.insert(chance.randrange(len(targets) + 1), worker.pid)
        for pid in targets:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(_PATIENCE)
        if worker is not None:
            worker.wait(_PATIENCE)
        nobody_left = process.pid in targets and (both or worker is None or phase == "close")
    finally:
        _end(process, worker)
    if ring is None:
        return _Lost(None, nobody_left)
    try:
        if not nobody_left:
            _require(ring.tail == ring.head, "messages are left in the ring")
        ring.take_over()
        frames = [message.iteration for message in ring.messages() if message.kind is Kind.FRAME]
    finally:
        os.close(ring.fd)  # its memory is given back when nothing maps it any more
    return _Lost(min(frames, default=None), nobody_left)


def _await(phase: str, process: subprocess.Popen[bytes], run: Path, chance: random.Random) -> None:
    """Wait for a random moment of `phase`."""
    unfinished = run / "snapshots/.writing"
    if phase in ("start", "restart"):
        time.sleep(chance.uniform(0, 2.0))
        return
    if phase == "snapshot":
        files = [f"tiny_iter_{_SNAPSHOT * chance.randrange(1, _UNTIL // _SNAPSHOT)}.{chance.choice(_KINDS)}"]
        moment = 0.01
    elif phase == "close":
        files, moment = [f"../tiny_iter_{_UNTIL}.json"], 0.15
        if chance.random() < 0.5:
            files, moment = ["../../.recording.h5.journal"], 0.01
    elif phase in ("window", "repair"):
        files, moment = [f"../tiny_iter_{_SNAPSHOT}.json"], 0.2
    else:
        files, moment = ["../../recording.h5"], 0.8
    _until(lambda: any((unfinished / file).exists() for file in files) or process.poll() is not None)
    time.sleep(chance.uniform(0, moment))


_KINDS = ("caffemodel", "solverstate", "json")


def _until(condition: Callable[[], bool], pause: float = 0.0002) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong("waited too long")
        time.sleep(pause)


def _worker(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            if "harness.worker.main" in child.cmdline():
                return child
    return None


def _ring(pid: int) -> Ring | None:
    """Map the ring of a supervisor: its memory outlives both processes here."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if str(link.readlink()).startswith("/memfd:caffe-harness-ring"):
                return Ring(os.open(link, os.O_RDWR))
    return None


def _end(process: subprocess.Popen[bytes], worker: psutil.Process | None) -> None:
    """Make sure that nothing runs on."""
    process.kill()
    process.wait()
    if worker is not None:
        with suppress(psutil.Error):
            worker.kill()


def _kill_readers(run: Path, chance: random.Random) -> None:
    """Kill readers in the middle of the repair that each begins or continues."""
    code = "import sys; from harness.recording import Recording; Recording(sys.argv[1]).close()"
    for _ in range(3):
        reader = _started(run, "-c", code, run)
        _until(partial(_repairs, run, reader))
        time.sleep(chance.choice((0, chance.uniform(0, 0.003))))
        _end(reader, None)


def _repairs(run: Path, reader: subprocess.Popen[bytes]) -> bool:
    """Check whether a reader has begun to write to the run directory, or has ended."""
    return any(run.glob(".recording.h5.journal*")) or reader.poll() is not None


# -- what is left -----------------------------------------------------------------------------------------------------


def _examine(run: Path, whole: Undisturbed, start: int, lost: _Lost, home: Path) -> str:
    """Check the run directory. Returns the outcome in a few words."""
    said = run.with_name(f"{run.name}.stderr").read_text()
    _require("Traceback" not in said, f"a traceback: {said[-1500:]}")
    if not (run / "recording.h5").exists():
        _require(not list(run.glob("snapshots/*.json")), "a snapshot without a recording")
        return "nothing was recorded yet"
    with Recording(run) as recording:
        iterations = recording.iterations
        digest = recording.series("digest")
        _require(list(iterations) == list(range(start, start + len(iterations))), f"iterations {iterations}")
        _require(np.array_equal(digest, whole.digest[start : start + len(digest)]), "other digests")
        for t in whole.updates.keys() & set(recording.window_iterations.tolist()):  # others are of the black box
            _require(np.array_equal(recording.update(t, "ip"), whole.updates[t]), f"another update at {t}")
    done = start + len(iterations)
    _require(lost.first is None or done >= lost.first, f"{done} recorded, and {lost.first} was still in the ring")
    _check_file(run, start, done)
    if not lost.nobody_left and done < _UNTIL:  # else the worker may have ended just before
        _require(json.loads((run / "run.json").read_text())["ended"] is not None, "run.json does not say how it ended")
    newest = _check_snapshots(run, done)
    if newest is None:
        return "no snapshot yet"
    again = home / "again"
    until = min(newest + _RESTARTED, _UNTIL)
    if until > newest:
        _require(_restart(run, again, "last-good", until).wait(_PATIENCE) == 0, _said(again))
        with Recording(again) as recording:
            digest = recording.series("digest")
            _require(np.array_equal(digest, whole.digest[newest:until]), f"a restart from {newest} has other digests")
    return "nothing lost"


def _said(out: Path) -> str:
    return out.with_name(f"{out.name}.stderr").read_text()[-1500:]


def _check_file(run: Path, start: int, done: int) -> None:
    """Check with plain h5py that the rows are complete, and that `closed` and run.json agree."""
    ended = json.loads((run / "run.json").read_text())["ended"]
    with h5py.File(run / "recording.h5") as file:
        rows = {d.shape[0] for name in ("iteration", "digest", "loss", "stat", "output") for d in datasets(file[name])}
        _require(rows == {done - start}, f"rows {rows}")
        if "window" in file:
            rows = {d.shape[0] for d in datasets(file["window"])}
            _require(len(rows) == 1, f"rows of the window {rows}")
        _require(bool(file.attrs["closed"]) == (ended is not None), f"closed: {file.attrs['closed']}, ended: {ended}")
    left = [path.name for path in run.glob(".*")]
    _require(not left, f"left behind: {left}")


def _check_snapshots(run: Path, done: int) -> int | None:
    """Check that every snapshot is complete and no newer than the recording. Returns the newest one."""
    snapshots = iterations_of(run / "snapshots")
    expected = {".writing"} | {f"tiny_iter_{t}.{kind}" for t in snapshots for kind in _KINDS}
    found = {path.name for path in (run / "snapshots").glob("*")} | {".writing"}
    _require(found == expected, f"files of snapshots: {sorted(found ^ expected)}")
    _require(not list((run / "snapshots/.writing").glob("*")), "an unfinished snapshot")
    _require(max(snapshots, default=0) <= done, f"a snapshot of {max(snapshots, default=0)}, and {done} recorded")
    return max(snapshots, default=None)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


CAMPAIGN = Campaign("kills", 500, 600.0, check)
