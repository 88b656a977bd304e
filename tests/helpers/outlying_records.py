"""A training that a few records break: their values are far beyond those of the others."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np

from harness.caffe_files.messages import pb
from tests.helpers.nets import solver_text

RECORDS, BATCH, ONSET = 500, 8, 45
OUTLYING = {ONSET * BATCH + place: size for place, size in ((1, 90.0), (4, 40.0), (6, 160.0))}
NAMES = ("ant", "bee", "cow")

NET = """name: "outlying"
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 5 }}
  data_param {{ source: "{source}" batch_size: 8 backend: LMDB }} }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param {{ num_output: 16 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"""


def key_of(number: int) -> str:
    return f"{number:08d}_pic{number}.png"


def write_records(path: Path, leave_out: frozenset[int] = frozenset()) -> Path:
    """Write an LMDB of float datums, of three classes that a net can tell, without the records `leave_out`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for number in range(RECORDS):
            label = int(random.integers(len(NAMES)))
            image = random.normal(0, 0.3, (1, 6, 6))
            image[0, 2 * label : 2 * label + 2] += 1
            if number in OUTLYING:
                image *= OUTLYING[number]
                label = (label + 1) % len(NAMES)
            datum = pb.Datum(channels=1, height=6, width=6, float_data=image.ravel().tolist(), label=label)
            if number not in leave_out:
                transaction.put(key_of(number).encode(), datum.SerializeToString())
    return path


def write_training(home: Path, source: Path, **fields: object) -> Path:
    """Write net and solver into `home`, and return the solver."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "net.prototxt").write_text(NET.format(source=source))
    given = {"base_lr": 0.3, "lr_policy": '"fixed"', "momentum": 0.9, "max_iter": 160, "display": 10, "snapshot": 20}
    given |= {"power": None, "test_iter": None, "test_interval": None}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **(given | fields)))
    return home / "solver.prototxt"
