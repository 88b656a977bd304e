"""Read the solver and the net that Caffe prints at the head of its log.

They may come from a fork with unknown fields, or be cut off: whatever cannot be read is omitted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from google.protobuf import text_format

from harness.caffe_files.lr_policy import LR_POLICIES, learning_rate
from harness.caffe_files.messages import MessageT, has_field, pb
from harness.caffe_files.net import NetFile, heads, keep_layers
from harness.caffe_files.old_layers import with_new_layers
from harness.caffe_files.solver import display_interval
from harness.schemas.layout import Head

_MOST_DROPPED = 100  # lines with an unknown value
_LAYER = re.compile(r"^layers? *\{", re.MULTILINE)
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param", "memory_data_param")


@dataclass(frozen=True)
class LogHeader:
    """Properties of a run from the head of its log, or from the user; None if not known.

    Attributes:
        display: iterations between two displays; 0 if the solver displays nothing.
        average_loss: number of iterations over which the displayed loss is averaged (SmoothedLoss).
        policy: lr_policy.
        rate: the solver's learning rate as a function of the iteration.
        heads: losses of the train net; empty if the net is not known, or not to its end.
        some_heads: its losses as far as the log shows them: glog cuts a net after 30,000 characters.
        loss_types: the layer types of its losses, by the names of their blobs.
        batch: records that one forward pass reads.
        classes: number of classes of every head for which the net does not give one, from the user.
        images: number of records of the training data, from the user.
    """

    display: int | None = None
    average_loss: int | None = None
    iter_size: int | None = None
    max_iter: int | None = None
    policy: str | None = None
    rate: Callable[[int], float] | None = None
    heads: tuple[Head, ...] = ()
    some_heads: tuple[Head, ...] = ()
    loss_types: Mapping[str, str] = field(default_factory=dict)
    batch: int | None = None
    classes: int | None = None
    images: int | None = None


def read_header(
    solver_text: str | None,
    net_text: str | None,
    solver: pb.SolverParameter | None = None,
    net: pb.NetParameter | None = None,
) -> LogHeader:
    """Read the solver and the net in a log; `solver` and `net` are used if the log does not hold them."""
    in_log, printed_net = printed_solver(solver_text), _tolerant(net_text, pb.NetParameter)
    solver = solver if in_log is None else in_log
    net = net if printed_net is None else printed_net
    header = LogHeader() if solver is None else _of_solver(solver)
    if net is not None:
        return _with_net(header, net)
    begun = _tolerant(_whole_layers(net_text or ""), pb.NetParameter)
    return header if begun is None else replace(_with_net(header, begun), heads=())


def printed_solver(text: str | None) -> pb.SolverParameter | None:
    """Parse the solver that a log prints; None if there is none, or it cannot be parsed."""
    return _tolerant(text, pb.SolverParameter)


def _tolerant(text: str | None, kind: type[MessageT]) -> MessageT | None:
    """Parse a message, ignoring unknown fields and values; None if the text cannot be parsed."""
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


def _whole_layers(text: str) -> str:
    """Return the text of a net that is cut off without its last layer, which is not complete."""
    begins = [match.start() for match in _LAYER.finditer(text)]
    return text[: begins[-1]] if len(begins) > 1 else ""


def _of_solver(solver: pb.SolverParameter) -> LogHeader:
    return LogHeader(
        display=display_interval(solver),
        average_loss=max(solver.average_loss, 1),
        iter_size=max(solver.iter_size, 1),
        max_iter=solver.max_iter or None,
        policy=solver.lr_policy or None,
        rate=_rate_of(solver),
    )


def _with_net(header: LogHeader, param: pb.NetParameter) -> LogHeader:
    net = NetFile("the log", keep_layers(with_new_layers(param), pb.NetState(phase=pb.TRAIN)))
    found = heads(net)
    sizes = [getattr(layer, f).batch_size for layer in net.layers for f in _SOURCES if has_field(layer, f)]
    return replace(
        header,
        heads=found,
        some_heads=found,
        loss_types={top: layer.type for layer in net.layers for top in layer.top if "Loss" in layer.type},
        batch=next((int(size) for size in sizes if size), None),
    )


def _rate_of(solver: pb.SolverParameter) -> Callable[[int], float] | None:
    """Return the rate as a function of the iteration of a run that began at 0; None if its fields give none."""
    policy = solver.lr_policy
    if (
        policy not in LR_POLICIES
        or (policy in ("step", "sigmoid") and solver.stepsize <= 0)
        or (policy == "poly" and solver.max_iter <= 0)
    ):
        return None
    reached: list[int] = []
    for value in solver.stepvalue:
        # Caffe advances at most one step per iteration (SGDSolver::GetLearningRate)
        reached.append(max(value, reached[-1] + 1) if reached else value)

    def rate(iteration: int) -> float:
        step = iteration // solver.stepsize if policy == "step" else sum(r <= iteration for r in reached)
        return learning_rate(solver, iteration, step)

    return rate
