"""Write solverstates that Caffe restores: a copy of one with another caffemodel or scaled history, or a new one.

A solverstate of VGG has 500 MB, nearly all of it history. The history is changed in a copy of the file, in place and a
part at a time: a message of that size is never built (SolverState and BlobProto in caffe.proto).
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

from harness.atomic_write import set_default_mode
from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import pb
from harness.caffe_files.protobuf_wire import DamagedMessage, field_header, fields
from harness.errors import BadInput, nearest
from harness.schemas.history_modes import HISTORY_MODES

_HISTORY = pb.SolverState.DESCRIPTOR.fields_by_name["history"].number
_DATA = pb.BlobProto.DESCRIPTOR.fields_by_name["data"].number
_DOUBLE_DATA = pb.BlobProto.DESCRIPTOR.fields_by_name["double_data"].number
_PART = 1 << 22  # numbers that are multiplied at once


def copy_solverstate(state: Path, caffemodel: Path, target: Path, scale: float | None) -> Path:
    """Copy the solverstate `state` to `target`, with `caffemodel` as its learned_net and its history times `scale`.

    Iteration and current_step stay. The caffemodel of `state` need not exist any more; its iteration and shapes are
    for `caffemodel.read_solverstate` to check. The file is written as a whole or not at all.

    Args:
        caffemodel: stored with its absolute path; the file may be written later.
        target: in an existing directory, with the suffix of `state`: .solverstate, or .solverstate.h5 for HDF5.
        scale: factor for the history, in float32. None keeps it bit for bit; 0 sets it to +0, also where it was NaN.

    Returns:
        `target`.

    Raises:
        BadInput: `state` cannot be read, or is damaged.
    """
    is_h5 = state.name.endswith(".h5")
    if is_h5 != target.name.endswith(".h5"):
        raise ValueError(f"{target} and {state} have different formats: Caffe recognizes HDF5 by the suffix .h5")

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
        except (DamagedMessage, KeyError) as error:
            raise BadInput(
                f"not a solverstate: the file is damaged, cut short, or something else ({error})",
                file=state,
                remedy="Give a solverstate that Caffe wrote",
            ) from None

    return _write_atomically(target, write)


def set_learned_net(state: Path, model: str) -> None:
    """Set the path of the caffemodel that a solverstate names."""
    if state.name.endswith(".h5"):
        with h5py.File(state, "r+") as file:
            del file["learned_net"]
            # Caffe reads up to a NUL (hdf5_load_string), which numpy's own strings omit
            file["learned_net"] = np.array(model.encode(), f"S{len(model.encode()) + 1}")
        return
    with state.open("ab") as file:  # of a field that occurs twice, protobuf keeps the last
        file.write(pb.SolverState(learned_net=model).SerializePartialToString())


def scale_history(state: Path, factors: Mapping[int, float]) -> None:
    """Multiply some blobs of the history of a binary solverstate, in place and in float32.

    Args:
        factors: by number of the blob, in the solver's order; 0 sets it to +0, also where it was NaN.

    Raises:
        DamagedMessage: it is not one that Caffe wrote.
    """
    with state.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        for number, (dtype, span) in enumerate(_history_arrays(memory)):
            if number in factors:
                count = (span.stop - span.start) // dtype.itemsize
                _scale(np.frombuffer(memory, dtype, count, span.start), factors[number])


def history_scale(
    kind: str, mode: str, old: pb.SolverParameter, new: pb.SolverParameter, iteration: int, step: int
) -> float | None:
    """Compute the factor for the history when training continues at `iteration` with the solver `new`, not `old`.

    SGD's and Nesterov's history is a sum of rate × gradient (ComputeUpdateValue in sgd_solver.cpp and
    nesterov_solver.cpp), so that after a change of the rate the momentum is still at the old scale. `rescale` gives
    the history as if the rate had always been multiplied by new / old; lr_mult plays no part.

    Args:
        kind: the solver type, such as "SGD".
        mode: "keep", "rescale" or "reset".
        old: the solver under which the history was accumulated.
        new: the solver under which it will be used.
        step: Caffe's current_step before `iteration`.

    Returns:
        None to keep the history as it is, 0 to reset it.

    Raises:
        BadInput: unknown mode, or rescaling has no meaning.
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
            f"the history of {kind} does not contain the learning rate, so there is nothing to rescale",
            field="--history",
            value=mode,
            remedy=remedy,
        )
    before, after = (learning_rate(solver, iteration, next_step(solver, iteration, step)) for solver in (old, new))
    if before == after:
        return None
    ratio = after / before if before else math.inf
    if not abs(ratio) <= float(np.finfo(np.float32).max):  # also refuses NaN
        raise BadInput(
            f"the learning rate at iteration {iteration} is {before:g} before the change and {after:g} after it, "
            "which gives no ratio to rescale by",
            field="--history",
            value=mode,
            remedy=remedy,
        )
    return ratio


def write_window_state(
    history: Sequence[npt.NDArray[np.float32]], iteration: int, step: int, model: Path, target: Path
) -> Path:
    """Write a binary solverstate at `iteration` t from a recorded window.

    Args:
        history: the solver's history before the update of t, one blob for each learnable param in the solver's order;
            for AdaDelta and Adam, all second slots follow. SGD subtracts its history unchanged (ComputeUpdateValue
            copies it into diff), also with clipping, iter_size, decay and lr_mult: it is update(t − 1), bit for bit.
            This holds for no other solver type.
        step: Caffe's current_step before it.
        model: the caffemodel with W_t, stored with its absolute path; the file may be written later.
        target: the .solverstate, in an existing directory. It is written as a whole or not at all.

    Returns:
        `target`.
    """

    def write(part: Path) -> None:  # in Caffe's order: the file is the same, byte for byte
        with part.open("wb") as file:
            file.write(pb.SolverState(iter=iteration, learned_net=str(model.absolute())).SerializeToString())
            for blob in history:
                shape = pb.BlobProto(shape=pb.BlobShape(dim=blob.shape)).SerializeToString()
                numbers = np.ascontiguousarray(blob, "<f4")
                header = field_header(_DATA, numbers.nbytes)
                file.write(field_header(_HISTORY, len(header) + numbers.nbytes + len(shape)) + header)
                file.write(numbers.data)
                file.write(shape)
            file.write(pb.SolverState(current_step=step).SerializeToString())

    return _write_atomically(target, write)


def _write_atomically(target: Path, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a file next to `target`, and then replace `target` by it."""
    suffix = "".join(target.suffixes[-2:])  # _scale_h5 and set_learned_net recognize HDF5 by the suffix
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=suffix)
    os.close(fd)
    part = Path(name)
    try:
        write(part)
        with part.open("rb") as file:
            set_default_mode(file.fileno())
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        part.unlink()
        raise
    return target


def _scale(numbers: npt.NDArray[Any], scale: float) -> None:
    """Multiply in place in float32: Caffe reads doubles as float32 (Blob<float>::FromProto, blob.cpp)."""
    if scale == 0:
        numbers[...] = 0
        return
    with np.errstate(all="ignore"):  # non-finite values stay non-finite
        for start in range(0, len(numbers), _PART):
            part = numbers[start : start + _PART]
            part[...] = part.astype(np.float32) * np.float32(scale)


def _scale_h5(path: Path, scale: float | None) -> None:
    try:
        file = h5py.File(path, "r+")
    except OSError as error:
        raise DamagedMessage(str(error)) from None
    with file:
        for dataset in file["history"].values():
            if scale is not None:
                numbers = np.atleast_1d(dataset[()])
                _scale(numbers.reshape(-1), scale)
                dataset[...] = numbers.reshape(dataset.shape)


def _scale_binary(path: Path, scale: float | None) -> None:
    if not path.stat().st_size:
        raise DamagedMessage("it is empty")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        spans = list(_history_arrays(memory))
        if not spans:
            raise DamagedMessage("it has no history")
        if scale is not None:
            for dtype, span in spans:
                count = (span.stop - span.start) // dtype.itemsize
                _scale(np.frombuffer(memory, dtype, count, span.start), scale)  # kept, it would block closing `memory`


def _history_arrays(memory: mmap.mmap) -> Iterator[tuple[np.dtype[Any], slice]]:
    """Yield type and position of every array of numbers in the history."""
    for number, blob in fields(memory, slice(0, len(memory))):
        if number != _HISTORY:
            continue
        for field, span in fields(memory, blob):
            if field in (_DATA, _DOUBLE_DATA):
                dtype = np.dtype("<f4" if field == _DATA else "<f8")
                if (span.stop - span.start) % dtype.itemsize:
                    raise DamagedMessage(f"the numbers at byte {span.start} are cut")
                yield dtype, span
