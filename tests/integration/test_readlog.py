"""The verdicts of readlog.py on logs of real Caffe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.caffe_log.reader import read_log
from tests.helpers.commands import caffe_train, train
from tests.helpers.lmdbs import CLASSES
from tests.helpers.made_up_logs import as_json, examined
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def trained(home: Path, data: Path, spoil: Callable[[str], str] = str, **fields: object) -> Path:
    """The log of a `caffe train` of the small net."""
    home.mkdir()
    (home / "net.prototxt").write_text(spoil(small_net(data)))
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", snapshot=0, **fields))
    (home / "train.log").write_text(caffe_train(home / "solver.prototxt"))
    return home / "train.log"


def test_a_run_that_learns_is_healthy(tmp_path: Path, digit_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = trained(tmp_path / "run", digit_data, max_iter=400)
    found = as_json(log, capsys=capsys)
    assert (found["verdict"], found["jump_iteration"], found["onset"], found["suggested_watch"]) == (
        "healthy", None, None, None,
    )  # fmt: skip
    assert [(h["name"], h["classes"], h["classes_from"], h["state"]) for h in found["heads"]] == [
        ("loss1/loss1", CLASSES, "net", "learning"),
        ("loss3/loss3", CLASSES, "net", "learning"),
    ]
    assert found["schedule"]["agrees_with_solver"] is True
    assert any(s.startswith("Test output loss3/top-1: ") for s in found["findings"])


def test_a_run_to_nan_has_the_verdict_nan(tmp_path: Path, digit_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = trained(tmp_path / "run", digit_data, base_lr=0.05, max_iter=120, lr_policy='"fixed"', display=3)
    found = as_json(log, capsys=capsys)
    run = read_log(io.BytesIO(log.read_bytes()), "log").runs[-1]
    first = run.loss.iterations[np.flatnonzero(~np.isfinite(run.loss.values))[0]]
    assert found["verdict"] == "nan"
    assert found["jump_iteration"] <= first
    assert found["onset"]["low"] <= first
    assert found["loss"]["end"] is None
    assert {h["state"] for h in found["heads"]} == {"nan"}
    assert any(f"not finite from the display of iteration {first}" in s for s in found["findings"])


def test_a_run_that_never_learns_is_uniform(
    tmp_path: Path, digit_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = trained(tmp_path / "run", digit_data, base_lr=0, max_iter=1100, test_interval=500)
    found = as_json(log, capsys=capsys)
    assert (found["verdict"], found["jump_iteration"]) == ("uniform-softmax", None)
    assert "never learned" in " ".join(found["findings"])


def test_a_saturated_run_is_recognized(tmp_path: Path, digit_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = trained(
        tmp_path / "run", digit_data, lambda net: net.replace("scale: 0.0078125", "scale: 1e6"), base_lr=0, max_iter=300
    )
    found = as_json(log, capsys=capsys)
    assert found["verdict"] == "saturated-softmax"
    assert {h["state"] for h in found["heads"]} == {"saturated"}
    assert any("loss3/loss3 is at" in s and "% of the images" in s for s in found["findings"])
    # without the header, by the losses alone: they are multiples of 87.3365 / 8
    bare = "\n".join(line for line in log.read_text().splitlines() if re.search(r"\] Iteration|Train net output", line))
    assert examined(bare).verdict == "saturated-softmax"


def test_the_log_of_the_harness_gives_the_findings_of_that_of_caffe_train(
    tmp_path: Path, digit_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = trained(tmp_path / "run", digit_data, max_iter=150)
    train(log.with_name("solver.prototxt"), tmp_path / "ours")
    native, ours = (as_json(path, capsys=capsys)["runs"][0] for path in (log, tmp_path / "ours"))
    # where it was written, when, and what else was printed
    apart = {"log", "lines", "started", "last", "last_good_snapshot"}
    assert {k: v for k, v in native.items() if k not in apart} == {k: v for k, v in ours.items() if k not in apart}
