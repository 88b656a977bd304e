"""Nets with each of the losses, and with losses in odd places.

Each training takes a second or more, so small nets with the same solver are trained side by side.
"""

from __future__ import annotations

from tests.helpers.net_matrix.parts import (
    IMAGES,
    LABELS,
    VECTORS,
    MatrixNet,
    beside,
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
    "softmax, of some labels; Euclidean; hinge; infogain": MatrixNet(
        beside(
            _CLASSIFIER + softmax("ip", "loss_param { ignore_label: 2 normalization: BATCH_SIZE } loss_weight: 0.5"),
            _REGRESSION + layer("EuclideanLoss", "ip target", "loss"),
            _CLASSIFIER + layer("HingeLoss", "ip label", "loss", "hinge_loss_param { norm: L2 }"),
            _CLASSIFIER
            + layer("InfogainLoss", "ip label", "loss", 'infogain_loss_param { source: "$DATA/infogain.binaryproto" }'),
        )
    ),
    "multinomial logistic; sigmoid cross entropy; contrastive; a vector with weights; read by another layer": MatrixNet(
        beside(
            _CLASSIFIER
            + layer("Softmax", "ip", "prob")
            + layer("MultinomialLogisticLoss", "prob label", "loss", "loss_weight: 2"),
            dummy("data", "4 6")
            + dummy("target", "4 3", 'type: "uniform" min: 0 max: 1')
            + dense("data", "ip", 3)
            + layer("SigmoidCrossEntropyLoss", "ip target", "loss"),
            VECTORS
            + dummy("pair", "4 6")
            + dense("data", "one", 3, 'param { name: "w" } param { name: "b" lr_mult: 2 }')
            + dense("pair", "two", 3, 'param { name: "w" } param { name: "b" }')
            + layer("Threshold", "label", "same", "threshold_param { threshold: 2 }")
            + layer("ContrastiveLoss", "one two same", "loss"),
            VECTORS
            + dense("data", "ip", 3, "loss_weight: 0.1")
            + sum_of_squares("ip")
            + layer("Reduction", "data", "mean", "reduction_param { operation: MEAN axis: 1 }")
            + layer("Silence", "mean label", ""),
            _CLASSIFIER
            + softmax("ip", "loss_weight: 1")
            + layer("Power", "loss", "twice", "power_param { scale: 2 }")
            + layer("Silence", "twice", ""),
        )
    ),
    "losses without a top": MatrixNet(
        _CLASSIFIER
        + layer("SoftmaxWithLoss", "ip label", "", name="loss")
        + dense("data", "more", 1)
        + constant("zero", "4 1", 0)
        + layer("EuclideanLoss", "more zero", "", "loss_weight: 0.5", name="ip")
        + layer("EuclideanLoss", "more zero", "", "loss_weight: 0.5", name="")
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
