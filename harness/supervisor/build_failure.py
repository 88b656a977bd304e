"""Explain why Caffe ended before the first iteration was made: what it said, and the layer that it was setting up."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.caffe_files.layer_types import FILLERS, IMAGES, LAYER_TYPES, ROWS, WINDOWS
from harness.caffe_files.net import NetFile, data_param_of, net_phase
from harness.caffe_log.death import death_message, without_header
from harness.errors import BadInput, nearest

# Ends that Caffe or a layer brings about by itself; another signal, such as SIGKILL, comes from outside.
_OWN_SIGNALS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS, signal.SIGILL)
_NET = re.compile(r"solver\.cpp:\d+\] Creating (?:training net|test net \(#(?P<test>\d+)\))")
_LAYER = re.compile(r"layer_factory\.hpp:\d+\] Creating layer (?P<name>.*)")
_BUILT = re.compile(r"solver\.cpp:\d+\] Solver scaffolding done\.")
# a message of Caffe, of C++ or of Python; other output need not concern the end
_MESSAGE = re.compile(r"F\d{4,8} |terminate called|\s+what\(\):|[\w.]*(?:Error|Exception)\b")
_NO_FILES = re.compile(r"Too many open files|File too large|File name too long")
_NO_MEMORY = re.compile(r"bad_alloc|MemoryError|host allocation of size|out of memory")

# What to do, by what the message says; the first that matches counts.
_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (_NO_MEMORY, "There is not enough memory for this net: reduce batch_size, num_output or the shapes"),
    (_NO_FILES, "Raise the limits of this process (ulimit -n, ulimit -f), or give shorter paths"),
    (re.compile(r"INT_MAX"), "A blob holds at most 2,147,483,647 values: reduce batch_size, num_output or the shapes"),
    (re.compile(r"Number of labels must match"), "Give one label for each prediction"),
    (re.compile(r"crop_size|img_(?:height|width) >= |datum_(?:height|width) [>=]="),
     "Give a crop_size that is at most the size of the images"),
    (re.compile(r"[Kk]ernel|Filter (?:size|dimensions)"), "Correct kernel_size, or kernel_h and kernel_w"),
    (re.compile(r"num_output"), "Give num_output, at least 1"),
    (re.compile(r"axis|axes|num_axes"), "Choose an axis that the bottom has; Caffe counts from 0"),
    (re.compile(r"(?:bottom|top) blob\(s\)|NumBottomBlobs|NumTopBlobs"), "Give the layer that many bottoms and tops"),
    (re.compile(r"HDF5|hdf5|hid_t|H5"), "Check the HDF5 file, and that it has a dataset for each top"),
    (re.compile(r"ModuleNotFoundError"), "Put the directory of the module on PYTHONPATH"),
    (re.compile(r"^\w*Error"), "Correct the Python layer"),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where Caffe stood: the number of the net (0 is the train net), and the name of the layer that it set up."""

    net: int
    layer: str | None


def place_of(nets: Sequence[NetFile], log: Iterable[str]) -> Place:
    """Find where the output `log` of Caffe ends. Layers that Caffe adds, and those inside an LSTM, do not count."""
    number, layer = 0, None
    for line in log:
        if net := _NET.search(line):
            number, layer = int(net["test"]) + 1 if net["test"] else 0, None
        elif created := _LAYER.search(line):
            known = number < len(nets) and any(created["name"] == other.name for other in nets[number].layers)
            layer = created["name"] if known else layer
        elif _BUILT.search(line):
            number, layer = 0, None
    return Place(number if number < len(nets) else 0, layer)


def build_failure(nets: Sequence[NetFile], log: Sequence[str], returncode: int) -> BadInput | None:
    """Return the error that ended a worker with `returncode` before its first iteration.

    None if the input is not the reason: the worker was killed from outside, or failed by itself.

    Args:
        nets: the train net, and the test nets.
        log: all that the worker printed.
    """
    words = [line for line in death_message(log) if _MESSAGE.match(line)]
    said = re.sub(r" \(known types: .*", "", "; ".join(without_header(line).strip() for line in words))
    has_python = any(layer.type == "Python" for net in nets for layer in net.layers)
    if returncode >= 0:
        if not (has_python or _NO_MEMORY.search(said) or _NO_FILES.search(said)):
            return None
        how = f"exit code {returncode}"
    elif -returncode in _OWN_SIGNALS:
        how = signal.Signals(-returncode).name
    else:
        return None
    place = place_of(nets, log)
    net = nets[place.net]
    at = next((layer for layer in net.layers if layer.name == place.layer), None)
    where = f"{net.source}: layer {at.name} ({at.type})" if at else net.source
    when = (
        f"while it set up this layer of the {net_phase(place.net)} net" if at else "before the first iteration was done"
    )
    return BadInput(
        f"Caffe ended {when} ({how}){f': {said}' if said else ', without a message'}".rstrip("."),
        file=where,
        remedy=f"{_remedy(said, (net,) if at else nets)}. Nothing was trained",
    )


def _remedy(said: str, nets: Sequence[NetFile]) -> str:
    tops = {top for net in nets for layer in net.layers for top in layer.top}
    for pattern, known in (
        (r"Unknown layer type: (?P<name>.+)", LAYER_TYPES),
        (r"Unknown filler name: (?P<name>\S*)", FILLERS),
        (r"Unknown bottom blob '(?P<name>.*?)'", tops),
    ):
        if match := re.search(pattern, said):
            return nearest(match["name"], known).rstrip(".?")
    data = ", ".join(dict.fromkeys(source for net in nets for source in _sources(net)))
    default = f"Correct the net, or the data that it reads ({data})" if data else "Correct the net"
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(said)), default)


def _sources(net: NetFile) -> Iterator[str]:
    for layer in net.layers:
        if layer.type in IMAGES + WINDOWS + ROWS:
            yield data_param_of(layer).source
