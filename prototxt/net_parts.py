"""Parts that the nets in these folders share: data layers, inception widths, learning rate multipliers."""

from collections.abc import Mapping
from typing import NamedTuple

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import NetSpec
from caffe.proto.caffe_pb2 import NetParameter

CLASSES = 280
BATCH = 32

# Multipliers of weights and bias, as in bvlc_googlenet: of a layer copied from a caffemodel, and of a new classifier.
COPIED = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
NEW = [{"lr_mult": 10, "decay_mult": 1}, {"lr_mult": 20, "decay_mult": 0}]


class Widths(NamedTuple):
    """Channels of an inception module: the columns of table 1 of Szegedy et al., arXiv:1409.4842."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int


def data_layer(phase: int, folder: str, transform: Mapping[str, object]) -> NetSpec:
    """Return a net with only the data layer of a phase.

    Args:
        phase: caffe.TRAIN or caffe.TEST.
        folder: holds train_lmdb and test_lmdb; relative to the repository, where training is started.
        transform: the layer's transform_param.
    """
    net = NetSpec()
    net.data, net.label = L.Data(
        ntop=2,
        include={"phase": phase},
        transform_param=transform,
        data_param={
            "source": f"{folder}/{'train' if phase == caffe.TRAIN else 'test'}_lmdb",
            "batch_size": BATCH,
            "backend": P.Data.LMDB,
        },
    )
    return net


def train_val(name: str, train: NetSpec, test_data: NetSpec) -> NetParameter:
    """Return the message of `train`, called `name`, with the data layer of the TEST phase inserted after the first."""
    proto = train.to_proto()
    proto.name = name
    proto.layer.insert(1, test_data.to_proto().layer[0])
    return proto
