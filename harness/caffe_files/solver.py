"""The solver message: its type in Caffe's registry, and the nets that it names."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from harness.caffe_files.net import NetFile

_OLD_TYPES = {0: "SGD", 1: "Nesterov", 2: "AdaGrad", 3: "RMSProp", 4: "AdaDelta", 5: "Adam"}


def solver_type(solver: Any) -> str:
    """The solver's type in Caffe's registry (UpgradeSolverType, upgrade_proto.cpp)."""
    return _OLD_TYPES[solver.solver_type] if solver.HasField("solver_type") else str(solver.type)


def with_net_files(solver: Any, train: str, tests: list[str]) -> Any:
    """The solver message with its nets in the files `train` and `tests` (Solver::InitTrainNet, InitTestNets)."""
    changed = type(solver)()
    changed.CopyFrom(solver)
    for field in ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param"):
        changed.ClearField(field)
    changed.train_net = train
    changed.test_net.extend(tests)
    return changed


def net_text(net: NetFile) -> str:
    """A net's layers, as a prototxt."""
    return str(text_format.MessageToString(net.param))
