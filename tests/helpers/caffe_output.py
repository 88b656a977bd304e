"""Weights and logs of Caffe, in a form that can be compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import pb


def weights_of(path: Path) -> dict[str, list[bytes]]:
    """The bytes of every blob in a caffemodel, read with protobuf alone."""
    net = pb.NetParameter.FromString(path.read_bytes())
    return {
        layer.name: [np.array(b.data, np.float32).tobytes() for b in layer.blobs] for layer in net.layer if layer.blobs
    }


def weights_by_layer(path: Path) -> list[tuple[str, list[bytes]]]:
    """The bytes of every blob in a caffemodel, layer by layer: for nets whose names do not tell layers apart."""
    net = pb.NetParameter.FromString(path.read_bytes())
    return [(layer.name, [np.array(b.data, np.float32).tobytes() for b in layer.blobs]) for layer in net.layer]


def spoken(log: str) -> list[str]:
    """The lines of a log from the start of the training on, without times, thread numbers, source lines and speeds."""
    lines = [re.sub(r"^[IWEF]\S+ \S+ +\d+ ", "", line) for line in log.splitlines()]
    start = next(i for i, line in enumerate(lines) if "] Solving " in line)
    said = [re.sub(r"^[\w.]+:\d+\] ", "", line) for line in lines[start:]]
    said = [re.sub(r" \(\S+ iter/s, \S+s/", " (", line) for line in said]
    said = [re.sub(r"(Snapshotting .* file ).*/", r"\1", line) for line in said]
    # the prefetching thread prints the first two at any time, the caffe command prints the last once more
    noise = ("Waiting for data", "Restarting data prefetching from start.", "Optimization Done.")
    return [line for line in said if line not in noise]


def said_from(log: str, iteration: int) -> list[str]:
    """The lines of a log on tests and outputs from `iteration` on.

    Without `loss =`, because with average_loss the first ones are averaged over fewer iterations.
    """
    lines = [line for line in spoken(log) if "napshot" not in line and "loss = " not in line.split(",")[-1]]
    start = next(i for i, line in enumerate(lines) if re.search(rf"Iteration {iteration}\b", line))
    return [line for line in lines[start:] if re.search(r"net output|Iteration|Testing", line)]
