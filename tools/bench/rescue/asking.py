"""Rescue a planted run as a user would, and judge by its losses alone what became of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from harness.schemas.rescue import RESCUE, Rescue
from tools.bench.faults.breaks import is_healthy
from tools.bench.faults.nets import Net
from tools.bench.faults.probe import Losses
from tools.bench.faults.recording import ENVIRONMENT
from tools.bench.nets import ROOT
from tools.bench.rescue.result_file import RESULT, Rescued, write_result

_LIMIT = 3600  # seconds
_END = 40  # iterations that tell the level at the end


def ask(home: Path, net: Net) -> Rescued:
    """Rescue the run in the directory `home` of a fault."""
    run, study = home / "run", home / "run-rescue"
    command = [sys.executable, "harness/rescue.py", str(run), "--workers", "1", "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    seconds = time.perf_counter() - started
    untouched = not any(path.is_dir() for path in study.iterdir())
    try:
        said = msgspec.json.decode(done.stdout, type=Rescue)
    except msgspec.DecodeError:
        result = Rescued(done.returncode, False, None, seconds, untouched, error=done.stderr[-2000:])
    else:
        losses = lineage_losses(Path(said.run))
        healthy = is_healthy(losses, net.chance, net.iterations)
        result = Rescued(done.returncode, healthy, level_of(losses), seconds, untouched, said)
    write_result(home / RESULT, result)
    if result.healthy and (study / RESCUE).exists():  # a hundred of them take more room than the runs
        shutil.rmtree(study)
    return result


def lineage_losses(run: Path) -> Losses:
    """Return the loss of each iteration of a training, read over all runs of its lineage."""
    with LineageReader(Recording(run)) as lineage:
        return np.asarray(lineage.series("loss", slice(0, len(lineage.iterations))), np.float64)


def level_of(losses: Losses) -> float | None:
    """Return the median of the last losses of a training; None if one of them is not finite."""
    last = losses[-_END:]
    return float(np.median(last)) if np.isfinite(last).all() else None
