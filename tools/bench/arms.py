"""The speed of arms: a control compared with restart.py, and how many short arms there are in a second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.experiments import Arms, local
from harness.experiments.control import compare
from harness.schemas.arm import Arm, ArmResult, RateScaled
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts
from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row
from tools.bench.turns import ROOT, LaneDied

_FIRST = 20


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Measure on one worker, from a snapshot, with as many BLAS threads as the run has."""
    net = "lenet" if effort.quick else "glyphs280"
    horizon, short = effort.turn(60), effort.of(40)
    run = home / "run"
    fresh = ["harness/run.py", "--solver", str(PROBLEMS[net](home).solver), "--out", str(run)]
    _run([*fresh, "--until", str(_FIRST + horizon), "--snapshot-every", str(_FIRST)])
    again = ["harness/restart.py", str(run), "--from", str(_FIRST), "--until", str(_FIRST + horizon)]
    restarted = _run([*again, "--out", str(home / "again")])
    with Arms(run, _FIRST, local(1), NoListener(), Interrupts("stop")) as arms:
        (first,), prepared = _timed(arms, [Arm(_FIRST, horizon)])
        (control,), took = _timed(arms, [Arm(_FIRST, horizon, seed=1)])
        found, seconds = _timed(arms, [Arm(_FIRST, 2, (RateScaled(0.5, _FIRST),), seed) for seed in range(short)])
    if not all(compare(run, result).identical for result in (first, control)):
        raise LaneDied("a control does not have the recorded digests")
    raw = {"restart": restarted, "first": prepared, "control": took, "arms": seconds, "count": len(found)}
    detail = (
        f"restart.py {restarted:.2f} s; the first control, with the start of the worker, {prepared:.2f} s, and another "
        f"one {took:.2f} s, of which {control.seconds:.2f} s are its iterations"
    )
    yield Row("control", f"{net}, {horizon} iterations", took / restarted, "× restart.py", detail=detail, raw=raw)
    each = 1000 * (seconds - sum(result.seconds for result in found)) / len(found)
    detail = f"{len(found)} arms in {seconds:.2f} s; {each:.0f} ms of each are not its iterations"
    yield Row("arms", f"{net}, 2 iterations each", len(found) / seconds, "a second", detail=detail, raw=raw)


def _timed(arms: Arms, wanted: list[Arm]) -> tuple[list[ArmResult], float]:
    started = time.perf_counter()
    arms.submit(wanted)
    return list(arms.results()), time.perf_counter() - started


def _run(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaneDied(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started
