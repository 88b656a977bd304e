"""Layers that are frozen on purpose raise no alarm: from the start, or in a restart whose baseline is from before."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from tests.helpers.commands import restart, train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    home = tmp_path_factory.mktemp("frozen")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"test_iter": None, "test_interval": None, "snapshot": 30, "display": 5}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    train(home / "solver.prototxt", home / "run")
    return home / "run"


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ("conv*:lr_mult=0", {"conv1/3x3/0", "conv1/3x3/1", "conv2/a/0", "conv2/a/1"}),
        ("frozen:propagate_down=false", {"conv1/3x3/0", "conv1/3x3/1"}),
        ("loss1/loss1:loss_weight=0", {"loss1/classifier/0", "loss1/classifier/1"}),
    ],
)
def test_a_restart_that_freezes_layers(learned: Path, tmp_path: Path, change: str, still: set[str]) -> None:
    restart(learned, "--from", 30, "--set-layer", change, "--set", "max_iter=120", "--out", tmp_path / "child")
    with Recording(tmp_path / "child") as recording:
        gradients = recording.stat("gradient_l2")
        assert {label for label in gradients.labels if not gradients[label].any()} == still | {"frozen/0", "frozen/1"}
        for alarms in (recording.alarms, diagnose(recording).alarms):
            assert {alarm.rule for alarm in alarms} <= {"loss_spike"}  # of small batches
