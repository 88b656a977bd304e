"""Copy Caffe's snapshot files without the paths in them: a caffemodel holds the net with all its sources."""

from __future__ import annotations

import mmap
import shutil
from pathlib import Path
from typing import BinaryIO

import h5py

from harness.caffe_files.messages import pb
from harness.caffe_files.protobuf_wire import DamagedMessage, field_header, fields
from harness.caffe_files.solverstate import set_learned_net
from harness.errors import BadInput

_NET, _LAYER, _STATE = (m.DESCRIPTOR.fields_by_name for m in (pb.NetParameter, pb.LayerParameter, pb.SolverState))
_OF_LAYER = {_LAYER[name].number for name in ("name", "type", "blobs")}


def copy_caffemodel(model: Path, target: Path) -> None:
    """Copy a caffemodel: of each layer name, type and weights, as far as it is not an HDF5 file, which has no more.

    Raises:
        BadInput: it is damaged.
        OSError: it cannot be read, or the copy not be written.
    """
    if model.name.endswith(".h5"):
        shutil.copyfile(model, target)
        return
    with model.open("rb") as file, target.open("wb") as copy:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                _copy_layers(memory, copy)
        except (DamagedMessage, ValueError) as error:  # of an empty file
            raise BadInput(f"damaged ({error})", file=model, remedy="Start from another snapshot") from None


def _copy_layers(memory: mmap.mmap, copy: BinaryIO) -> None:
    for number, value in fields(memory, slice(0, len(memory))):
        if number == _NET["layer"].number:
            parts = _parts(memory, value)
            copy.write(field_header(number, sum(part.stop - part.start for part in parts)))
            for part in parts:
                copy.write(memory[part])


def _parts(memory: mmap.mmap, layer: slice) -> list[slice]:
    """Find the fields of a layer that are kept, each with its header."""
    found, begin = [], layer.start
    for number, value in fields(memory, layer):
        if number in _OF_LAYER:
            found.append(slice(begin, value.stop))
        begin = value.stop
    return found


def copy_state(state: Path, model: str, target: Path) -> None:
    """Copy a solverstate, with `model` as the caffemodel that it names; its history keeps its bytes.

    Raises:
        BadInput: it is damaged.
        OSError: it cannot be read, or the copy not be written.
    """
    try:
        if state.name.endswith(".h5"):
            with h5py.File(state, "r") as source, h5py.File(target, "w") as copy:
                for name in {*source} - {"learned_net"}:
                    source.copy(name, copy)
                copy["learned_net"] = 0  # for set_learned_net to replace
        else:
            _copy_binary_state(state, target)
        set_learned_net(target, model)
    except (DamagedMessage, KeyError, RuntimeError, ValueError) as error:
        raise BadInput(f"damaged ({error})", file=state, remedy="Start from another snapshot") from None


def _copy_binary_state(state: Path, target: Path) -> None:
    with (
        state.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        target.open("wb") as copy,
    ):
        begin = 0
        for number, value in fields(memory, slice(0, len(memory))):
            if number != _STATE["learned_net"].number:
                copy.write(memory[begin : value.stop])
            begin = value.stop
