"""Check the learning rates of a run: Caffe trains with any rate, also with 0, infinity and NaN, and says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from harness.caffe_files.lr_policy import OddRates, learning_rate, next_step, odd_rates
from harness.caffe_files.messages import has_field, pb
from harness.errors import BadInput

# The fields that a policy uses besides base_lr (SGDSolver::GetLearningRate, sgd_solver.cpp).
_FIELDS = {
    "fixed": (), "step": ("gamma", "stepsize"), "exp": ("gamma",), "inv": ("gamma", "power"),
    "multistep": ("gamma",), "poly": ("power", "max_iter"), "sigmoid": ("gamma", "stepsize"),
}  # fmt: skip


def check_rates(solver: pb.SolverParameter, path: Path, first: int, until: int, step: int) -> Iterator[str]:
    """Check the rates of the iterations from `first` to `until` (exclusive), and yield warnings.

    Args:
        path: of the solver, for messages.
        step: Caffe's current_step before iteration `first`.

    Raises:
        BadInput: base_lr is not given, or the rate is not finite from the first iteration on.
    """
    if not solver.HasField("base_lr"):
        raise BadInput("not given: the learning rate is 0 at every iteration", file=path, field="base_lr",
                       remedy="Give a learning rate; 0 if no weight is to change")  # fmt: skip
    for odd in odd_rates(solver, first, until, step):
        if odd.first == first and not math.isfinite(odd.rate):
            raise BadInput(
                f"the learning rate of iteration {first} is {odd.rate:g} ({_fields(solver)}): "
                "every weight becomes NaN or infinite at once",
                file=path, field="lr_policy", value=solver.lr_policy, remedy="Correct these fields",
            )  # fmt: skip
        yield f"warning: {path}: the learning rate is {odd.rate:g} {_when(odd, first, until)} ({_fields(solver)}): " + (
            "no weight changes there. Correct these fields, unless you want this"
            if odd.rate == 0
            else "every weight becomes NaN or infinite. Correct these fields, or end the run before (--until)"
        )
    rate = learning_rate(solver, first, next_step(solver, first, step))
    if rate < 0:
        yield f"warning: {path}: the learning rate of iteration {first} is {rate:g}: a negative one raises the loss"


def _when(odd: OddRates, first: int, until: int) -> str:
    if (odd.first, odd.stop) == (first, until):
        return f"at every iteration from {first} to {until - 1}"
    if odd.stop - odd.first == 1:
        return f"at iteration {odd.first}"
    return f"from iteration {odd.first} to {odd.stop - 1}" + (", the last one" if odd.stop == until else "")


def _fields(solver: pb.SolverParameter) -> str:
    """Write the fields that the rate depends on, with their values."""
    said = [f"lr_policy {solver.lr_policy}", f"base_lr {solver.base_lr:g}"]
    for name in _FIELDS[solver.lr_policy]:
        given = has_field(solver, name)
        said.append(f"{name} {getattr(solver, name):g}" if given else f"{name} not given, which means 0")
    return ", ".join(said)
