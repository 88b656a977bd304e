"""The history of a solver: what it remembers of earlier gradients and updates, which pycaffe does not show.

Caffe's own SGDSolver::history() gives it; all types of solvers inherit that (sgd_solvers.hpp). libcaffe exports the
method, since it instantiates the class explicitly (sgd_solver.cpp).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from harness.caffe_files.caffemodel import HISTORIES
from harness.errors import BadInput
from harness.worker.native_memory import WORD, NativeBlob, Unreadable, Vector, call_method, held_object, read
from harness.worker.pycaffe import Solver

_HISTORY = "_ZN5caffe9SGDSolverIfE7historyEv"  # SGDSolver<float>::history()


def history_blobs(solver: Solver, kind: str, shapes: Sequence[tuple[int, ...]]) -> list[NativeBlob]:
    """Return the blobs of the history of `solver`, of the type `kind`, whose learnable params have `shapes`.

    There is one for each param, in the solver's order; for AdaDelta and Adam, all of a second slot follow
    (AdamPreSolve, adam_solver.cpp). Their memory stays where it is.

    Raises:
        BadInput: this build of Caffe keeps no such history where it is expected.
    """
    try:
        blobs = _blobs(solver, kind)
        if [blob.shape for blob in blobs] != [*shapes] * HISTORIES[kind]:
            raise Unreadable("its blobs have other shapes than the params")
    except Unreadable as reason:
        raise BadInput(
            f"the history of the {kind} solver cannot be read in this build of Caffe ({reason})",
            field="--capture",
            value="history",
            remedy="Leave history out; snapshots hold it",
        ) from None
    return blobs


def _blobs(solver: Solver, kind: str) -> list[NativeBlob]:
    name = f"{kind}Solver"
    address = held_object(solver, f"_ZTVN5caffe{len(name)}{name}IfEE")
    vector = Vector.from_buffer_copy(read(call_method(_HISTORY, address), ctypes.sizeof(Vector)))
    return [NativeBlob.at(pointer) for pointer in vector.pointers(step=2 * WORD)]  # shared_ptr: pointer and counts
