"""A lower learning rate, together with the history that it would have left."""

from __future__ import annotations

from harness.caffe_files.messages import pb
from harness.caffe_files.solver import solver_type
from harness.schemas.arm import AnyChange, HistoryScaled, RateScaled


def holds_rate(solver: pb.SolverParameter) -> bool:
    """Check whether the history is a sum of rate × gradient (sgd_solver.cpp, nesterov_solver.cpp), not of gradients."""
    return solver_type(solver) in ("SGD", "Nesterov")


def slower(solver: pb.SolverParameter, factor: float, first: int) -> tuple[AnyChange, ...]:
    """Return the changes that multiply the learning rate from iteration `first` on, at which the arm starts."""
    scaled = RateScaled(factor, first)
    return (scaled, HistoryScaled(factor)) if holds_rate(solver) else (scaled,)
