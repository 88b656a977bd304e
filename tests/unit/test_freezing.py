"""Frozen layers: those that share a param go together, and no rate above 0 is left in them."""

from __future__ import annotations

from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.capsules.shrinking.freezing import frozen_net, frozen_numbers, learning_groups
from harness.schemas.layout import Param

NET = text_format.Parse(
    """
    layer { name: "data" type: "Data" }
    layer { name: "a" type: "InnerProduct" param { name: "w" } param { name: "b" lr_mult: 2 } }
    layer { name: "still" type: "InnerProduct" param { lr_mult: 0 } param { lr_mult: 0 } }
    layer { name: "c" type: "InnerProduct" param { name: "v" } }
    layer { name: "d" type: "InnerProduct" param { name: "w" } param { name: "v" } }
    layer { name: "c" type: "InnerProduct" }
    layer { name: "norm" type: "BatchNorm" }
    """,
    pb.NetParameter(),
)
BLOBS = {"a": 2, "still": 2, "c": 1, "d": 2, "c#2": 2, "norm": 3}


def test_layers_that_share_a_param_are_in_one_group() -> None:
    assert learning_groups(NET, BLOBS) == (frozenset("acd"), frozenset({"c#2"}))


def test_all_rates_of_a_frozen_layer_are_0() -> None:
    net = frozen_net(NET, {"a", "c", "d", "c#2"}, BLOBS)
    assert learning_groups(net, BLOBS) == ()
    assert [len(layer.param) for layer in net.layer] == [0, 2, 2, 1, 2, 2, 0]
    assert net.layer[1].param[0].name == "w"
    assert NET.layer[1].param[1].lr_mult == 2  # a copy was changed


def test_the_history_of_frozen_layers() -> None:
    params = [
        Param(layer, index, (1,), 1, 1) for layer, index in (("a", 0), ("a", 1), ("c", 0), ("c#2", 0), ("c#2", 1))
    ]
    assert frozen_numbers(params, {"a", "c#2"}) == [0, 1, 3, 4]
