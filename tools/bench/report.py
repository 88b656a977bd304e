"""The time and memory that a report of a long run takes, and its size.

The run is synthetic, with the length and width of the question's: 120,000 iterations, 128 param blobs, three heads, a
window of 200 iterations (of small blobs: the arrays of a full GoogLeNet would be 27 GB). Another one has 1,000,000
iterations and as many param blobs as the demo's net; its recording takes 3 GB.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import harness
from harness.diagnosis.live.limits import DEFAULTS
from harness.recording.run_directory import attributes, write_info
from harness.recording.writer import Writer
from harness.schemas.captures import CAPTURES
from harness.schemas.data_position import GeneratorState, TrainingPosition
from harness.schemas.layout import STATS, Activation, Array, Head, Layout, Output, Param
from harness.schemas.run_info import Ended, RunInfo
from harness.schemas.window import Window
from tools.bench.nets import ROOT
from tools.bench.rows import Effort, Row

ITERATIONS, BREAK, CLASSES = 120_000, 119_006, 280
LONGEST, FEWER_LAYERS = 1_000_000, 26
_LAYERS = 64
_AT_ONCE = 5000  # iterations
_HEADS = (("loss1/loss1", 0.3), ("loss2/loss1", 0.3), ("loss3/loss3", 1.0))


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Measure the seconds, MiB and MB of one page."""
    run = long_run(home / "long", 12_000 if effort.quick else ITERATIONS)
    took, memory = _make(run)
    yield Row(name, "a page of 120,000 iterations, 128 param blobs", took, "s", 5)
    yield Row(name, "its memory", memory, "MiB", 1024)
    yield Row(name, "its size", (run / "report.html").stat().st_size / 1e6, "MB", 6)
    took, _ = _make(run, "--rules", DEFAULTS)
    yield Row(name, "the same, with all rules applied again", took, "s", 30)
    shutil.rmtree(run)
    run = long_run(home / "longest", 100_000 if effort.quick else LONGEST, FEWER_LAYERS)
    took, memory = _make(run)
    yield Row(name, "a page of 1,000,000 iterations, 52 param blobs", took, "s", 15)
    yield Row(name, "its memory", memory, "MiB", 1024)
    shutil.rmtree(run)


def _make(run: Path, *options: object) -> tuple[float, float]:
    """Write the page; return the seconds and the peak MiB."""
    begun = time.monotonic()
    command = [sys.executable, ROOT / "harness/report.py", run, *options]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"report.py ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def long_run(run: Path, iterations: int = ITERATIONS, layers: int = _LAYERS) -> Path:
    """Write a run directory with a synthetic recording that collapses 994 iterations before its end."""
    onset = iterations - (ITERATIONS - BREAK)
    window = Window(onset - 106, onset + 94)
    layout = _layout(window, layers)
    info = _info(run, layout, iterations, window)
    run.mkdir()
    write_info(run, info)
    writer = Writer.create(run / "recording.h5", layout, attributes(info))
    random = np.random.default_rng(119_040)
    for first in range(0, iterations, _AT_ONCE):
        stop = min(first + _AT_ONCE, iterations)
        writer.append_frames(_frames(layout, first, stop, onset, iterations, random))
        taken = list(range(first, stop, 40))
        writer.append_activations(
            taken, random.uniform(0.3, 0.6, (len(taken), len(layout.activations), 4)) * [1, 1, 1, 0]
        )
    for iteration in range(window.start, window.stop):
        for number, array in enumerate(layout.arrays):
            values = random.standard_normal(array.shape).astype(array.dtype)
            writer.write_slab(number, 0, values.reshape(-1).view(np.uint8).data)
        writer.complete_window_iteration(iteration)
    writer.close()
    return run


def _layout(window: Window, layers: int) -> Layout:
    shapes = ((8, 8), (8,))
    params = tuple(
        Param(f"inception_{layer}/{layer % 5}x1", index, shape, 1 + index, 1 - index)
        for layer in range(layers)
        for index, shape in enumerate(shapes)
    )
    return Layout(
        params=params,
        outputs=tuple(Output(name, 1) for name, _ in _HEADS),
        test_outputs=((Output("loss3/top-1", 1),),),
        heads=tuple(Head(name, weight, CLASSES) for name, weight in _HEADS),
        activations=tuple(Activation(f"inception_{layer}/output", (32, 8, 7, 7)) for layer in range(layers)),
        relus=(),
        windows=(window,),
        arrays=tuple(
            Array(group, param.layer, param.index, param.shape)
            for group in ("weight", "gradient", "update")
            for param in params
        ),
    )


def _frames(
    layout: Layout, first: int, stop: int, onset: int, iterations: int, random: np.random.Generator
) -> np.ndarray:
    count = stop - first
    frames = np.zeros(count, layout.frame_dtype)
    times = np.arange(first, stop)
    broken = times >= onset
    frames["iteration"] = times
    frames["lr"] = 0.001 * np.sqrt(1 - times / 800_000)
    level = 0.9 + 4.5 * np.exp(-times / 15_000)
    noise = random.lognormal(0, 0.15, (count, len(_HEADS)))
    frames["output"] = np.where(broken[:, None], math.log(CLASSES), level[:, None] * noise)
    frames["output"][times == iterations // 2] = 30  # a spike that recovers
    frames["loss"] = frames["output"] @ [weight for _, weight in _HEADS]
    frames["smoothed_loss"] = np.convolve(np.pad(frames["loss"], (39, 0), "edge"), np.ones(40) / 40, "valid")
    frames["loss"][times == iterations // 2 + 3] = np.nan  # and a NaN
    frames["seconds"] = 0.17
    frames["digest"] = times
    frames["stat"] = random.lognormal(0, 0.3, (count, len(STATS), len(layout.params)))
    frames["stat"][:, list(STATS).index("gradient_nonfinite")] = 0
    frames["stat"][:, list(STATS).index("gradient_l2")] *= np.where(broken, 1e-6, 1)[:, None]
    frames["stat"][times == onset, list(STATS).index("gradient_l2")] *= 1e9
    return frames


def _info(run: Path, layout: Layout, iterations: int, window: Window) -> RunInfo:
    return RunInfo(
        directory=str(run.parent),
        harness=harness.__version__,
        started="2026-01-01T00:00:00+0000",
        machine="",
        solver_file="solver.prototxt",
        solver="base_lr: 0.001\ndisplay: 40\naverage_loss: 40\nmax_iter: 800000\n",
        net='name: "made up"',
        test_nets=(),
        heads=layout.heads,
        relus=(),
        mode="CPU",
        random_seed=1,
        random_seed_drawn=False,
        blas_threads=1,
        caffe={},
        versions={},
        data={},
        weights=(),
        resume=None,
        parent=None,
        goes_on_from=None,
        point=TrainingPosition(0, 1, GeneratorState(0), ()),
        step=0,
        first=0,
        until=iterations,
        windows=(str(window),),
        capture=CAPTURES,
        on_alarm="continue",
        not_exact=(),
        ended=Ended(code=0, how=f"Done: iteration {iterations}", onset=None),
    )
