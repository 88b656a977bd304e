"""The time until a training continues: restart.py compared with a plain start, and the repetition of random numbers."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import pb
from tools.bench.turns import ROOT, LaneDied


@dataclass(frozen=True)
class Latency:
    """Seconds of whole commands that train one iteration each, from scratch and from iteration `at` of a run, and the
    total CPU seconds of each kind."""

    at: int
    anew: tuple[float, ...]
    again: tuple[float, ...]
    anew_cpu: float
    again_cpu: float

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(again / anew for again, anew in zip(self.again, self.anew, strict=True))


@dataclass(frozen=True)
class Replay:
    """Seconds of an iteration, and of repeating the random numbers of the `iterations` before a plain snapshot.

    `built` seconds of the latter build the nets again, whatever the number of iterations.
    """

    iterations: int
    iteration: float
    seconds: float
    built: float

    @property
    def share(self) -> float:
        """The repetition's share of the time that the training itself took."""
        return self.seconds / (self.iterations * self.iteration)

    @property
    def each(self) -> float:
        """Seconds that one more iteration adds."""
        return (self.seconds - self.built) / self.iterations


def latency(home: Path, solver: Path, at: int, rounds: int, warm_rounds: int = 1) -> Latency:
    """Run both commands in turn as a user does, after `warm_rounds` that do not count; the order is AB BA AB…."""
    fresh = ["harness/run.py", "--solver", str(solver)]
    _timed([*fresh, "--out", str(home / "run"), "--until", str(at), "--snapshot-every", str(at)], home)
    commands = {
        "anew": [*fresh, "--until", "1"],
        "again": ["harness/restart.py", str(home / "run"), "--from", str(at), "--until", str(at + 1)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    cpu = dict.fromkeys(commands, 0.0)
    for number in range(-warm_rounds, rounds):
        for name in sorted(commands, reverse=number % 2 == 0):
            used = _cpu()
            took = _timed([*commands[name], "--out", str(home / f"{name}{number}")], home)
            if number >= 0:
                seconds[name].append(took)
                cpu[name] += _cpu() - used
    return Latency(at, tuple(seconds["anew"]), tuple(seconds["again"]), cpu["anew"], cpu["again"])


def replay(home: Path, solver: Path, iterations: int, trained: int) -> Replay:
    """Resume exactly from a snapshot of plain Caffe, which does not contain the state of the main generator.

    Caffe trains `trained` iterations and takes the snapshot; then its iteration is changed to `iterations`.
    """
    done = _run([sys.executable, "-m", "tools.bench.restart", str(solver), str(trained)], home)
    iteration = float(np.median(json.loads(done)[1:]))
    state = solver.parent / f"native_iter_{trained}.solverstate"
    seconds = {}
    for claimed in (trained, iterations):
        with state.open("ab") as file:  # protobuf uses the last value of a repeated field
            file.write(pb.SolverState(iter=claimed).SerializePartialToString())
        out = home / f"resumed{claimed}"
        command = ["harness/run.py", "--solver", str(solver), "--resume", str(state), "--data", "exact"]
        _timed([*command, "--until", str(claimed + 1), "--out", str(out)], home)
        seconds[claimed] = json.loads((out / "run.json").read_text())["replayed"]["seconds"]
    each = (seconds[iterations] - seconds[trained]) / (iterations - trained)
    return Replay(iterations, iteration, seconds[iterations], seconds[trained] - trained * each)


def _cpu() -> float:
    """Return the CPU seconds of all ended child processes and of their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _timed(command: list[str], home: Path) -> float:
    started = time.perf_counter()
    _run([sys.executable, *command], home)
    return time.perf_counter() - started


def _run(command: list[str], home: Path) -> str:
    log = home / "log"
    with log.open("w") as errors:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode:
        raise LaneDied(f"{' '.join(command)}\nended with {done.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    return done.stdout


def train(path: str, iterations: int) -> None:
    """Train with plain pycaffe, print the seconds of each iteration as JSON, and take a snapshot."""
    import caffe

    caffe.init_log(0, True)
    caffe.set_mode_cpu()
    solver = caffe.SGDSolver(path)
    times = [time.perf_counter()]
    for _ in range(iterations):
        solver.step(1)
        times.append(time.perf_counter())
    solver.snapshot()
    print(json.dumps(np.diff(times).tolist()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=train.__doc__)
    parser.add_argument("solver")
    parser.add_argument("iterations", type=int)
    given = parser.parse_args()
    train(given.solver, given.iterations)
