"""The settings in which two runs differ."""

from __future__ import annotations

from google.protobuf import text_format

from harness.caffe_files.field_values import flatten
from harness.caffe_files.messages import pb
from harness.diagnosis.settings import Setting, differing_settings


def solver_fields(text: str) -> dict[str, str]:
    return flatten(text_format.Parse(text, pb.SolverParameter()))


def net_fields(text: str) -> dict[str, str]:
    return flatten(text_format.Parse(text, pb.NetParameter()))


def test_settings_are_named_by_layer_and_field() -> None:
    net = 'name: "n"\nlayer {\n  name: "ip/1"\n  param {\n    lr_mult: 1.0\n  }\n  param {\n    lr_mult: 2.0\n  }\n}\n'
    first, second = (
        "base_lr: 0.1\nstepvalue: 5\nstepvalue: 9\n",
        "base_lr: 0.1\nstepvalue: 5\nstepvalue: 7\nmomentum: 0.9\n",
    )
    one = {"solver": solver_fields(first), "net": net_fields(net), "started": 1, "caffe": {"key": "x"}}
    two = {
        "solver": solver_fields(second),
        "net": net_fields(net.replace("2.0", "4.0")),
        "started": 2,
        "caffe": {"key": "x"},
        "machine": "m",
    }
    assert differing_settings(one, two) == (
        Setting("solver.stepvalue #2", "9", "7"),
        Setting("net.ip/1.param #2.lr_mult", "2.0", "4.0"),
        Setting("solver.momentum", None, "0.9"),
        Setting("machine", None, "m"),
    )
    assert differing_settings(one, one) == ()
