"""The factor by which the history of a solver is scaled when the learning rate changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.caffe_files.messages import pb
from harness.caffe_files.solverstate import copy_solverstate, history_scale
from harness.errors import BadInput


def test_a_missing_solverstate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.solverstate: cannot read the solverstate \(No such file"):
        copy_solverstate(tmp_path / "gone.solverstate", tmp_path / "m", tmp_path / "new.solverstate", None)
    assert not list(tmp_path.iterdir())


def _solver(**fields: Any) -> pb.SolverParameter:
    values: dict[str, Any] = {"base_lr": 0.01, "lr_policy": "fixed", "max_iter": 100}
    return pb.SolverParameter(**values | fields)


def test_the_factor_of_the_history() -> None:
    old, new = _solver(), _solver(base_lr=0.0025)
    for kind in ("SGD", "Nesterov", "Adam", "AdaGrad", "RMSProp", "AdaDelta"):
        assert history_scale(kind, "keep", old, new, 20, 0) is None
        assert history_scale(kind, "reset", old, new, 20, 0) == 0
    for kind in ("SGD", "Nesterov"):
        assert history_scale(kind, "rescale", old, new, 20, 0) == pytest.approx(0.25, rel=1e-7)
        assert history_scale(kind, "rescale", old, old, 20, 0) is None
    halved = _solver(lr_policy="multistep", gamma=0.5, stepvalue=[10, 20])
    assert history_scale("SGD", "rescale", old, halved, 9, 0) is None
    assert history_scale("SGD", "rescale", old, halved, 20, 1) == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["Adam", "AdaGrad", "RMSProp", "AdaDelta"])
def test_a_history_without_a_rate_cannot_be_rescaled(kind: str) -> None:
    expected = f"--history rescale: the history of {kind} does not contain .*keep or --history reset"
    with pytest.raises(BadInput, match=expected):
        history_scale(kind, "rescale", _solver(), _solver(base_lr=1), 20, 0)


@pytest.mark.parametrize(
    ("old", "new"), [(0.0, 0.01), (1e-38, 1e10)], ids=["the old rate is zero", "beyond what a float holds"]
)
def test_rates_without_a_ratio_are_refused(old: float, new: float) -> None:
    with pytest.raises(BadInput, match="gives no ratio"):
        history_scale("SGD", "rescale", _solver(base_lr=old), _solver(base_lr=new), 20, 0)


def test_a_rate_that_is_nan_is_refused() -> None:
    beyond = _solver(lr_policy="poly", power=0.5, max_iter=10)
    with pytest.raises(BadInput, match="gives no ratio"):
        history_scale("SGD", "rescale", beyond, _solver(), 20, 0)


def test_an_unknown_history_mode_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--history rescal: no such choice. Did you mean rescale"):
        history_scale("SGD", "rescal", _solver(), _solver(), 20, 0)
