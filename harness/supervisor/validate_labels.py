"""Check that labels lie within the classes of the layers that read them; Caffe does not, and reads out of bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.net import NetFile, class_count, data_layers, data_param_of
from harness.errors import BadInput


def check_labels(net: NetFile, records: Mapping[str, Records]) -> None:
    """Check that every label lies within the classes of its readers; otherwise Caffe reads out of bounds."""
    for layer in data_layers(net):
        if len(layer.top) < 2:
            continue
        data = records[data_param_of(layer).source]
        low, high = int(data.labels.min()), int(data.labels.max())
        for position, reader in enumerate(net.layers):
            if reader.type not in ("SoftmaxWithLoss", "Accuracy", "MultinomialLogisticLoss", "InfogainLoss"):
                continue
            if len(reader.bottom) < 2 or reader.bottom[1] != layer.top[1]:
                continue
            classes = class_count(net, position)
            if classes is None or 0 <= low <= high < classes:
                continue
            outside = (data.labels < 0) | (data.labels >= classes)
            for parameter in (reader.loss_param, reader.accuracy_param):
                if parameter.HasField("ignore_label"):
                    outside &= data.labels != parameter.ignore_label
            if outside.any():
                first = int(np.flatnonzero(outside)[0])
                raise BadInput(
                    f"{int(outside.sum()):,} of {len(data):,} labels lie outside 0…{classes - 1}, which layer "
                    f"{reader.name} of {net.source} allows (the first: record {first:,}, key "
                    f"{data.keys[first].decode(errors='replace')}, label {data.labels[first]})",
                    file=data.source,
                    field="label",
                    value=f"{low}…{high}",
                    remedy=f"Set num_output of the classifier to at least {high + 1}, or correct the labels",
                )
