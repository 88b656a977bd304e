"""The solver and the train net of an arm: those of the run, with the fields changed that the arm names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from glob import escape

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.schemas.arm import AnyChange, LayerField, SolverField

# Fields whose change would not do what it says: an arm continues with the random numbers, and with the history, of the
# run, on its device.
_FIXED = ("random_seed", "type", "solver_type", "solver_mode", "device_id")


def edited(
    solver: pb.SolverParameter, net: pb.NetParameter, changes: Sequence[AnyChange], fed: Iterable[int]
) -> tuple[pb.SolverParameter, pb.NetParameter]:
    """Copy solver and train net, with the fields that `changes` name changed.

    Args:
        fed: the layers of `net` whose batches come from a store.

    Raises:
        BadInput: no such field, not a value of it, or one that cannot be changed in an arm.
    """
    for change in changes:
        if isinstance(change, SolverField) and change.field in _FIXED:
            raise BadInput(
                "cannot be changed in an arm",
                field=change.field,
                value=change.value,
                remedy="Restart the run with it instead: restart.py RUN --set …",
            )
    settings = [f"{change.field}={change.value}" for change in changes if isinstance(change, SolverField)]
    assignments = [
        f"{escape(change.layer)}:{change.field}={change.value}" for change in changes if isinstance(change, LayerField)
    ]
    new_solver, _ = set_fields(solver, settings)
    (new_net,), _ = set_layer_fields([net], assignments)
    for index in fed:
        if new_net.layer[index] != net.layer[index]:
            raise BadInput(
                "the batches of a data layer are fixed in an arm",
                field="layer",
                value=net.layer[index].name,
                remedy="Restart the run with another data layer instead: restart.py RUN --set-layer …",
            )
    return new_solver, new_net
