"""Hash the history in a solverstate: the part that no shape and no name gives away when it was damaged."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import xxhash
from google.protobuf.message import DecodeError

from harness.caffe_files.messages import pb
from harness.caffe_files.protobuf_wire import DamagedMessage, fields
from harness.errors import BadInput

_HISTORY = pb.SolverState.DESCRIPTOR.fields_by_name["history"].number


@dataclass(frozen=True)
class HistoryDigest:
    """XXH3-64 of a solverstate's history (16 hex digits), and its current_step."""

    history: str
    step: int


def digest_history(state: Path) -> HistoryDigest:
    """Hash the history of a solverstate: shapes and numbers, as they are stored in the file.

    A message of the size of the file is never built: that of VGG has 500 MB.

    Raises:
        BadInput: it cannot be read, or is damaged.
    """
    try:
        return (_digest_h5 if state.name.endswith(".h5") else _digest_binary)(state)
    except (
        DamagedMessage,
        DecodeError,
        AttributeError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise BadInput(
            f"not a solverstate: the file is damaged, cut short, or something else ({error})",
            file=state,
            remedy="Restart from another snapshot",
        ) from None


def _digest_binary(state: Path) -> HistoryDigest:
    digest = xxhash.xxh3_64()
    rest = pb.SolverState()
    with (
        state.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        memoryview(memory) as content,
    ):
        begin = 0
        for number, value in fields(memory, slice(0, len(memory))):
            with content[begin : value.stop] as field:
                if number == _HISTORY:
                    digest.update(field)
                else:
                    rest.MergeFromString(bytes(field))
            begin = value.stop
    return HistoryDigest(digest.hexdigest(), rest.current_step)


def _digest_h5(state: Path) -> HistoryDigest:
    digest = xxhash.xxh3_64()
    with h5py.File(state, "r") as file:
        history = file["history"]
        for index in range(len(history)):
            numbers = history[str(index)][()]
            digest.update(f"{numbers.dtype.str} {numbers.shape}".encode())
            digest.update(np.ascontiguousarray(numbers).data)
        return HistoryDigest(digest.hexdigest(), int(np.ravel(file["current_step"])[0]))
