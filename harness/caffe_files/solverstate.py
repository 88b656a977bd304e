"""Solverstates that Caffe will restore: an existing one under another name, with other momentum, or a new one.

A solverstate of VGG has 500 MB, nearly all of it history. What is changed is changed in a copy of the file, in place
and a part at a time: no message of that size is ever built. What protobuf writes is read here only as far as needed to
find the numbers (https://protobuf.dev/programming-guides/encoding; SolverState and BlobProto in caffe.proto).
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import pb
from harness.errors import BadInput, nearest
from harness.schemas.layout import Param

HISTORY_MODES = ("keep", "rescale", "reset")

_HISTORY = pb.SolverState.DESCRIPTOR.fields_by_name["history"].number
_DATA = pb.BlobProto.DESCRIPTOR.fields_by_name["data"].number
_DOUBLE_DATA = pb.BlobProto.DESCRIPTOR.fields_by_name["double_data"].number
_VARINT, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # wire types, and the sizes of those that have one
_PART = 1 << 22  # numbers that are multiplied at once


def copy_solverstate(state: Path, caffemodel: Path, target: Path, scale: float | None) -> Path:
    """A copy of the solverstate `state` in `target`, which names `caffemodel` and whose history is `scale` times that.

    Iteration and current_step stay. `state` need not find its own caffemodel any more; which iteration and shapes it
    has is for `weights.read_solverstate` to check. The file appears whole or not at all.

    Args:
        caffemodel: may be written later; it is named by its absolute path.
        target: in an existing directory, with the suffix of `state`: .solverstate, or .solverstate.h5 for HDF5.
        scale: history × scale in float32. None keeps it bit for bit; 0 makes it +0 everywhere, also where it was NaN.

    Returns:
        `target`.

    Raises:
        BadInput: `state` cannot be read, or is damaged.
    """
    is_h5 = state.name.endswith(".h5")
    if is_h5 != target.name.endswith(".h5"):
        raise ValueError(f"{target} would not be read as {state} is: Caffe goes by the suffix .h5")

    try:
        source = state.open("rb")
    except OSError as error:
        raise BadInput(f"cannot read the solverstate ({error.strerror})", file=state, remedy="Check the path") from None

    def write(part: Path) -> None:
        with source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, _PART)
        try:
            (_scale_h5 if is_h5 else _scale_binary)(part, scale)
            set_learned_net(part, str(caffemodel.absolute()))
        except (_Damaged, KeyError) as error:
            raise BadInput(
                f"not a solverstate: the file is damaged, cut short, or something else ({error})",
                file=state,
                remedy="Give a solverstate that Caffe wrote",
            ) from None

    return _whole(target, write)


def set_learned_net(state: Path, model: str) -> None:
    """Make the solverstate name its caffemodel where it will lie."""
    if state.name.endswith(".h5"):
        with h5py.File(state, "r+") as file:
            del file["learned_net"]
            # Caffe reads up to a NUL (hdf5_load_string), which numpy's own strings leave out
            file["learned_net"] = np.array(model.encode(), f"S{len(model.encode()) + 1}")
        return
    with state.open("ab") as file:  # of a field that comes twice, protobuf keeps the last
        file.write(pb.SolverState(learned_net=model).SerializePartialToString())


def history_scale(kind: str, mode: str, old: Any, new: Any, iteration: int, step: int) -> float | None:
    """What to multiply the history with when training goes on at `iteration` under the solver `new` instead of `old`.

    SGD's and Nesterov's history is a sum of rate × gradient (ComputeUpdateValue in sgd_solver.cpp and
    nesterov_solver.cpp), so that after a change of the rate the momentum is still at the old scale. `rescale` makes it
    what it would be, had the rate been new / old times itself all along; lr_mult is not in this.

    Args:
        kind: the solver type, "SGD"…
        mode: "keep", "rescale" or "reset".
        old: the SolverParameter under which the history came about.
        new: the SolverParameter under which it will be used.
        step: Caffe's current_step before `iteration`.

    Returns:
        None for history as it is, 0 for none.

    Raises:
        BadInput: no such mode, or rescaling has no meaning.
    """
    if mode not in HISTORY_MODES:
        raise BadInput("no such choice", field="--history", value=mode, remedy=nearest(mode, HISTORY_MODES))
    if mode == "keep":
        return None
    if mode == "reset":
        return 0.0
    remedy = "Use --history keep or --history reset"
    if kind not in ("SGD", "Nesterov"):
        raise BadInput(
            f"the history of {kind} holds no learning rate, there is nothing to rescale",
            field="--history",
            value=mode,
            remedy=remedy,
        )
    before, after = (learning_rate(solver, iteration, next_step(solver, iteration, step)) for solver in (old, new))
    if before == after:
        return None
    ratio = after / before if before else math.inf
    if not abs(ratio) <= float(np.finfo(np.float32).max):  # NaN is not either
        raise BadInput(
            f"the learning rate at iteration {iteration} is {before:g} before the change and {after:g} after it, "
            "which gives no ratio to rescale by",
            field="--history",
            value=mode,
            remedy=remedy,
        )
    return ratio


def write_window_state(
    updates: Mapping[tuple[str, int], npt.NDArray[np.float32]],
    iteration: int,
    step: int,
    model: Path,
    target: Path,
    params: Sequence[Param],
) -> Path:
    """A binary solverstate at `iteration` t, for a solver of type SGD, from what a window recorded.

    SGD subtracts its history as it is (ComputeUpdateValue copies it into diff), also with clipping, iter_size, decay
    and lr_mult: its history after iteration t − 1 is update(t − 1), bit for bit. This holds for no other solver type.

    Args:
        updates: update(t − 1) of every learnable blob, by (layer, index).
        step: Caffe's current_step before it.
        model: the caffemodel with W_t, named by its absolute path; it may be written later.
        target: the .solverstate, in an existing directory. It appears whole or not at all.
        params: the learnable blobs in the solver's order, as the recording has them.

    Returns:
        `target`.

    Raises:
        BadInput: the update of a blob is missing, or has another shape or type.
    """
    for param in params:
        update = updates.get((param.layer, param.index))
        if update is None or update.shape != param.shape or update.dtype != np.float32:
            found = "none" if update is None else f"one of shape {update.shape}, {update.dtype}"
            raise BadInput(
                f"an update of shape {param.shape}, float32, is needed at iteration {iteration - 1}, there is {found}",
                field="param",
                value=f"{param.layer}/{param.index}",
                remedy=f"Record it with --watch {iteration - 1}:{iteration + 1} and `update` in --capture",
            )

    def write(part: Path) -> None:  # in Caffe's order: this is the very file that it would have written
        with part.open("wb") as file:
            file.write(pb.SolverState(iter=iteration, learned_net=str(model.absolute())).SerializeToString())
            for param in params:
                shape = pb.BlobProto(shape=pb.BlobShape(dim=param.shape)).SerializeToString()
                numbers = np.ascontiguousarray(updates[param.layer, param.index], "<f4")
                opening = _opening(_DATA, numbers.nbytes)
                file.write(_opening(_HISTORY, len(opening) + numbers.nbytes + len(shape)) + opening)
                file.write(numbers.data)
                file.write(shape)
            file.write(pb.SolverState(current_step=step).SerializeToString())

    return _whole(target, write)


def _whole(target: Path, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a file beside `target`, which then takes its place."""
    suffix = "".join(target.suffixes[-2:])  # HDF5 goes by the suffix
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=suffix)
    os.close(fd)
    part = Path(name)
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        os.replace(part, target)
    except BaseException:
        part.unlink()
        raise
    return target


def _scale(numbers: npt.NDArray[Any], scale: float) -> None:
    """Multiply in place, as Caffe would: it reads doubles as float32 (Blob<float>::FromProto, blob.cpp)."""
    if scale == 0:
        numbers[...] = 0
        return
    with np.errstate(all="ignore"):  # a history that is not finite stays so
        for start in range(0, len(numbers), _PART):
            part = numbers[start : start + _PART]
            part[...] = part.astype(np.float32) * np.float32(scale)


def _scale_h5(path: Path, scale: float | None) -> None:
    try:
        file = h5py.File(path, "r+")
    except OSError as error:
        raise _Damaged(str(error)) from None
    with file:
        for dataset in file["history"].values():
            if scale is not None:
                numbers = np.atleast_1d(dataset[()])
                _scale(numbers.reshape(-1), scale)
                dataset[...] = numbers.reshape(dataset.shape)


def _scale_binary(path: Path, scale: float | None) -> None:
    if not path.stat().st_size:
        raise _Damaged("it is empty")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        spans = list(_history(memory))
        if not spans:
            raise _Damaged("it has no history")
        if scale is not None:
            for dtype, span in spans:
                count = (span.stop - span.start) // dtype.itemsize
                _scale(np.frombuffer(memory, dtype, count, span.start), scale)  # not kept, or `memory` cannot close


def _history(memory: mmap.mmap) -> Iterator[tuple[np.dtype[Any], slice]]:
    """Type and place of every blob of numbers in the history."""
    for number, blob in _fields(memory, slice(0, len(memory))):
        if number != _HISTORY:
            continue
        for field, span in _fields(memory, blob):
            if field in (_DATA, _DOUBLE_DATA):
                dtype = np.dtype("<f4" if field == _DATA else "<f8")
                if (span.stop - span.start) % dtype.itemsize:
                    raise _Damaged(f"the numbers at byte {span.start} are cut")
                yield dtype, span


class _Damaged(Exception):
    """Not what protobuf writes."""


def _fields(memory: mmap.mmap, within: slice) -> Iterator[tuple[int, slice]]:
    """The fields of the message that lies at the bytes `within`: their numbers, and where their values lie."""
    position = within.start
    while position < within.stop:
        key, start = _varint(memory, position, within.stop)
        kind = key & 7
        if kind == _VARINT:
            _, position = _varint(memory, start, within.stop)
        elif kind == _BYTES:
            size, start = _varint(memory, start, within.stop)
            position = start + size
        elif kind in _FIXED:
            position = start + _FIXED[kind]
        else:
            raise _Damaged(f"wire type {kind} at byte {position}")
        if position > within.stop:
            raise _Damaged(f"byte {position} is beyond its end")
        yield key >> 3, slice(start, position)


def _varint(memory: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """The varint at `position`, and the position behind it."""
    value = shift = 0
    while position < stop and shift < 64:
        byte = memory[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise _Damaged(f"no number ends at byte {position}")


def _opening(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of field `number`."""
    return b"".join(_as_varint(value) for value in (number << 3 | _BYTES, size))


def _as_varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
