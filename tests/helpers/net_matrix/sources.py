"""Nets with each of the data layers, and with several."""

from __future__ import annotations

from tests.helpers.net_matrix.parts import TESTED, MatrixNet, dense, layer, softmax

_IMAGES = "transform_param { scale: 0.01 mirror: true crop_size: 9 }"
_LMDB = layer("Data", "", "data label", f'data_param {{ source: "$DATA/lmdb" batch_size: 5 backend: LMDB }} {_IMAGES}')
_HDF5 = 'hdf5_data_param { source: "$DATA/h5.txt" batch_size: 4 SHUFFLE }'
_LIST = 'image_data_param { source: "$DATA/list.txt" root_folder: "$DATA/" batch_size: 4 SHUFFLE }'
_CLASSIFIER = dense("data", "ip") + softmax("ip")
_REGRESSION = dense("data", "ip", 2) + layer("EuclideanLoss", "ip target", "loss")


def _in(phase: str, text: str) -> str:
    return text.replace(' type: "', f' include {{ phase: {phase} }} type: "')


NETS = {
    "Data, with tests": MatrixNet(
        _in("TRAIN", _LMDB) + _in("TEST", _LMDB) + _CLASSIFIER + _in("TEST", layer("Accuracy", "ip label", "accuracy")),
        {"test_iter": "2\ntest_iter: 1", "test_interval": 5},
    ),
    "ImageData": MatrixNet(layer("ImageData", "", "data label", _LIST.replace("SHUFFLE", "")) + _CLASSIFIER),
    "ImageData, shuffled": MatrixNet(
        layer("ImageData", "", "data label", _LIST.replace("SHUFFLE", "shuffle: true rand_skip: 3") + _IMAGES)
        + _CLASSIFIER
    ),
    "HDF5Data": MatrixNet(layer("HDF5Data", "", "data target", _HDF5.replace("SHUFFLE", "")) + _REGRESSION),
    "HDF5Data, shuffled": MatrixNet(
        layer("HDF5Data", "", "data target", _HDF5.replace("SHUFFLE", "shuffle: true")) + _REGRESSION
    ),
    "WindowData": MatrixNet(
        layer(
            "WindowData",
            "",
            "data label",
            'window_data_param { source: "$DATA/windows.txt" batch_size: 4 fg_threshold: 0.5 bg_threshold: 0.5 '
            "fg_fraction: 0.5 } transform_param { crop_size: 8 mirror: true }",
        )
        + _CLASSIFIER
    ),
    "Data beside HDF5Data": MatrixNet(
        _LMDB.replace("batch_size: 5", "batch_size: 4")
        + layer("HDF5Data", "", "target", _HDF5.replace("SHUFFLE", ""))
        + layer("Silence", "label", "")
        + _REGRESSION
    ),
    "Filter of changing size": MatrixNet(
        layer("HDF5Data", "", "all goal keep", _HDF5.replace("SHUFFLE", ""))
        .replace('"all"', '"data"')
        .replace('"goal"', '"target"')
        + layer("Filter", "data target keep", "kept goal")
        + dense("kept", "ip", 2)
        + layer("EuclideanLoss", "ip goal", "loss")
    ),
    "HDF5Output in a test net": MatrixNet(
        _LMDB
        + _CLASSIFIER
        + _in("TEST", layer("HDF5Output", "ip label", "", 'hdf5_output_param { file_name: "$HOME/out.h5" }')),
        {"test_iter": 1, "test_interval": 12, "test_initialization": "false"},
    ),
    "Input": MatrixNet(
        layer("Input", "", "data target", "input_param { shape { dim: 4 dim: 6 } shape { dim: 4 dim: 2 } }")
        + _REGRESSION
    ),
    "inputs of the net": MatrixNet(
        'input: "data" input_shape { dim: 4 dim: 6 } input: "target" input_shape { dim: 4 dim: 2 }\n' + _REGRESSION
    ),
    "the format before 2014": MatrixNet(
        """layers { name: "data" type: DATA top: "data" top: "label"
  data_param { source: "$DATA/lmdb" batch_size: 5 backend: LMDB } transform_param { scale: 0.01 } }
layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }
"""
    ),
    "two Data layers of one name": MatrixNet(
        _LMDB
        + layer("Data", "", "other", 'data_param { source: "$DATA/lmdb" batch_size: 3 backend: LMDB }', name="data")
        + layer("Silence", "other", "")
        + _CLASSIFIER,
        TESTED,
    ),
}
