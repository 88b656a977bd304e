"""A net whose iteration takes a millisecond, with all that a restart has to restore: crops, dropout, momentum."""

from __future__ import annotations

from pathlib import Path

from tools.bench.nets import random_lmdb

_NET = """name: "tiny"
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ scale: 0.0078125 mirror: true crop_size: 10 }}
  data_param {{ source: "{source}" batch_size: 4 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ scale: 0.0078125 crop_size: 10 }}
  data_param {{ source: "{source}" batch_size: 4 backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "drop" type: "Dropout" bottom: "conv" top: "conv" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""
_SOLVER = {
    "base_lr": 0.001,
    "lr_policy": '"inv"',
    "gamma": 0.0001,
    "power": 0.75,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "display": 20,
    "average_loss": 5,
    "test_iter": 2,
    "test_interval": 100,
    "test_initialization": "false",
    "random_seed": 11,
    "solver_mode": "CPU",
}


def small_solver(home: Path, **fields: object) -> Path:
    """Write the net, its data and its solver into the new directory `home`; `fields` are the solver's."""
    home.mkdir(parents=True)
    source = random_lmdb(home / "data", 203, (1, 12, 12), 5)
    (home / "net.prototxt").write_text(_NET.format(source=source))
    values = {"net": f'"{home / "net.prototxt"}"', "snapshot_prefix": f'"{home / "tiny"}"'} | _SOLVER | fields
    (home / "solver.prototxt").write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    return home / "solver.prototxt"
