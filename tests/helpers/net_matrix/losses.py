"""Nets with each of the losses, and with losses in odd places."""

from __future__ import annotations

from tests.helpers.net_matrix.parts import (
    IMAGES,
    LABELS,
    VECTORS,
    MatrixNet,
    constant,
    dense,
    dummy,
    layer,
    softmax,
    sum_of_squares,
)

_CLASSIFIER = VECTORS + dense("data", "ip")
_REGRESSION = dummy("data", "4 6") + dummy("target", "4 2") + dense("data", "ip", 2)
_PYTHON = 'python_param { module: "matrix_layers" layer: "Times" param_str: "2" }'
_SCRIPTED = 'python_param {{ module: "matrix_layers" layer: "Scripted" param_str: "{}" }} loss_weight: 1'

NETS = {
    "softmax, of some labels": MatrixNet(
        _CLASSIFIER + softmax("ip", "loss_param { ignore_label: 2 normalization: BATCH_SIZE } loss_weight: 0.5")
    ),
    "losses without a top": MatrixNet(
        _CLASSIFIER
        + layer("SoftmaxWithLoss", "ip label", "", name="loss")
        + dense("data", "more", 1)
        + constant("zero", "4 1", 0)
        + layer("EuclideanLoss", "more zero", "", "loss_weight: 0.5", name="ip")
        + layer("EuclideanLoss", "more zero", "", "loss_weight: 0.5", name="")
    ),
    "Euclidean": MatrixNet(_REGRESSION + layer("EuclideanLoss", "ip target", "loss")),
    "hinge": MatrixNet(_CLASSIFIER + layer("HingeLoss", "ip label", "loss", "hinge_loss_param { norm: L2 }")),
    "infogain": MatrixNet(
        _CLASSIFIER
        + layer("InfogainLoss", "ip label", "loss", 'infogain_loss_param { source: "$DATA/infogain.binaryproto" }')
    ),
    "multinomial logistic": MatrixNet(
        _CLASSIFIER
        + layer("Softmax", "ip", "prob")
        + layer("MultinomialLogisticLoss", "prob label", "loss", "loss_weight: 2")
    ),
    "sigmoid cross entropy": MatrixNet(
        dummy("data", "4 6")
        + dummy("target", "4 3", 'type: "uniform" min: 0 max: 1')
        + dense("data", "ip", 3)
        + layer("SigmoidCrossEntropyLoss", "ip target", "loss")
    ),
    "contrastive, of shared weights": MatrixNet(
        VECTORS
        + dummy("pair", "4 6")
        + dense("data", "one", 3, 'param { name: "w" } param { name: "b" lr_mult: 2 }')
        + dense("pair", "two", 3, 'param { name: "w" } param { name: "b" }')
        + layer("Threshold", "label", "same", "threshold_param { threshold: 2 }")
        + layer("ContrastiveLoss", "one two same", "loss")
    ),
    "weights on a vector, and reductions": MatrixNet(
        VECTORS
        + dense("data", "ip", 3, "loss_weight: 0.1")
        + sum_of_squares("ip")
        + layer("Reduction", "data", "mean", "reduction_param { operation: MEAN axis: 1 }")
        + layer("Silence", "mean label", "")
    ),
    "a loss that another layer reads": MatrixNet(
        _CLASSIFIER
        + softmax("ip", "loss_weight: 1")
        + layer("Power", "loss", "twice", "power_param { scale: 2 }")
        + layer("Silence", "twice", "")
    ),
    "to NaN": MatrixNet(
        _REGRESSION + layer("EuclideanLoss", "ip target", "loss"), {"base_lr": 1e30, "iter_size": 2, "average_loss": 3}
    ),
    "Python": MatrixNet(
        _REGRESSION + layer("Python", "ip", "twice", _PYTHON) + layer("EuclideanLoss", "twice target", "loss")
    ),
    "NaN of both signs": MatrixNet(
        _REGRESSION
        + layer("Python", "ip", "one", _SCRIPTED.format("1 nan inf -nan 2 -inf nan"), "one")
        + layer("Python", "target", "two", _SCRIPTED.format("-nan 3 -inf inf nan"), "two"),
        {"display": 1, "average_loss": 3, "iter_size": 2},
    ),
    "accuracy, argmax, softmax": MatrixNet(
        IMAGES
        + dense("data", "ip")
        + softmax("ip")
        + layer("Accuracy", "ip label", "top1 each")
        + layer("ArgMax", "ip", "best", "argmax_param { top_k: 2 }")
        + layer("Softmax", "ip", "prob")
        + layer("Silence", "best prob", ""),
        {"type": '"Adam"', "momentum2": 0.99},
    ),
    "nothing to learn": MatrixNet(IMAGES + layer("Silence", "data label", "")),
    "a head that is not learned": MatrixNet(
        LABELS
        + dummy("data", "4 6")
        + dense("data", "ip", rest="param { lr_mult: 0 } param { lr_mult: 0 }")
        + dense("ip", "ip2")
        + softmax("ip2")
    ),
}
