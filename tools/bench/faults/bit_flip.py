"""Flip a bit of a weight in the memory of a process that trains, from outside: nothing in the training knows of it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from harness.caffe_files.messages import pb

_HIGHEST_OF_EXPONENT = 1 << 30  # set, a float32 below 2 becomes larger than 1e37
_PATIENCE = 60.0  # seconds
_MATCHED = 64  # weights by which a blob is recognised


class NotFlipped(Exception):
    """The weights could not be found in the memory of the process, or there was no such process."""


def flip_after(snapshot: Path, supervisor: int, layer: str, place: int) -> int:
    """Wait for a snapshot, stop the worker at once, flip a bit of one of its weights, and let it go on.

    Args:
        snapshot: a caffemodel that the worker will write.
        supervisor: the process whose child is the worker.
        place: of the weight in the first param blob of `layer`.

    Returns:
        the number of copies of the weights in its memory that were changed.

    Raises:
        NotFlipped: neither in time nor in its memory.
    """
    deadline = time.monotonic() + _PATIENCE
    while not snapshot.exists():
        if time.monotonic() > deadline or not psutil.pid_exists(supervisor):
            raise NotFlipped(f"{snapshot} did not appear")
        time.sleep(0.0005)
    worker = next(
        (child for child in psutil.Process(supervisor).children() if "harness.worker.main" in child.cmdline()), None
    )
    if worker is None:
        raise NotFlipped("the worker is gone")
    worker.send_signal(signal.SIGSTOP)
    try:
        return _flip(worker.pid, _weights(snapshot, layer), place)
    finally:
        worker.send_signal(signal.SIGCONT)


def _weights(snapshot: Path, layer: str) -> npt.NDArray[np.float32]:
    net = pb.NetParameter.FromString(snapshot.read_bytes())
    return np.array(next(found for found in net.layer if found.name == layer).blobs[0].data, np.float32)


def _flip(pid: int, weights: npt.NDArray[np.float32], place: int) -> int:
    """Flip the bit in each copy of `weights`, which a few updates may have changed since, in private memory."""
    found = 0
    descriptor = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    try:
        for start, stop in _private(pid):
            try:
                values = np.frombuffer(os.pread(descriptor, stop - start, start), np.float32)
            except OSError:
                continue  # a mapping that cannot be read
            for index in _matches(values, weights):
                at = start + 4 * (index + place)
                (bits,) = np.frombuffer(os.pread(descriptor, 4, at), np.uint32)
                if not bits & _HIGHEST_OF_EXPONENT:
                    os.pwrite(descriptor, np.uint32(bits | _HIGHEST_OF_EXPONENT).tobytes(), at)
                    found += 1
    finally:
        os.close(descriptor)
    if not found:
        raise NotFlipped("the weights are not in the memory of the worker")
    return found


def _matches(values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> list[int]:
    """Return where `values` has `weights`, or nearly."""
    tolerance = 0.2 * float(weights.std())
    sample = weights[:_MATCHED]
    candidates = np.arange(max(0, len(values) - len(weights) + 1))
    with np.errstate(invalid="ignore", over="ignore"):
        for offset, value in enumerate(sample):
            candidates = candidates[np.abs(values[candidates + offset] - value) <= tolerance]
    return [int(index) for index in candidates]


def _private(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the private, writable mappings of a process that belong to no file."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0\s*(\[heap\])?$", line)
        if match:
            yield int(match[1], 16), int(match[2], 16)
