"""Find the iterations at which a training can be restarted out of the windows of its run."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def window_starts(arrays: Mapping[int, Collection[str]], kind: str, needs_state: bool = False) -> set[int]:
    """Return the iterations whose weights and history are in windows.

    Args:
        arrays: what windows hold of each of their iterations (`Recording.window_arrays`).
        kind: the type of the solver. SGD subtracts its history unchanged (ComputeUpdateValue, sgd_solver.cpp), so what
            it begins an iteration with is the update of the one before.
        needs_state: the state that layers keep outside their params must be there as well.
    """
    return {
        t
        for t, held in arrays.items()
        if "weight" in held
        and ("history" in held or (kind == "SGD" and "update" in arrays.get(t - 1, ())))
        and ("state" in held or not needs_state)
    }
