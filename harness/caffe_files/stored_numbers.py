"""Read and change the numbers in a snapshot's files where they are: those of a caffemodel and of a solverstate.

Only the numbers are mapped into memory, so that files of 500 MB take none, and all else in them stays byte for byte.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from harness.caffe_files.layer_names import unique_names
from harness.caffe_files.messages import decode, pb
from harness.caffe_files.protobuf_wire import DamagedMessage, fields
from harness.caffe_files.weight_digest import digest_of
from harness.errors import BadInput
from harness.schemas.layout import Param
from harness.schemas.run_info import DigestKind

Floats = npt.NDArray[np.float32]
Mode = Literal["r", "r+"]  # to be read, or written as well

_LAYER = pb.NetParameter.DESCRIPTOR.fields_by_name["layer"].number
_NAME = pb.LayerParameter.DESCRIPTOR.fields_by_name["name"].number
_BLOBS = pb.LayerParameter.DESCRIPTOR.fields_by_name["blobs"].number
_HISTORY = pb.SolverState.DESCRIPTOR.fields_by_name["history"].number
_DATA = pb.BlobProto.DESCRIPTOR.fields_by_name["data"].number


@dataclass(frozen=True)
class StoredBlob:
    """A blob in a file: the name of its layer (`name#2` for the second layer of a name) and its number there.

    `numbers` reads and writes the file: `numbers[...]` is all of them. Of a history, `layer` is empty.
    """

    layer: str
    index: int
    numbers: Any  # a numpy.memmap, or an h5py.Dataset


@contextmanager
def model_blobs(path: Path, mode: Mode = "r+") -> Iterator[list[StoredBlob]]:
    """Open the blobs of a caffemodel that Caffe 1.0 has written, layer by layer; shared ones once for each layer.

    Raises:
        BadInput: it is damaged.
    """
    if path.name.endswith(".h5"):
        with _opened(path, mode) as file:
            yield [
                StoredBlob(layer, int(index), blobs[index])
                for layer, blobs in _group(path, file, "data").items()
                for index in sorted(blobs, key=int)
            ]
    else:
        yield _read(path, mode, _model_blobs)


@contextmanager
def history_blobs(path: Path, mode: Mode = "r+") -> Iterator[list[StoredBlob]]:
    """Open the history of a solverstate; blob n belongs to the learnable blob n, modulo their number.

    Raises:
        BadInput: it is damaged.
    """
    if path.name.endswith(".h5"):
        with _opened(path, mode) as file:
            history = _group(path, file, "history")
            yield [StoredBlob("", index, history[str(index)]) for index in range(len(history))]
    else:
        yield _read(path, mode, _history_blobs)


def change_numbers(blobs: Sequence[StoredBlob], change: Callable[[Floats], Floats]) -> None:
    """Put `change` of the numbers of each blob in their place."""
    for blob in blobs:
        blob.numbers[...] = change(np.asarray(blob.numbers[...], np.float32))


def weight_digest(blobs: Sequence[StoredBlob], params: Sequence[Param], kind: DigestKind) -> str:
    """Return the digest of a caffemodel's weights, as a run records it: that of the blobs `params`, in order.

    Raises:
        KeyError: it lacks one of them.
    """
    found = {(blob.layer, blob.index): blob.numbers for blob in blobs}
    numbers = (np.asarray(found[param.layer, param.index][...], np.float32) for param in params)
    return f"{digest_of(numbers, kind):016x}"


def _opened(path: Path, mode: Mode) -> h5py.File:
    try:
        return h5py.File(path, mode)
    except OSError as error:
        raise _damaged(path, error) from None


def _group(path: Path, file: h5py.File, name: str) -> h5py.Group:
    if name not in file:
        raise _damaged(path, f"it has no group {name}")
    return file[name]


def _read(path: Path, mode: Mode, find: Callable[[Path, Mode, mmap.mmap], list[StoredBlob]]) -> list[StoredBlob]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            return find(path, mode, memory)
    except (DamagedMessage, OSError, ValueError) as error:  # an empty file cannot be mapped
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> BadInput:
    return BadInput(f"damaged ({why})", file=path, remedy="Use another copy of the file")


def _model_blobs(path: Path, mode: Mode, memory: mmap.mmap) -> list[StoredBlob]:
    layers = [span for number, span in fields(memory, slice(0, len(memory))) if number == _LAYER]
    names = unique_names([pb.LayerParameter(name=_name(memory, span)) for span in layers])
    return [
        StoredBlob(name, index, _mapped(path, mode, memory, blob))
        for name, span in zip(names, layers, strict=True)
        for index, blob in enumerate(part for number, part in fields(memory, span) if number == _BLOBS)
    ]


def _history_blobs(path: Path, mode: Mode, memory: mmap.mmap) -> list[StoredBlob]:
    spans = [span for number, span in fields(memory, slice(0, len(memory))) if number == _HISTORY]
    return [StoredBlob("", index, _mapped(path, mode, memory, span)) for index, span in enumerate(spans)]


def _mapped(path: Path, mode: Mode, memory: mmap.mmap, blob: slice) -> Floats:
    """Map the numbers of a blob into memory."""
    for number, span in fields(memory, blob):
        if number == _DATA and span.stop > span.start:
            return np.memmap(path, "<f4", mode, span.start, ((span.stop - span.start) // 4,))
    return np.empty(0, np.float32)


def _name(memory: mmap.mmap, layer: slice) -> str:
    return next((decode(memory[span]) for number, span in fields(memory, layer) if number == _NAME), "")
