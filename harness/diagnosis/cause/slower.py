"""A lower learning rate or momentum, together with the history that it would have left."""

from __future__ import annotations

from harness.caffe_files.messages import pb
from harness.caffe_files.solver import solver_type
from harness.schemas.arm import AnyChange, HistoryScaled, RateScaled, SolverField


def holds_rate(solver: pb.SolverParameter) -> bool:
    """Check whether the history is a sum of rate × gradient (sgd_solver.cpp, nesterov_solver.cpp), not of gradients."""
    return solver_type(solver) in ("SGD", "Nesterov")


def slower(solver: pb.SolverParameter, factor: float, first: int) -> tuple[AnyChange, ...]:
    """Return the changes that multiply the learning rate from iteration `first` on, at which the arm starts."""
    scaled = RateScaled(factor, first)
    return (scaled, HistoryScaled(factor)) if holds_rate(solver) else (scaled,)


def with_momentum(solver: pb.SolverParameter, value: float) -> tuple[AnyChange, ...]:
    """Return the changes that make the momentum `value`."""
    field = SolverField("momentum", repr(value))
    return (field, HistoryScaled((1 - solver.momentum) / (1 - value))) if holds_rate(solver) else (field,)
