"""The learning rate, compared with that of real Caffe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import pb, read_binary, read_text
from tests.helpers.commands import caffe_train
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

POLICIES: dict[str, dict[str, object]] = {
    "fixed": {},
    "step": {"gamma": 0.7, "stepsize": 4},
    "exp": {"gamma": 0.97},
    "inv": {"gamma": 0.013, "power": 0.75},
    "multistep": {"gamma": 0.3, "stepvalue": [0, 5, 6, 6, 17, 28]},
    "poly": {"power": 0.37},
    "sigmoid": {"gamma": 0.23, "stepsize": 13},
}
ITERATIONS = 34


def _solver(home: Path, policy: str, **more: object) -> Path:
    path = home / "solver.prototxt"
    fields = {"lr_policy": f'"{policy}"', "power": None, "max_iter": ITERATIONS, "snapshot": 0} | POLICIES[policy]
    fields |= {"test_iter": None, "test_interval": None, "base_lr": 0.0137} | more
    path.write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    return path


@pytest.mark.parametrize("policy", POLICIES)
def test_the_rate_is_that_of_caffe(policy: str, small: Path) -> None:
    path = _solver(small, policy, display=1)
    caffes = re.findall(r"Iteration (\d+), lr = (\S+)", caffe_train(path))
    solver = read_text(path, pb.SolverParameter, "solver")
    step, ours = 0, []
    for iteration in range(ITERATIONS):
        step = next_step(solver, iteration, step)
        ours.append((str(iteration), f"{learning_rate(solver, iteration, step):g}"))
    assert caffes == ours


@pytest.mark.parametrize("policy", ["step", "multistep", "inv"])
def test_current_step_is_that_of_caffes_solverstates(policy: str, small: Path) -> None:
    path = _solver(small, policy, snapshot=1, display=1)
    log = caffe_train(path)
    solver = read_text(path, pb.SolverParameter, "solver")
    step = 0
    for iteration in range(ITERATIONS):
        step = next_step(solver, iteration, step)
        state = read_binary(small / f"native_iter_{iteration + 1}.solverstate", pb.SolverState, "solverstate")
        assert step == state.current_step, iteration
        # Caffe prints six digits
        assert f"Iteration {iteration}, lr = {learning_rate(solver, iteration, step):.6g}\n" in log
