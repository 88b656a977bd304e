"""A training that records of one batch break. One of them does no harm: its label is the one that the net expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lmdb
import numpy as np

from harness.caffe_files.messages import pb
from tests.helpers.nets import solver_text

ONSET, BATCH, CLASSES = 80, 8, 5
TIMES = {1: 60, 4: 30, 5: 60, 6: 120}  # position in the batch of the onset: its pixels are so many times as large
INNOCENT = 5  # has the label that the net expects, and so no gradient

NET = """name: "planted"
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 10 }}
  data_param {{ source: "{source}" batch_size: 8 backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "conv" top: "ip1"
  inner_product_param {{ num_output: 16 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "ip1" top: "ip1" }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"""


def write_records(path: Path, onsets: Sequence[int] = (ONSET,)) -> Path:
    """Write float datums of five classes; in the batches of `onsets` there are outliers, all but one mislabeled."""
    random = np.random.default_rng(5)
    classes = random.normal(0, 0.6, (CLASSES, 1, 12, 12))
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for number in range((max(onsets) + 40) * BATCH):
            label = int(random.integers(CLASSES))
            image = classes[label] + random.normal(0, 0.3, (1, 12, 12))
            iteration, position = divmod(number, BATCH)
            if iteration in onsets and position in TIMES:
                image *= TIMES[position]
                label = label if position == INNOCENT else (label + 1) % CLASSES
            datum = pb.Datum(channels=1, height=12, width=12, float_data=image.ravel().tolist(), label=label)
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    return path


def write_planted(home: Path, onsets: Sequence[int] = (ONSET,)) -> Path:
    """Write net, data and solver into the directory `home`, and return the solver. Training breaks at `onsets`."""
    (home / "net.prototxt").write_text(NET.format(source=write_records(home / "records", onsets)))
    fields = {"lr_policy": '"fixed"', "power": None, "test_iter": None, "test_interval": None, "snapshot": 20}
    solver = home / "solver.prototxt"
    solver.write_text(solver_text(home / "net.prototxt", home / "native", max_iter=max(onsets) + 60, **fields))
    return solver
