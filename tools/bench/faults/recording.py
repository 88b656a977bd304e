"""Record a planted training as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from harness.recording import Recording
from tools.bench.faults.bit_flip import flip_after
from tools.bench.faults.planting import Planting
from tools.bench.faults.probe import Losses
from tools.bench.faults.training import TrainingFiles
from tools.bench.nets import ROOT

_DONE, _STOPPED, _DIED = 0, 3, 4
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


class NotRecorded(Exception):
    """A run could not be recorded; the message has the end of its output."""


def record(files: TrainingFiles, planting: Planting, run: Path) -> None:
    """Record a run into the directory `run`, with snapshots and without windows.

    Raises:
        NotRecorded: it failed.
        NotFlipped: a bit that was to be flipped was not.
    """
    net = planting.training.net
    command = [sys.executable, "harness/run.py", "--solver", str(files.solver), "--out", str(run)]
    command += ["--snapshot-every", str(net.snapshot_every)]
    if files.weights is not None:
        command += ["--weights", str(files.weights)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if planting.flips is not None:
                flip(planting, process.pid, run)
            _, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.communicate()
            raise
    if process.returncode not in (_DONE, _STOPPED, _DIED):
        raise NotRecorded(f"{' '.join(command)}\nended with {process.returncode}:\n{errors[-3000:]}")


def flip(planting: Planting, supervisor: int, run: Path) -> None:
    """Flip a bit of a weight after the snapshot that comes before the wanted iteration."""
    assert planting.flips is not None
    net = planting.training.net
    iteration = planting.flips // net.snapshot_every * net.snapshot_every
    layer = net.layers[planting.training.seed % len(net.layers)]
    flip_after(run / "snapshots" / f"native_iter_{iteration}.caffemodel", supervisor, layer, planting.flips % 64)


def recorded_losses(run: Path) -> Losses:
    """Return the loss of each iteration of a run."""
    with Recording(run) as recording:
        return np.asarray(recording.series("loss", slice(0, len(recording.iterations))), np.float64)


def recorded_rates(run: Path) -> Losses:
    """Return the learning rate of each iteration of a run."""
    with Recording(run) as recording:
        return np.asarray(recording.series("lr", slice(0, len(recording.iterations))), np.float64)
