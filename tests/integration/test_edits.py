"""Real Caffe accepts the edited nets and solvers."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.messages import pb
from tests.helpers.commands import caffe_train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def test_edits_of_every_layer_are_accepted_by_caffe(small: Path, digit_data: Path) -> None:
    assignments = ["*:lr_mult=0.5", "*:decay_mult=2", "*:dropout_ratio=0.1", "data:crop_size=8", "*:num_output=6"]
    [edited], changes = set_layer_fields([text_format.Parse(small_net(digit_data), pb.NetParameter())], assignments)
    assert len(changes) > 20
    (small / "net.prototxt").write_text(text_format.MessageToString(edited))
    text = solver_text(small / "net.prototxt", small / "native", max_iter=3, snapshot=0)
    solver_message, _ = set_fields(
        text_format.Parse(text, pb.SolverParameter()), ["type=Nesterov", "stepvalue=1,2", "gamma=0.1"]
    )
    (small / "solver.prototxt").write_text(text_format.MessageToString(solver_message))
    assert "Optimization Done" in caffe_train(small / "solver.prototxt")
