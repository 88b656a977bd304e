"""The solver message: its type in Caffe's registry, and the nets that it names."""

from __future__ import annotations

from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile

_TYPES_BY_NUMBER = {0: "SGD", 1: "Nesterov", 2: "AdaGrad", 3: "RMSProp", 4: "AdaDelta", 5: "Adam"}


def solver_type(solver: pb.SolverParameter) -> str:
    """Return the solver's type in Caffe's registry (UpgradeSolverType, upgrade_proto.cpp)."""
    return _TYPES_BY_NUMBER[solver.solver_type] if solver.HasField("solver_type") else solver.type


def display_interval(solver: pb.SolverParameter) -> int:
    """Return the number of iterations between two displays, 0 for none.

    Caffe displays where iter % display is 0 (Solver::Step, solver.cpp), so that the sign plays no part.
    """
    return abs(int(solver.display))


def with_net_files(solver: pb.SolverParameter, train: str, tests: list[str]) -> pb.SolverParameter:
    """Copy the solver with `train` and `tests` as its net files (Solver::InitTrainNet, InitTestNets)."""
    changed = pb.SolverParameter()
    changed.CopyFrom(solver)
    changed.ClearField("net")
    changed.ClearField("net_param")
    changed.ClearField("train_net")
    changed.ClearField("train_net_param")
    changed.ClearField("test_net")
    changed.ClearField("test_net_param")
    changed.train_net = train
    changed.test_net.extend(tests)
    return changed


def net_text(net: NetFile) -> str:
    """Format a net's layers as a prototxt."""
    return text_format.MessageToString(net.param)
