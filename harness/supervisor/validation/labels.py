"""Check that labels and targets suit the losses that read them.

Caffe checks neither: with a label outside the classes it reads out of bounds, and with a sigmoid target outside 0…1 the
loss falls below zero without bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, class_count, data_param_of
from harness.caffe_files.sources import Sources
from harness.errors import BadInput
from harness.supervisor.validation.label_values import (
    Labels,
    labels_of_images,
    labels_of_records,
    labels_of_rows,
    labels_of_windows,
)

_CLASSIFIERS = ("SoftmaxWithLoss", "Accuracy", "MultinomialLogisticLoss", "InfogainLoss", "HingeLoss")
_PASS_ON = ("Reshape", "Flatten", "Split")  # layers whose top has the values of their bottom

Bools = npt.NDArray[np.bool_]


def check_labels(net: NetFile, sources: Sources, excluded: Mapping[int, Sequence[int]]) -> Iterator[str]:
    """Check the labels and targets of the losses of `net` whose values its data hold, and yield warnings.

    Args:
        excluded: the numbers of records that are left out, by the index of their layer.

    Raises:
        BadInput: a label lies outside the classes.
    """
    for position, reader in enumerate(net.layers):
        if len(reader.bottom) < 2 or reader.type not in (*_CLASSIFIERS, "SigmoidCrossEntropyLoss"):
            continue
        classes = class_count(net, position) if reader.type in _CLASSIFIERS else None
        if reader.type in _CLASSIFIERS and classes is None:
            continue
        labels = _labels(net, position, reader.bottom[1], sources, excluded)
        if labels is None:
            continue
        used = ~_ignored(reader, labels.values)
        if classes is not None:
            _check_classes(net, reader, labels, used, classes)
            yield from _fractions(labels, used)
        else:
            yield from _targets(net, reader, labels, used)


def _labels(
    net: NetFile, before: int, blob: str, sources: Sources, excluded: Mapping[int, Sequence[int]]
) -> Labels | None:
    """Find the data of `blob` as the layer at position `before` reads it; None if the data do not hold it as it is."""
    for position in range(before - 1, -1, -1):
        layer = net.layers[position]
        if blob not in layer.top:
            continue
        top = list(layer.top).index(blob)
        if layer.type in _PASS_ON and layer.bottom:
            labels = _labels(net, position, layer.bottom[0], sources, excluded)
            return labels if labels is None or layer.type == "Split" else replace(labels, channels=0)
        sliced = layer.slice_param
        if layer.type == "Slice" and layer.bottom and sliced.axis == 1 and sliced.slice_dim == 1:
            whole = _labels(net, position, layer.bottom[0], sources, excluded)
            return whole.part(top, len(layer.top), list(sliced.slice_point)) if whole else None
        left_out = excluded.get(position, ())
        if layer.type in IMAGES:
            records = sources.images[data_param_of(layer).source]
            if top == 1:
                return labels_of_records(records, left_out)
            return labels_of_images(layer, records, left_out)
        if layer.type in ROWS:
            return labels_of_rows(sources.rows[layer.hdf5_data_param.source], blob, left_out)
        if layer.type in WINDOWS and top == 1:
            return labels_of_windows(sources.windows[layer.window_data_param.source], layer.window_data_param)
        return None
    return None


def _ignored(reader: pb.LayerParameter, values: npt.NDArray[np.float64]) -> Bools:
    """Tell which labels the loss leaves out; it compares them as integers."""
    left_out = np.zeros(values.shape, bool)
    for parameter in (reader.loss_param, reader.accuracy_param):
        if parameter.HasField("ignore_label"):
            left_out |= np.trunc(values) == parameter.ignore_label
    return left_out


def _check_classes(net: NetFile, reader: pb.LayerParameter, labels: Labels, used: Bools, classes: int) -> None:
    whole = np.trunc(labels.values)
    outside = used & ~((whole >= 0) & (whole < classes))  # NaN is outside as well
    if not outside.any():
        return
    low, high = labels.range
    at = labels.first(outside)
    raise BadInput(
        f"{int(outside.sum()):,} of {labels.values.size:,} labels lie outside 0…{classes - 1}, which layer "
        f"{reader.name} of {net.source} allows (the first: {at})",
        file=labels.source,
        field=labels.field,
        value=f"{low:g}…{high:g}",
        remedy=f"Set num_output of the classifier to at least {high + 1:g}, or correct the labels"
        if high >= classes
        else "Correct the labels: they count from 0",
    )


def _fractions(labels: Labels, used: Bools) -> Iterator[str]:
    cut = used & (labels.values != np.trunc(labels.values))
    if cut.any():
        yield (
            f"warning: {labels.source}: {labels.field}: the fraction of {int(cut.sum()):,} of {labels.values.size:,} "
            f"labels is lost, since a class is a whole number (the first: {labels.first(cut)}). Correct the labels"
        )


def _targets(net: NetFile, reader: pb.LayerParameter, labels: Labels, used: Bools) -> Iterator[str]:
    outside = used & ~((labels.values >= 0) & (labels.values <= 1))
    if outside.any():
        low, high = labels.range
        scale = f" (transform_param {{ scale: {1 / high:.8g} }})" if labels.field == "pixels" and high == 255 else ""
        yield (
            f"warning: {net.source}: layer {reader.name} (SigmoidCrossEntropyLoss): its targets in {labels.source} "
            f"({labels.field}) are {low:g}…{high:g}, and must lie in 0…1 (the first outside: {labels.first(outside)}): "
            f"such a loss falls below zero without bound. Scale the targets{scale}"
        )
