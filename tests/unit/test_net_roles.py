"""Roles in a net: labels, layers that no gradient reaches, blobs before which nothing learns."""

from __future__ import annotations

import pytest

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net_roles import accuracies, net_roles
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import names_of
from harness.schemas.layout import Activation, Layout, NetRoles, Output, Param
from tests.helpers.paths import ROOT
from tests.unit.test_live_rules import HEADS, healthy

DATA = 'layer { name: "data" type: "Data" top: "data" top: "label" }'
CONV1 = 'layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 2 } %s }'
RELU1 = 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }'
IP = 'layer { name: "ip" type: "InnerProduct" bottom: "conv1" top: "ip" inner_product_param { num_output: 2 } %s }'
AUX = 'layer { name: "aux" type: "InnerProduct" bottom: "conv1" top: "aux" inner_product_param { num_output: 2 } }'
AUX_LOSS = 'layer { name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss" %s }'
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }'
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"


def roles(*layers: str) -> NetRoles:
    return net_roles(parse_text("\n".join(layers).replace("%s", ""), pb.NetParameter, ROOT))


@pytest.mark.parametrize(
    ("layers", "idle", "fixed"),
    [
        ((DATA, CONV1, RELU1, IP, LOSS), set(), {"data", "label"}),
        ((DATA, CONV1 % FROZEN, RELU1, IP, LOSS), set(), {"data", "label", "conv1"}),
        ((DATA, CONV1 % "param { lr_mult: 0 }", RELU1, IP, LOSS), set(), {"data", "label"}),  # the bias learns
        ((DATA, CONV1, RELU1, IP % "propagate_down: false", LOSS), {"conv1", "relu1"}, {"data", "label", "conv1"}),
        ((DATA, CONV1, RELU1, IP % "propagate_down: false", AUX, AUX_LOSS, LOSS), set(), {"data", "label"}),
        ((DATA, CONV1, RELU1, IP, AUX, AUX_LOSS % "loss_weight: 0", LOSS), {"aux", "aux_loss"},
         {"data", "label"}),
        ((DATA, CONV1, RELU1, IP, LOSS, AUX), {"aux"}, {"data", "label"}),  # leads to no loss
        ((DATA, CONV1, RELU1, IP, LOSS.replace('top: "loss"', "")), set(), {"data", "label"}),  # Caffe adds its top
    ],
    ids=["all learn", "frozen", "half frozen", "cut off", "reached on another way", "weight 0", "no loss", "automatic"],
)  # fmt: skip
def test_layers_and_blobs_that_are_not_to_change(layers: tuple[str, ...], idle: set[str], fixed: set[str]) -> None:
    found = roles(*layers)
    assert set(found.idle) - {"data"} == idle
    assert set(found.fixed) == fixed
    assert found.labels == ("label",)


def test_labels_are_those_of_classes() -> None:
    assert roles(DATA, CONV1, LOSS.replace("SoftmaxWithLoss", "EuclideanLoss")).labels == ()
    assert roles(DATA, CONV1, LOSS.replace("SoftmaxWithLoss", "SigmoidCrossEntropyLoss")).labels == ()
    assert roles(DATA, CONV1, LOSS.replace("SoftmaxWithLoss", "HingeLoss")).labels == ("label",)
    two = DATA.replace('top: "label"', 'top: "coarse" top: "fine"')
    losses = [
        LOSS.replace('"label"', f'"{name}"').replace('top: "loss"', f'top: "{name}_loss"')
        for name in ("fine", "coarse")
    ]
    assert roles(two, CONV1, IP, *losses).labels == ("fine", "coarse")
    assert roles('layer { name: "n" type: "Parameter" top: "label" }', CONV1, IP, LOSS).labels == ()


@pytest.mark.parametrize("why", ["nothing", "lr_mult", "idle"])
def test_a_gradient_of_zero_is_an_alarm_only_where_a_blob_is_to_learn(why: str) -> None:
    params = tuple(
        Param(layer, index, (4, 4) if index == 0 else (4,), float(why != "lr_mult" or layer == "fc"), 1.0)
        for layer, index in (("conv1", 0), ("conv1", 1), ("fc", 0))
    )
    outputs = tuple(Output(head.name, 1) for head in HEADS)
    idle = NetRoles(idle=("conv1",) if why == "idle" else ())
    layout = Layout(params, outputs, (), HEADS, (Activation("conv1", (4,)),), (), (), (), (), idle)
    names = names_of(layout)
    rows = healthy()
    rows.gradient_l2[500:, :2] = 0  # a restart freezes the layer
    found = {alarm.subject for alarm in Monitor(names, read_limits()).take(rows)}
    assert found == ({"conv1/0", "conv1/1"} if why == "nothing" else set())


def test_accuracies_are_known_by_the_type_of_their_layer() -> None:
    top1 = 'layer { name: "a" type: "Accuracy" bottom: "ip" bottom: "label" top: "right" }'
    top5 = 'layer { name: "b" type: "Accuracy" bottom: "ip" bottom: "label" top: "near" accuracy_param { top_k: 5 } }'
    named = 'layer { name: "c" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "accuracy" }'
    assert accuracies(["\n".join((named, top1, top5)), top1]) == ("near", "right")
    assert accuracies([]) == ()
