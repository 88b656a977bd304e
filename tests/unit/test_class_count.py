"""The number of classes of a loss, as far as the net says."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import NetFile, class_count, heads


@pytest.mark.parametrize(
    ("head", "loss", "classes"),
    [
        ("num_output: 7", "", 7),
        ("num_output: 7 axis: 2", "", None),  # axis 1 is one of the bottom's
        ("num_output: 7", "softmax_param { axis: 2 }", None),
        ("num_output: 7", "softmax_param { axis: 1 } loss_param { ignore_label: 255 }", 7),
        ("", "", None),
        ("num_output: 0", "", None),
    ],
)
def test_the_number_of_classes(head: str, loss: str, classes: int | None) -> None:
    text = f"""layer {{ name: "ip" type: "InnerProduct" top: "ip" inner_product_param {{ {head} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" {loss} }}"""
    net = NetFile("net", parse_text(text, pb.NetParameter, Path("net")))
    assert class_count(net, 1) == classes
    assert heads(net)[0].classes == classes
