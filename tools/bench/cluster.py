"""A study of twenty arms with two workers: how long it takes compared with its replays alone, on either engine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.cluster import arms_on
from harness.experiments import Arms, Engines, local
from harness.schemas.arm import Arm, RateScaled
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts
from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row
from tools.bench.turns import ROOT, LaneDied

_FIRST, _WORKERS, _ARMS = 20, 2, 20
_BOUND = 1.15
_START = 60.0  # seconds in which a scheduler has to be there


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Measure from the submission to the last result, the start of all processes and controls included.

    The run is recorded with one BLAS thread, so that two replays fill two cores.
    """
    net = "lenet" if effort.quick else "glyphs280"
    horizon, run = effort.turn(60), home / "run"
    command = ["harness/run.py", "--solver", str(PROBLEMS[net](home).solver), "--out", str(run), "--snapshot-every"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    _checked([*command, str(_FIRST), "--until", str(_FIRST + horizon)], environment)
    yield _row("local pool", net, horizon, run, local(_WORKERS))
    with _cluster(home, environment) as scheduler, arms_on(str(scheduler)) as engines:
        yield _row("cluster", net, horizon, run, engines)


def _row(name: str, net: str, horizon: int, run: Path, engines: Engines) -> Row:
    arms = [Arm(_FIRST, horizon, (RateScaled(0.5, _FIRST),), number) for number in range(_ARMS)]
    with (
        tempfile.TemporaryDirectory(dir=run) as results,
        Arms(run, _FIRST, engines, NoListener(), Interrupts("stop"), directory=Path(results)) as replays,
    ):
        replays.prepare()
        started = time.perf_counter()
        replays.submit(arms)
        found = list(replays.results())
        seconds = time.perf_counter() - started
    replayed = sum(result.seconds for result in found)
    if any(result.ended != "completed" for result in found):
        raise LaneDied("an arm was not completed")
    detail = f"{seconds:.1f} s; the iterations of all arms together {replayed:.1f} s"
    raw = {"seconds": seconds, "replayed": replayed, "arms": len(found)}
    what, value = f"{net}, {_ARMS} arms of {horizon} iterations", seconds / (replayed / _WORKERS)
    return Row(name, what, value, f"× replays / {_WORKERS}", _BOUND, detail=detail, raw=raw)


@contextmanager
def _cluster(home: Path, environment: dict[str, str]) -> Iterator[Path]:
    """Start a scheduler and two workers on this machine; yields the scheduler file when they are there."""
    file = home / "scheduler.json"
    where = ("--scheduler-file", str(file), "--no-dashboard")
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *where)
    worker = ("distributed.cli.dask_worker", *where, "--no-nanny", "--nthreads", "1", "--resources", "caffe=1")
    with ExitStack() as stack:
        for number, words in enumerate((scheduler, *[worker] * _WORKERS)):
            log = stack.enter_context((home / f"dask-{number}.log").open("w"))
            process = subprocess.Popen([sys.executable, "-m", *words], cwd=home, env=environment, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        until = time.monotonic() + _START
        logs = [home / f"dask-{number}.log" for number in range(1, 1 + _WORKERS)]
        while not all("Registered to" in log.read_text() for log in logs):
            if time.monotonic() > until:
                raise LaneDied("the Dask workers did not start")
            time.sleep(0.1)
        yield file


def _checked(command: list[str], environment: dict[str, str]) -> None:
    """Run a command, which must succeed."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LaneDied(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")
