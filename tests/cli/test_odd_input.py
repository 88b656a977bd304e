"""Input that Caffe accepts silently, or at which it dies in the middle of a training, is reported before it starts.

What cannot train is refused; what may be meant is a warning, and trains as `caffe train` does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.bad_input import Case
from tests.helpers.commands import caffe_train

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture
def case(small: Path, digit_data: Path, capfd: pytest.CaptureFixture[str]) -> Case:
    return Case(small, digit_data, capfd)


# -- learning rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"lr_policy": '"exp"'},
            "is 0 from iteration 1 to 59, the last one (lr_policy exp, base_lr 0.01, gamma not",
        ),
        ({"lr_policy": '"step"', "stepsize": 20}, "is 0 from iteration 20 to 59"),
        ({"lr_policy": '"multistep"', "stepvalue": [5, 9]}, "is 0 from iteration 5 to 59"),
        ({"lr_policy": '"multistep"', "stepvalue": 59}, "is 0 at iteration 59"),
        ({"lr_policy": '"sigmoid"', "gamma": 9, "stepsize": 40}, "is 0 from iteration 0 to 30 "),
        ({"lr_policy": '"exp"', "gamma": 1e9}, "is inf from iteration 5 to 59"),
        ({"lr_policy": '"fixed"', "base_lr": 0}, "is 0 at every iteration from 0 to 59"),
        ({"lr_policy": '"fixed"', "base_lr": -0.01}, "of iteration 0 is -0.01"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_rate_that_is_0_or_infinite_is_a_warning(case: Case, fields: dict[str, object], said: str) -> None:
    case.solver_fields(**{"power": None} | fields)
    warning = case.warnings()
    assert said in warning
    assert warning.count("warning: ") == 1
    assert str(case.solver) in warning


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_lr": None}, ("base_lr", "not given")),
        ({"base_lr": "nan"}, ("lr_policy = poly", "iteration 0 is nan")),
        ({"base_lr": "inf", "lr_policy": '"exp"', "gamma": 0.9, "power": None}, ("iteration 0 is inf", "gamma 0.9")),
        ({"power": "nan", "lr_policy": '"inv"', "gamma": "inf"}, ("iteration 0 is nan", "gamma inf, power nan")),
    ],
)
def test_a_rate_that_is_never_finite_is_refused(case: Case, fields: dict[str, object], said: tuple[str, ...]) -> None:
    case.solver_fields(**fields)
    case.refused(str(case.solver), *said)


@pytest.mark.parametrize("policy", ["step", "multistep", "inv", "poly", "sigmoid", "exp", "fixed"])
def test_usual_rates_raise_no_warning(case: Case, policy: str) -> None:
    case.solver_fields(lr_policy=f'"{policy}"', gamma=0.9, power=0.75, stepsize=20, stepvalue=[20, 40])
    assert not case.warnings()


# -- history ----------------------------------------------------------------------------------------------------------


def test_momentum_of_a_nesterov_solver_under_sgd_is_a_warning(case: Case) -> None:
    case.solver_fields(type='"Nesterov"', snapshot=0, max_iter=8, test_iter=None, test_interval=None)
    (case.home / "caffe.log").write_text(caffe_train(case.solver))
    own = case.home / "native_iter_8.solverstate"
    case.works("--until", 4)
    ours = case.out / "snapshots/native_iter_4.solverstate"
    for state in (own, ours):
        case.solver_fields(type='"Nesterov"', max_iter=12)
        said = case.resumed(state)
        assert "warning: " not in said
        case.solver_fields(max_iter=12)
        said = case.resumed(state)
        assert f"warning: {case.solver}: the solver's type is SGD, and {state} is of a Nesterov solver" in said
        case.solver_fields(max_iter=12, type='"AdaGrad"', momentum=0)  # has as many history blobs
        case.refused(
            "type = AdaGrad", "history of a solver of type Nesterov", arguments=("--resume", state), out=case.out
        )
