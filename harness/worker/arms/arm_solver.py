"""Build the solver of an arm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import caffe

from harness.caffe_files.messages import pb
from harness.schemas.feed import StoredLayer
from harness.worker.fast_forward import without_files, write_solver
from harness.worker.pycaffe import Solver
from harness.worker.seekable_nets import replace_data_layers


def write_arm_solver(
    directory: Path, solver: pb.SolverParameter, net: pb.NetParameter, fed: Iterable[int], prefix: Path
) -> Path:
    """Write the files from which Caffe builds the solver of an arm, into `directory`.

    It has no test nets, prints and writes nothing by itself, and takes its rate from `base_lr` (rates.py).
    """
    copy = pb.SolverParameter()
    copy.CopyFrom(solver)
    copy.lr_policy = "fixed"
    copy.ClearField("stepvalue")
    copy.display = copy.snapshot = copy.test_interval = 0
    copy.ClearField("test_iter")
    copy.ClearField("test_state")
    copy.snapshot_format = pb.SolverParameter.BINARYPROTO
    copy.snapshot_prefix = str(prefix)
    copy.debug_info = False
    inside = replace_data_layers(net, {index: StoredLayer(index) for index in fed})
    return write_solver(directory, copy, [without_files(inside)])


class ArmFiles:
    """The files of `write_arm_solver` in the folder `directory`, which nobody else writes: anew only if they change.

    Formatting them takes a third of the time that an arm needs beside its iterations.
    """

    def __init__(self, directory: Path, fed: Iterable[int], prefix: Path) -> None:
        directory.mkdir()
        self._directory, self._fed, self._prefix = directory, tuple(fed), prefix
        self._last: tuple[bytes, bytes] | None = None
        self._file = directory

    def write(self, solver: pb.SolverParameter, net: pb.NetParameter) -> Path:
        """Return the file of a solver with the messages `solver` and `net`."""
        messages = (solver.SerializeToString(deterministic=True), net.SerializeToString(deterministic=True))
        if messages != self._last:
            self._last = None
            self._file = write_arm_solver(self._directory, solver, net, self._fed, self._prefix)
            self._last = messages
        return self._file


def build_solver(file: Path, kind: str) -> Solver:
    """Build the solver of `file`, of Caffe's type `kind`."""
    solver: Solver = getattr(caffe, f"{kind}Solver")(str(file))
    return solver
