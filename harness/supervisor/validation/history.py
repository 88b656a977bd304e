"""Check that a solver can use the history that is kept; Caffe only counts its blobs (BVLC/caffe#5581)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.solver import solver_type
from harness.errors import BadInput
from harness.supervisor.resume import Start
from harness.supervisor.training_spec import TrainingSpec


def check_history(spec: TrainingSpec, start: Start) -> Iterator[str]:
    """Check that this type of solver can use the history of `start`, and yield a warning if another one made it.

    Raises:
        BadInput: it means something else to this type.
    """
    then, now = _solver_type_of(start), spec.solver_type
    source = start.state.path if start.state is not None else start.window
    if source is None or then is None or then == now or start.scale == 0:
        return
    if {then, now} != {"SGD", "Nesterov"}:  # these two keep the same momentum
        raise BadInput(
            f"{source} holds the history of a solver of type {then}, which means something else to {now}",
            file=spec.path,
            field="type",
            value=now,
            remedy=f"Set `type` to {then}, or reset the history: restart.py … --history reset",
        )
    yield (
        f"warning: {spec.path}: the solver's type is {now}, and {source} is of a {then} solver: its "
        f"momentum is kept, but training goes on by another rule. Set `type` to {then}, unless you want this"
    )


def _solver_type_of(start: Start) -> str | None:
    """Return the type of the solver that made the history of `start`; None if there is none, or it is not known."""
    if start.setup is not None:
        return solver_type(parse_text(start.setup.solver, pb.SolverParameter, Path("run.json")))
    return start.native_start.solver_type if start.native_start else None
