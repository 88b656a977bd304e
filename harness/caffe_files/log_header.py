"""What the prototxt that Caffe prints into its log says of a run.

It may come from a fork whose fields are not known here, or be cut: what cannot be read is then simply not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import message, text_format

from harness.caffe_files.lr_policy import LR_POLICIES, learning_rate
from harness.caffe_files.messages import has_field, pb
from harness.caffe_files.net import NetFile, heads, keep_layers
from harness.schemas.layout import Head

_MOST_DROPPED = 100  # lines with a value that is not known here
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param", "memory_data_param")


@dataclass(frozen=True)
class Header:
    """None: the log does not say. `rate` gives the learning rate at an iteration, `batch` is that of a forward pass."""

    display: int | None = None
    average_loss: int | None = None
    iter_size: int | None = None
    max_iter: int | None = None
    policy: str | None = None
    rate: Callable[[int], float] | None = None
    heads: tuple[Head, ...] = ()
    batch: int | None = None


def read_header(solver_text: str | None, net_text: str | None, solver: Any = None, net: Any = None) -> Header:
    """Read the solver and the net in a log; `solver` and `net` (messages) stand in where the log does not hold them."""
    printed_solver, printed_net = _tolerant(solver_text, pb.SolverParameter), _tolerant(net_text, pb.NetParameter)
    solver = solver if printed_solver is None else printed_solver
    return Header(**_of_solver(solver), **_of_net(net if printed_net is None else printed_net))


def _tolerant(text: str | None, kind: type[message.Message]) -> Any:
    """The message, without fields and values that are not known here; None where the text cannot be read."""
    lines = (text or "").splitlines()
    if not any(line.strip() for line in lines):
        return None
    for _ in range(_MOST_DROPPED):
        try:
            return text_format.Parse("\n".join(lines), kind(), allow_unknown_field=True)
        except text_format.ParseError as error:
            line = error.GetLine()
            if line is None or not re.search(r"[Ee]num", str(error)) or not 0 < line <= len(lines):
                return None
            lines[line - 1] = ""
        except (UnicodeError, RecursionError):
            return None
    return None


def _of_solver(solver: Any) -> dict[str, Any]:
    if solver is None:
        return {}
    return {
        "display": solver.display,
        "average_loss": max(solver.average_loss, 1),
        "iter_size": max(solver.iter_size, 1),
        "max_iter": solver.max_iter or None,
        "policy": solver.lr_policy or None,
        "rate": _rate_of(solver),
    }


def _of_net(param: Any) -> dict[str, Any]:
    if param is None:
        return {}
    net = NetFile("the log", keep_layers(param, pb.NetState(phase=pb.TRAIN)))
    sizes = [getattr(layer, f).batch_size for layer in net.layers for f in _SOURCES if has_field(layer, f)]
    batch = next((int(size) for size in sizes if size), None)
    return {"heads": heads(net), "batch": batch}


def _rate_of(solver: Any) -> Callable[[int], float] | None:
    """The policy's rate at an iteration of a run that began at 0; None where its fields make none."""
    policy = solver.lr_policy
    if (
        policy not in LR_POLICIES
        or (policy in ("step", "sigmoid") and solver.stepsize <= 0)
        or (policy == "poly" and solver.max_iter <= 0)
    ):
        return None
    reached: list[int] = []
    for value in solver.stepvalue:
        # Caffe goes up one step an iteration at the most (SGDSolver::GetLearningRate)
        reached.append(max(value, reached[-1] + 1) if reached else value)

    def rate(iteration: int) -> float:
        step = iteration // solver.stepsize if policy == "step" else sum(r <= iteration for r in reached)
        return learning_rate(solver, iteration, step)

    return rate
