"""Solvers and nets that Caffe trains, with small data for them: what the campaign `prototxt` mutates."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np

from harness.caffe_files.messages import pb

ROOT = Path(__file__).resolve().parents[2]
_CLASSES, _SIDE, _RECORDS = 5, 12, 40


@dataclass(frozen=True)
class Base:
    """The text of a solver and of its net. `{data}` stands for the directory of the data, `{net}` for the net's file.

    `quick`: Caffe trains an iteration in less than a second.
    """

    name: str
    solver: str
    net: str
    quick: bool = True


@cache
def data_directory() -> Path:
    """Return the directory of the data, which is made once for all processes and campaigns of this user."""
    home = Path(tempfile.gettempdir()) / f"caffe-harness-campaign-nets-{os.getuid()}"
    if not home.is_dir():
        part = Path(tempfile.mkdtemp(prefix=f"{home.name}."))
        _make_data(part, home)
        try:
            part.rename(home)
        except OSError:  # another process was quicker
            shutil.rmtree(part)
    return home


def _make_data(part: Path, home: Path) -> None:
    random = np.random.default_rng(1)
    labels = np.arange(_RECORDS) % _CLASSES
    images = random.integers(0, 255, (_RECORDS, 3, _SIDE, _SIDE)).astype(np.uint8)
    with lmdb.open(str(part / "lmdb"), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            datum = pb.Datum(channels=3, height=_SIDE, width=_SIDE, data=image.tobytes(), label=int(label))
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    with h5py.File(part / "rows.h5", "w") as file:
        file["data"] = images.astype(np.float32) / 255
        file["label"] = labels.astype(np.float32)
    (part / "hdf5.txt").write_text(f"{home}/rows.h5\n")
    lines = []
    for number, image in enumerate(images[:8]):
        cv2.imwrite(str(part / f"{number}.png"), image.transpose(1, 2, 0))
        lines.append(f"{home}/{number}.png {labels[number]}\n")
    (part / "images.txt").write_text("".join(lines))
    matrix = pb.BlobProto(num=1, channels=1, height=_CLASSES, width=_CLASSES, data=np.eye(_CLASSES).ravel())
    (part / "infogain.binaryproto").write_bytes(matrix.SerializeToString())
    mean = pb.BlobProto(num=1, channels=3, height=_SIDE, width=_SIDE, data=np.ones(3 * _SIDE * _SIDE))
    (part / "mean.binaryproto").write_bytes(mean.SerializeToString())


_SOLVER = """net: "{net}"
base_lr: 0.01
lr_policy: "step"
gamma: 0.1
stepsize: 100
max_iter: 500
momentum: 0.9
weight_decay: 0.0005
display: 10
snapshot: 100
snapshot_prefix: "snap"
solver_mode: CPU
random_seed: 7
"""
_TESTED = _SOLVER + "test_iter: 2\ntest_interval: 50\naverage_loss: 5\n"

_LMDB = """layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0039 mirror: true crop_size: 10 mean_file: "{data}/mean.binaryproto" }
  data_param { source: "{data}/lmdb" batch_size: 8 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0039 crop_size: 10 mean_value: 100 mean_value: 110 mean_value: 120 }
  data_param { source: "{data}/lmdb" batch_size: 4 backend: LMDB } }
"""
_DUMMY = """layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } shape { dim: 4 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
"""
_HEAD = """layer { name: "ip" type: "InnerProduct" bottom: "%s" top: "ip" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""

_CONVOLUTIONS = f"""name: "convolutions"
{_LMDB}
layer {{ name: "conv1/3x3" type: "Convolution" bottom: "data" top: "conv1" param {{ lr_mult: 1 decay_mult: 1 }}
  param {{ lr_mult: 2 decay_mult: 0 }} convolution_param {{ num_output: 4 kernel_size: 3 pad: 1 stride: 1 group: 1
    weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" value: 0.1 }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
layer {{ name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param {{ local_size: 3 alpha: 0.0001 beta: 0.75 }} }}
layer {{ name: "a" type: "Convolution" bottom: "norm1" top: "a" param {{ name: "w" }} param {{ name: "b" }}
  convolution_param {{ num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "b" type: "Convolution" bottom: "norm1" top: "b" param {{ name: "w" }} param {{ name: "b" }}
  convolution_param {{ num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 weight_filler {{ type: "msra" }} }} }}
layer {{ name: "join" type: "Concat" bottom: "a" bottom: "b" top: "join" concat_param {{ axis: 1 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "join" top: "join" dropout_param {{ dropout_ratio: 0.4 }} }}
{_HEAD % "join"}
layer {{ name: "top-1" type: "Accuracy" bottom: "ip" bottom: "label" top: "top-1" include {{ phase: TEST }} }}
"""
_RESIDUAL = f"""name: "residual"
{_LMDB}
layer {{ name: "bn" type: "BatchNorm" bottom: "data" top: "bn" param {{ lr_mult: 0 }} param {{ lr_mult: 0 }}
  param {{ lr_mult: 0 }} batch_norm_param {{ moving_average_fraction: 0.9 }} }}
layer {{ name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param {{ bias_term: true }} }}
layer {{ name: "prelu" type: "PReLU" bottom: "bn" top: "prelu" prelu_param {{ channel_shared: false }} }}
layer {{ name: "sum" type: "Eltwise" bottom: "prelu" bottom: "data" top: "sum" eltwise_param {{ operation: SUM
  coeff: 1 coeff: -0.5 }} }}
layer {{ name: "deconv" type: "Deconvolution" bottom: "sum" top: "deconv" convolution_param {{ num_output: 3
  kernel_size: 2 stride: 2 weight_filler {{ type: "bilinear" }} }} }}
layer {{ name: "crop" type: "Crop" bottom: "deconv" bottom: "data" top: "crop" crop_param {{ axis: 2 offset: 1 }} }}
layer {{ name: "global" type: "Pooling" bottom: "crop" top: "global"
  pooling_param {{ pool: AVE global_pooling: true }} }}
{_HEAD % "global"}
"""
_HDF5 = """name: "rows"
layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "{data}/hdf5.txt" batch_size: 6 shuffle: true } }
layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" flatten_param { axis: 1 } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "flat" top: "sigmoid" }
layer { name: "score" type: "InnerProduct" bottom: "sigmoid" top: "score"
  inner_product_param { num_output: 1 weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
layer { name: "reshape" type: "Reshape" bottom: "score" top: "reshape" reshape_param { shape { dim: -1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "reshape" bottom: "label" top: "loss" loss_weight: 0.5 }
"""
_IMAGES = f"""name: "images"
layer {{ name: "data" type: "ImageData" top: "data" top: "label" transform_param {{ mirror: true mean_value: 127 }}
  image_data_param {{ source: "{{data}}/images.txt" batch_size: 3 shuffle: true new_height: 10 new_width: 10 }} }}
layer {{ name: "power" type: "Power" bottom: "data" top: "power" power_param {{ scale: 0.01 }} }}
layer {{ name: "slice" type: "Slice" bottom: "power" top: "s1" top: "s2" slice_param {{ axis: 1 slice_point: 1 }} }}
layer {{ name: "quiet" type: "Silence" bottom: "s1" }}
{_HEAD % "s2"}
"""
_SEQUENCE = """name: "sequence"
layer { name: "data" type: "DummyData" top: "words" top: "cont" top: "label"
  dummy_data_param { shape { dim: 3 dim: 2 } shape { dim: 3 dim: 2 } shape { dim: 3 dim: 2 }
    data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 1 }
    data_filler { type: "constant" value: 2 } } }
layer { name: "embed" type: "Embed" bottom: "words" top: "embed" param { lr_mult: 1 }
  embed_param { input_dim: 7 num_output: 4 bias_term: false
    weight_filler { type: "uniform" min: -0.08 max: 0.08 } } }
layer { name: "lstm" type: "LSTM" bottom: "embed" bottom: "cont" top: "lstm"
  recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.08 max: 0.08 }
    bias_filler { type: "constant" } } }
layer { name: "predict" type: "InnerProduct" bottom: "lstm" top: "predict"
  inner_product_param { num_output: 7 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "predict" bottom: "label" top: "loss" loss_weight: 20
  softmax_param { axis: 2 } loss_param { ignore_label: -1 } }
"""
_LOSSES = f"""name: "losses"
{_DUMMY}
{_HEAD % "data"}
layer {{ name: "soft" type: "Softmax" bottom: "ip" top: "soft" }}
layer {{ name: "infogain" type: "InfogainLoss" bottom: "ip" bottom: "label" top: "infogain" loss_weight: 0.1
  infogain_loss_param {{ source: "{{data}}/infogain.binaryproto" }} }}
layer {{ name: "hinge" type: "HingeLoss" bottom: "ip" bottom: "label" top: "hinge" hinge_loss_param {{ norm: L2 }} }}
layer {{ name: "argmax" type: "ArgMax" bottom: "soft" top: "argmax" argmax_param {{ top_k: 1 }} }}
layer {{ name: "reduce" type: "Reduction" bottom: "ip" top: "reduce" loss_weight: 0.001
  reduction_param {{ operation: SUMSQ axis: 0 }} }}
layer {{ name: "quiet" type: "Silence" bottom: "argmax" }}
"""
_OLD = """name: "old"
layers { name: "data" type: DATA top: "data" top: "label"
  data_param { source: "{data}/lmdb" batch_size: 4 backend: LMDB scale: 0.004 mirror: true } }
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "ip" type: INNER_PRODUCT bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }
"""
_INPUT = f"""name: "input"
input: "data" input_shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }}
input: "label" input_shape {{ dim: 2 }}
{_HEAD % "data"}
"""


def _of_repository(folder: str, solver: str) -> Base:
    """Return a solver of prototxt/ with its net, on the campaign's data, which are too small to be cropped."""
    home = ROOT / "prototxt" / folder
    net = re.sub(r'source: ".*"', 'source: "{data}/lmdb"', (home / "train_val.prototxt").read_text())
    net = re.sub(r"crop_size: \d+", "", net)
    text = re.sub(r'(?m)^net: ".*"', 'net: "{net}"', (home / solver).read_text())
    return Base(f"{folder}/{solver}", text, net, quick=False)


@cache
def bases() -> tuple[Base, ...]:
    """Return all of them."""
    adam = _SOLVER.replace("momentum: 0.9", 'type: "Adam"\nmomentum: 0.9\nmomentum2: 0.999\ndelta: 1e-8')
    rms = _SOLVER.replace("momentum: 0.9", 'type: "RMSProp"\nrms_decay: 0.98').replace('"step"', '"inv"\npower: 0.5')
    staged = (
        _SOLVER.replace("net: ", "train_net: ").replace('"step"', '"multistep"\nstepvalue: 10\nstepvalue: 20')
        + 'test_net: "{net}"\ntest_iter: 1\ntest_interval: 3\ntest_state { stage: "x" }\niter_size: 2\n'
        + 'regularization_type: "L1"\n'
    )
    inline = _SOLVER.replace('net: "{net}"', f"net_param {{ {_LOSSES} }}")
    return (
        Base("convolutions", _TESTED, _CONVOLUTIONS),
        Base("residual", staged, _RESIDUAL),
        Base("HDF5", adam, _HDF5),
        Base("images", rms, _IMAGES),
        Base("sequence", _SOLVER + "clip_gradients: 10\n", _SEQUENCE),
        Base("losses", _SOLVER, _LOSSES),
        Base("inline", inline, _LOSSES),
        Base("old", _SOLVER, _OLD),
        Base("input", _SOLVER, _INPUT),
        _of_repository("glyphs280", "quick_solver.prototxt"),
        _of_repository("googlenet280", "quick_solver.prototxt"),
        _of_repository("vgg16_280", "solver.prototxt"),
    )
