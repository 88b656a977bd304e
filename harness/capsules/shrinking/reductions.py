"""Make a capsule's run directory smaller: leave out records, freeze layers, forget the history, round the weights."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.hdf5_list import open_hdf5_list
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.image_list import open_list
from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.sources import with_mean
from harness.caffe_files.stored_numbers import change_numbers, history_blobs, model_blobs, weight_digest
from harness.caffe_files.window_file import open_window_file
from harness.capsules.shrinking.freezing import frozen_net, frozen_numbers
from harness.capsules.shrinking.record_edits import RecordEdits, edit_data_set
from harness.recording import Recording
from harness.recording.run_directory import read_info, write_info
from harness.recording.snapshots import iterations_of, read_snapshot, write_snapshot
from harness.rounding import MANTISSA, rounded
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition
from harness.schemas.run_info import DataSource, RunInfo, SnapshotInfo


@dataclass(frozen=True)
class Reduction:
    """What is changed in the run directory of a capsule.

    Attributes:
        records: edits of its data sets, by their directories (`data/0`).
        frozen: layers whose learning rates and history are 0, by their unique names.
        without_history: the solver's history is 0.
        mantissa: bits that are kept of the mantissa of weights and history.
    """

    records: Mapping[str, RecordEdits] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    without_history: bool = False
    mantissa: int = MANTISSA


@dataclass(frozen=True)
class DataSet:
    """A data set of a capsule: its directory, the type of the layer that reads it, and its number of records."""

    name: str
    kind: str
    records: int


def data_sets(info: RunInfo) -> tuple[DataSet, ...]:
    """List the data sets that the nets of a capsule read."""
    found: dict[str, DataSet] = {}
    for place in info.point.inputs:
        name = data_set_of(info, place)
        found.setdefault(name, DataSet(name, _layer(info, place).type, info.data[place.source].records))
    return tuple(found.values())


def data_set_of(info: RunInfo, place: StreamPosition | RowsPosition) -> str:
    """Return the directory of the data set that a layer reads: its source, or where the list is that its source is."""
    return place.source if _layer(info, place).type == "Data" else place.source.rpartition("/")[0]


def reduce_run(run: Path, reduction: Reduction, out: Path) -> None:
    """Copy the run directory `run` of a capsule to `out`, with changes.

    Its recording stays that of the run before these changes.

    Raises:
        BadInput: a file is damaged.
    """
    shutil.copytree(run, out)
    info = read_info(out)
    kinds = {data.name: data.kind for data in data_sets(info)}
    for name, edits in reduction.records.items():
        edit_data_set(out / name, kinds[name], edits)
    path = iterations_of(out / "snapshots")[info.first]
    snapshot = read_snapshot(path)
    digest = _change_snapshot(out, path, snapshot, reduction)
    net = parse_text(info.net, pb.NetParameter, out)
    changes = changed_inputs(out, info)
    if reduction.frozen:
        frozen = frozen_net(net, reduction.frozen, blob_counts(path.with_name(snapshot.caffemodel)))
        changes["net"] = text_format.MessageToString(frozen)
    write_info(out, msgspec.structs.replace(info, **changes, directory=str(out)))
    history = digest_history(path.with_name(snapshot.solverstate)).history
    changes |= {"point": _point(snapshot.point, out, info)}
    write_snapshot(path, msgspec.structs.replace(snapshot, **changes, weight_digest=digest, history_digest=history))


def blob_counts(model: Path) -> Mapping[str, int]:
    """Count the param blobs of each layer in a caffemodel, by its unique name; shared ones count for each."""
    with model_blobs(model) as blobs:
        return Counter(blob.layer for blob in blobs)


def _change_snapshot(run: Path, path: Path, snapshot: SnapshotInfo, reduction: Reduction) -> str:
    """Change weights and history. Returns the digest of the weights."""
    with Recording(run, may_repair=False) as recording:
        params = recording.params
    few_bits = partial(rounded, bits=reduction.mantissa)
    with model_blobs(path.with_name(snapshot.caffemodel)) as blobs:
        if reduction.mantissa < MANTISSA:
            change_numbers(blobs, few_bits)
        digest = weight_digest(blobs, params, snapshot.digest_kind)
    frozen = frozen_numbers(params, reduction.frozen)
    with history_blobs(path.with_name(snapshot.solverstate)) as blobs:
        still = [blob for blob in blobs if reduction.without_history or blob.index % max(1, len(params)) in frozen]
        change_numbers(still, np.zeros_like)
        if reduction.mantissa < MANTISSA:
            change_numbers(blobs, few_bits)
    return digest


def changed_inputs(run: Path, info: RunInfo) -> dict[str, Any]:
    """Return the fields `data` and `point` of the run.json `info` for the data sets as they are now."""
    data = {source: DataSource(_fingerprint(run, info, source), old.records) for source, old in info.data.items()}
    return {"data": data, "point": _point(info.point, run, info)}


def _point(point: TrainingPosition, run: Path, info: RunInfo) -> TrainingPosition:
    """Return a position with the fingerprints that the data sets of a run directory have now."""
    places = []
    for place in point.places:
        fingerprint = _fingerprint(run, info, place.source)
        mean = _layer(info, place).transform_param.mean_file
        places.append(replace(place, fingerprint=with_mean(fingerprint, run / mean if mean else None)))
    rows = [replace(place, fingerprint=_fingerprint(run, info, place.source)) for place in point.rows]
    return replace(point, places=tuple(places), rows=tuple(rows))


def _fingerprint(run: Path, info: RunInfo, source: str) -> str:
    kind = next(_layer(info, place).type for place in info.point.inputs if place.source == source)
    match kind:
        case "Data":
            return open_records(run / source).fingerprint
        case "ImageData":
            return open_list(run / source).fingerprint
        case "HDF5Data":
            return open_hdf5_list(run / source, source, str(run)).fingerprint
        case _:
            return open_window_file(run / source, source).fingerprint


def _layer(info: RunInfo, place: StreamPosition | RowsPosition) -> pb.LayerParameter:
    text = (info.net, *info.test_nets)[place.net]
    assert place.index is not None  # positions of capsules have been made by this version
    return parse_text(text, pb.NetParameter, Path("run.json")).layer[place.index]
