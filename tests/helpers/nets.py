"""A small net with random layers and shared params, and its solver."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.lmdbs import CLASSES


def data_layer(source: Path, phase: str, batch: int, transform: str) -> str:
    return f"""
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ scale: 0.0078125 {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def small_net(data: Path, *, batch: int = 8, transform: str = "mirror: true crop_size: 10", extra: str = "") -> str:
    """A net with random and shared parts: mirror, crop, dropout, a shared param, a frozen layer, two losses.

    `conv2/a` and `conv2/b` share their weights; `frozen` never learns.
    """
    return f"""name: "small"
{data_layer(data / "train", "TRAIN", batch, transform)}
{data_layer(data / "test", "TEST", 7, transform.replace("mirror: true", ""))}
layer {{ name: "conv1/3x3" type: "Convolution" bottom: "data" top: "conv1/3x3"
  param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1/3x3" top: "conv1/3x3" }}
layer {{ name: "frozen" type: "Convolution" bottom: "conv1/3x3" top: "frozen"
  param {{ lr_mult: 0 decay_mult: 0 }} param {{ lr_mult: 0 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "conv2/a" type: "Convolution" bottom: "frozen" top: "conv2/a"
  param {{ name: "shared_w" lr_mult: 1 }} param {{ name: "shared_b" lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2/a" top: "conv2/a" }}
layer {{ name: "conv2/b" type: "Convolution" bottom: "conv2/a" top: "conv2/b"
  param {{ name: "shared_w" }} param {{ name: "shared_b" }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "conv2/b" top: "conv2/b" dropout_param {{ dropout_ratio: 0.3 }} }}
layer {{ name: "loss1/classifier" type: "InnerProduct" bottom: "frozen" top: "loss1/classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss1/loss1" type: "SoftmaxWithLoss" bottom: "loss1/classifier" bottom: "label" top: "loss1/loss1"
  loss_weight: 0.3 }}
layer {{ name: "loss3/classifier" type: "InnerProduct" bottom: "conv2/b" top: "loss3/classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss3/loss3" type: "SoftmaxWithLoss" bottom: "loss3/classifier" bottom: "label" top: "loss3/loss3" }}
layer {{ name: "loss3/top-1" type: "Accuracy" bottom: "loss3/classifier" bottom: "label" top: "loss3/top-1"
  include {{ phase: TEST }} }}
{extra}
"""


def solver_text(net_file: Path, prefix: Path, **fields: object) -> str:
    """A solver for `net_file`; `fields` replace or add fields, None omits one."""
    values: dict[str, object] = {
        "net": f'"{net_file}"',
        "base_lr": 0.01,
        "lr_policy": '"poly"',
        "power": 0.5,
        "max_iter": 60,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "display": 7,
        "average_loss": 5,
        "test_iter": 3,
        "test_interval": 20,
        "snapshot": 25,
        "snapshot_prefix": f'"{prefix}"',
        "random_seed": 11,
        "solver_mode": "CPU",
    } | fields
    return "".join(f"{name}: {value}\n" for name, value in values.items() if value is not None)
