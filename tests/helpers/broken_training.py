"""A training that three records break, of a net with every kind of layer that reads data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from harness.caffe_files.messages import pb
from tests.helpers.net_matrix.data import write_data
from tests.helpers.outlying_records import NET, write_records, write_training

# Each branch learns a hundredth as fast as the net that breaks.
_BRANCHES = """
layer {{ name: "list" type: "ImageData" top: "picture" top: "kind"
  image_data_param {{ source: "{home}/list.txt" root_folder: "{home}/" batch_size: 4 shuffle: true rand_skip: 3 }}
  transform_param {{ mirror: true crop_size: 9 scale: 0.01 mean_file: "{home}/mean.binaryproto" }} }}
layer {{ name: "ip3" type: "InnerProduct" bottom: "picture" top: "ip3" param {{ lr_mult: 0.01 }}
  inner_product_param {{ num_output: 5 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "ip3" top: "ip3" }}
layer {{ name: "softmax" type: "Softmax" bottom: "ip3" top: "softmax" }}
layer {{ name: "loss3" type: "InfogainLoss" bottom: "ip3" bottom: "kind" top: "loss3" loss_weight: 0.01
  infogain_loss_param {{ source: "{home}/infogain.binaryproto" }} }}
layer {{ name: "rows" type: "HDF5Data" top: "vector" top: "target"
  hdf5_data_param {{ source: "{home}/rows.txt" batch_size: 3 shuffle: true }} }}
layer {{ name: "ip4" type: "InnerProduct" bottom: "vector" top: "ip4" param {{ lr_mult: 0.01 }}
  inner_product_param {{ num_output: 2 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss4" type: "EuclideanLoss" bottom: "ip4" bottom: "target" top: "loss4" loss_weight: 0.01 }}
layer {{ name: "windows" type: "WindowData" top: "window" top: "class"
  window_data_param {{ source: "{home}/windows.txt" batch_size: 2
    fg_threshold: 0.5 bg_threshold: 0.5 fg_fraction: 0.5 }}
  transform_param {{ crop_size: 8 mirror: true }} }}
layer {{ name: "ip5" type: "InnerProduct" bottom: "window" top: "ip5" param {{ lr_mult: 0.0001 }}
  inner_product_param {{ num_output: 5 bias_term: false weight_filler {{ type: "gaussian" std: 0.0001 }} }} }}
layer {{ name: "loss5" type: "SoftmaxWithLoss" bottom: "ip5" bottom: "class" top: "loss5" loss_weight: 0.01 }}
"""


def write_broken_training(home: Path, **fields: object) -> Path:
    """Write net, data and solver into the new directory `home`, with a test net of the same data; return the solver."""
    home.mkdir(parents=True)
    data = write_data(home)
    mean = pb.BlobProto(num=1, channels=3, height=12, width=12, data=np.linspace(90, 110, 432))
    (data / "mean.binaryproto").write_bytes(mean.SerializeToString())
    random = np.random.default_rng(7)
    for name, rows, kind in (("one", 5, "f4"), ("two", 8, "f8")):
        with h5py.File(data / f"{name}.h5", "w") as file:
            file["vector"] = random.normal(size=(rows, 6)).astype(kind)
            file["target"] = random.normal(size=(rows, 2)).astype(np.float32)
    (data / "rows.txt").write_text(f"{data / 'one.h5'}\n{data / 'two.h5'}\n")
    source = write_records(home / "records")
    tested = {"test_iter": 1, "test_interval": 7}
    solver = write_training(home, source, **(tested | fields))
    (home / "net.prototxt").write_text((NET + _BRANCHES).format(source=source, home=data))
    return solver
