"""Check that Caffe has written a snapshot completely.

Caffe notices a failed write of a large file and aborts. The last few kilobytes are written when its stream is closed,
whose failure it does not notice (WriteProtoToBinaryFile, util/io.cpp): the file is short, and Caffe goes on.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import h5py

from harness.caffe_files.messages import pb
from harness.caffe_files.protobuf_wire import DamagedMessage, fields

_LAYER = pb.NetParameter.DESCRIPTOR.fields_by_name["layer"].number
_CURRENT_STEP = pb.SolverState.DESCRIPTOR.fields_by_name["current_step"].number


def is_whole_model(path: Path, layers: int) -> bool:
    """Check that the caffemodel `path` is complete: it has all `layers` of the net."""
    return _is_whole_h5(path) if path.name.endswith(".h5") else _numbers(path).count(_LAYER) == layers


def is_whole_state(path: Path) -> bool:
    """Check that the solverstate `path` is complete: it ends with the field that Caffe writes last."""
    return _is_whole_h5(path) if path.name.endswith(".h5") else _numbers(path)[-1:] == [_CURRENT_STEP]


def _numbers(path: Path) -> list[int]:
    """Return the numbers of the fields of a message, none of one that is cut short."""
    if not path.stat().st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        try:
            return [number for number, _ in fields(memory, slice(0, len(memory)))]
        except DamagedMessage:
            return []


def _is_whole_h5(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return len(file) > 0
    except (OSError, RuntimeError):  # also if it is shorter than its superblock says
        return False
