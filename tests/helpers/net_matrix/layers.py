"""Nets with each of the layers between data and losses.

Each training takes a second or more, so small nets with the same solver are trained side by side.
"""

from __future__ import annotations

from tests.helpers.net_matrix.parts import (
    HEAD,
    IMAGES,
    LABELS,
    TESTED,
    MatrixNet,
    beside,
    between,
    constant,
    conv,
    dense,
    dummy,
    layer,
    softmax,
    sum_of_squares,
)

_RECURRENT = 'recurrent_param { num_output: 4 weight_filler { type: "uniform" min: -0.3 max: 0.3 } }'
_FROZEN = "param { lr_mult: 0 } "

NETS = {
    "AbsVal, Power, Log, Exp; ReLU, PReLU, ELU, Sigmoid, TanH; Swish, Clip, BNLL, Threshold": MatrixNet(
        beside(
            between(
                layer("AbsVal", "conv", "a"),
                layer("Power", "a", "b", "power_param { power: 2 shift: 1 scale: 0.5 }"),
                layer("Log", "b", "c"),
                layer("Exp", "c", "x", "exp_param { base: 2 scale: 0.5 }"),
            ),
            between(
                layer("ReLU", "conv", "conv", "relu_param { negative_slope: 0.1 }", name="relu"),
                layer("PReLU", "conv", "a"),
                layer("ELU", "a", "b"),
                layer("Sigmoid", "b", "c"),
                layer("TanH", "c", "x"),
            ),
            between(
                layer("Swish", "conv", "a"),
                layer("Clip", "a", "b", "clip_param { min: -1 max: 1 }"),
                layer("BNLL", "b", "x"),
                layer("Threshold", "x", "over"),
                layer("Silence", "over", ""),
            ),
        )
    ),
    "BatchNorm, Scale": MatrixNet(
        between(layer("BatchNorm", "conv", "a"), layer("Scale", "a", "x", "scale_param { bias_term: true }")), TESTED
    ),
    "BatchNorm with specs for its averages; blobs without axes; Scale and Bias of two bottoms": MatrixNet(
        beside(
            between(layer("BatchNorm", "conv", "x", 3 * _FROZEN)),
            between(
                layer("Scale", "conv", "a", "scale_param { num_axes: 0 }"),
                layer("Bias", "a", "b", "bias_param { num_axes: 0 }"),
                layer("Bias", "b", "x"),
            ),
            IMAGES
            + dense("data", "ip")
            + layer("Scale", "ip label", "a", "scale_param { axis: 0 }")
            + layer("Bias", "a label", "x", "bias_param { axis: 0 }")
            + softmax("x"),
        )
    ),
    "Concat, Slice, Split, Eltwise; Crop, Deconvolution; Embed; BatchReindex, Tile": MatrixNet(
        beside(
            between(
                layer("Slice", "conv", "a b", "slice_param { axis: 1 slice_point: 1 }"),
                layer("Concat", "b a", "c"),
                layer("Split", "c", "d e"),
                layer("Eltwise", "d e conv", "x", "eltwise_param { operation: PROD }"),
            ),
            between(
                conv("conv", "up", "Deconvolution", "stride: 2 group: 4"),
                layer("Crop", "up conv", "x", "crop_param { axis: 2 offset: 3 }"),
            ),
            LABELS
            + layer(
                "Embed", "label", "e", 'embed_param { input_dim: 5 num_output: 3 weight_filler { type: "uniform" } }'
            )
            + dense("e", "ip", 2)
            + sum_of_squares("ip"),
            between(
                constant("at", "4", 2),
                layer("BatchReindex", "conv at", "b"),
                layer("Tile", "b", "x", "tile_param { axis: 1 tiles: 2 }"),
            ),
        )
    ),
    "Im2col, Reshape, Flatten; LRN, MVN; Pooling, with its mask; SPP": MatrixNet(
        beside(
            between(
                layer("Im2col", "conv", "a", "convolution_param { kernel_size: 2 stride: 2 }"),
                layer("Reshape", "a", "b", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }"),
                layer("Flatten", "b", "x"),
            ),
            between(
                layer("LRN", "conv", "a", "lrn_param { local_size: 3 }"),
                layer("LRN", "a", "b", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"),
                layer("MVN", "b", "x"),
            ),
            between(
                layer("Pooling", "conv", "a mask", "pooling_param { kernel_size: 2 stride: 2 }"),
                layer("Silence", "mask", ""),
                layer("Pooling", "a", "x", "pooling_param { pool: AVE global_pooling: true }"),
            ),
            between(layer("SPP", "conv", "x", "spp_param { pyramid_height: 2 }")),
        )
    ),
    "Dropout, iter_size, Nesterov": MatrixNet(
        between(
            layer("Dropout", "conv", "a"), layer("Dropout", "a", "x", "dropout_param { dropout_ratio: 0.2 }", name="a")
        ),
        {"iter_size": 2, "type": '"Nesterov"'} | TESTED,
    ),
    "Parameter; LSTM; RNN; LSTMUnit": MatrixNet(
        beside(
            layer("Parameter", "", "p", "parameter_param { shape { dim: 3 dim: 2 } }")
            + dummy("y", "3 2")
            + layer("EuclideanLoss", "p y", "loss"),
            dummy("data", "3 2 4")
            + constant("cont", "3 2", 0)
            + layer("LSTM", "data cont", "h", _RECURRENT)
            + dense("h", "ip", 2)
            + sum_of_squares("ip"),
            dummy("data", "3 2 4")
            + constant("cont", "3 2", 0)
            + layer("RNN", "data cont", "h", _RECURRENT)
            + sum_of_squares("h"),
            dummy("data", "2 6")
            + dummy("c", "1 2 3")
            + constant("cont", "1 2", 1)
            + dense("data", "gates", 12)
            + layer("Reshape", "gates", "x", "reshape_param { shape { dim: 1 dim: 2 dim: 12 } }")
            + layer("LSTMUnit", "c x cont", "c2 h2")
            + layer("Silence", "c2", "")
            + sum_of_squares("h2"),
        )
    ),
    "one layer twice, with shared weights": MatrixNet(
        IMAGES
        + conv("data", "a", rest="pad: 1")
        + dense("a", "b", 6, 'param { name: "w" lr_mult: 2 } param { decay_mult: 0 }')
        + dense("b", "c", 6)
        + dense("a", "x", 6, 'param { name: "w" }')
        + layer("Silence", "c", "")
        + HEAD,
        {"type": '"RMSProp"', "momentum": None, "rms_decay": 0.9, "clip_gradients": 1},
    ),
}
