"""The speed at which a window of bvlc_googlenet gets to the disk when the solver is not the limit, compared with dd.

A process in place of the worker puts frames of the real shape (three times all 128 blobs, and the images) into the ring
as fast as there is room; this process empties it as the supervisor does. The time includes closing the file and
fdatasync. `dd` writes as many zeros to the same disk, with conv=fdatasync, in blocks of the size of the slabs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.recording.consumer import Consumer
from harness.recording.ring import Kind, Request, Ring
from harness.recording.writer import Writer
from harness.schemas.captures import CAPTURES
from harness.schemas.events import End, encode_note
from harness.schemas.layout import SLAB, Array, Layout, runs
from harness.schemas.run_info import NEW_DIGESTS
from harness.schemas.window import Window
from harness.supervisor.net_upgrade import upgrade_net
from tools.bench.nets import PROBLEMS, ROOT
from tools.bench.rows import Effort, Row, median

BATCH = 32


def rows(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    """Compare the speed of windows with that of dd."""
    solver = PROBLEMS["googlenet_shapes"](home).solver
    ours, theirs = [], []
    for _ in range(effort.of(3)):
        size, took = record(home, solver, 3 if effort.quick else 12)
        ours.append(size / took)
        theirs.append(dd(home, size))
    low, value, high = median([mine / its for mine, its in zip(ours, theirs, strict=True)])
    speeds = f"{np.median(ours) / 1e6:,.0f} MB/s, dd {np.median(theirs) / 1e6:,.0f} MB/s"
    detail = f"{speeds}, {len(ours)} times {size / 1e6:,.0f} MB, both with fdatasync"
    raw = {"ours": ours, "dd": theirs}
    yield Row(name, "googlenet windows, written to the disk", value, "× dd", 0.5, False, low, high, detail, raw)


def produce(ring: Ring, solver: Path, iterations: int) -> None:
    """Take the worker's place: shapes of the real net, values of a random generator."""
    import caffe

    from harness.worker.probes.blobs import ParamProbe
    from harness.worker.probes.capture import param_arrays
    from harness.worker.probes.memory import HostMemory

    caffe.init_log(2, True)
    file = train_net(read_text(solver, pb.SolverParameter, "solver"), solver, upgrade_net)
    probe = ParamProbe(caffe.Net(str(file.source), caffe.TRAIN), file.param, HostMemory(), NEW_DIGESTS)
    inputs = (Array("input", "data", None, (BATCH, 3, 224, 224)), Array("input", "label", None, (BATCH,)))
    arrays = param_arrays(probe, CAPTURES) + inputs
    layout = Layout(probe.params, (), (), (), (), (), (Window(0, iterations),), arrays)
    random = np.random.default_rng(0)
    values = [random.random(array.shape, np.float32) for array in arrays]
    frame = np.zeros(1, layout.frame_dtype)
    ring.put(Kind.LAYOUT, layout.encode())
    while ring.request is Request.WAIT:
        time.sleep(0.001)
    for iteration in range(iterations):
        for first, stop in runs(arrays, SLAB):
            if stop > first + 1 or arrays[first].nbytes <= SLAB:
                ring.put(Kind.SLAB, values[first:stop], iteration=iteration, index=first)
                continue
            for start, end in arrays[first].slabs(SLAB):
                ring.put(Kind.SLAB, values[first][start:end], iteration=iteration, index=first, start=start)
        frame["iteration"] = iteration
        ring.put(Kind.FRAME, frame, iteration=iteration)
    ring.put(Kind.NOTE, encode_note(End(0, "0" * 16)))


def record(home: Path, solver: Path, iterations: int, ring_mib: int = 128) -> tuple[int, float]:
    """Return the bytes of a recording of `iterations` frames, and the seconds until it was on the disk."""
    path = home / "disk.h5"
    ring = Ring.create(ring_mib << 20)
    consumer = Consumer(ring, lambda layout: Writer.create(path, layout, {}))
    with subprocess.Popen(
        [sys.executable, "-m", "tools.bench.disk", str(ring.fd), str(solver), str(iterations)],
        cwd=ROOT,
        pass_fds=(ring.fd,),
        env=dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        while not consumer.drain():
            if process.poll() is not None:
                raise RuntimeError("the process in the worker's place ended before it sent its layout")
            time.sleep(0.01)
        started = time.perf_counter()
        ring.request = Request.GO
        while not any(isinstance(event, End) for event in consumer.drain()):
            if process.poll() not in (None, 0):
                raise RuntimeError("the process in the worker's place died")
            time.sleep(0.001)
    assert consumer.writer is not None
    consumer.writer.close()
    _sync(path)
    took = time.perf_counter() - started
    size = path.stat().st_size
    path.unlink()
    return size, took


def dd(home: Path, size: int) -> float:
    """Return the bytes per second at which dd writes about `size` bytes to the disk."""
    path = home / "dd"
    blocks = max(1, size // SLAB)
    command = ["dd", "if=/dev/zero", f"of={path}", f"bs={SLAB}", f"count={blocks}", "conv=fdatasync"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - started
    path.unlink()
    return blocks * SLAB / took


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fdatasync(file.fileno())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put frames into a ring: the process in place of the worker.")
    parser.add_argument("ring", type=int, help="an inherited file descriptor")
    parser.add_argument("solver", type=Path)
    parser.add_argument("iterations", type=int)
    given = parser.parse_args()
    produce(Ring(given.ring), given.solver, given.iterations)
