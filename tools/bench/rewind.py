"""The row about a rewind: rewind.py compared with an unchanged restart.py over the same iterations."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row, median
from tools.bench.turns import ROOT, LaneDied

_WINDOW = 31  # iterations: those around the onset of the demo


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Compare whole commands in turn; the order is AB BA AB…."""
    snapshot, until = (29, 60) if effort.quick else (260, 500)
    solver, run, again = PROBLEMS["lenet" if effort.quick else "glyphs280"](home).solver, home / "run", home / "again"
    options = ("--until", until, "--snapshot-every", snapshot, "--black-box-mib", 0)
    _timed("run", "--solver", solver, "--out", run, *options)
    commands: dict[str, tuple[object, ...]] = {
        "restart": ("restart", run, "--from", snapshot, "--until", until, "--black-box-mib", 0, "--out", again),
        "rewind": ("rewind", run, "--watch", f"{until - _WINDOW}:{until}"),
    }
    seconds: dict[str, list[float]] = {one: [] for one in commands}
    for number in range(-1, effort.of(5)):
        for one in sorted(commands, reverse=number % 2 == 0):
            took = _timed(*commands[one])
            shutil.rmtree(again if one == "restart" else run / "windows")
            if number >= 0:
                seconds[one].append(took)
    ratios = [mine / plain for mine, plain in zip(seconds["rewind"], seconds["restart"], strict=True)]
    low, value, high = median(ratios)
    rewound, restarted = (float(np.median(seconds[one])) for one in ("rewind", "restart"))
    detail = (
        f"{rewound:.2f} s, restart.py {restarted:.2f} s: whole commands that train {until - snapshot} iterations, the "
        f"last {_WINDOW} of them in the window; {len(ratios)} pairs"
    )
    yield Row(name, "rewind.py against restart.py", value, "× restart", 1.10, True, low, high, detail, dict(seconds))


def _timed(command: object, *arguments: object) -> float:
    started = time.perf_counter()
    words = [sys.executable, str(ROOT / f"harness/{command}.py"), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaneDied(f"{' '.join(words)}\nended with {done.returncode}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started
