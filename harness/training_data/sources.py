"""Find the data that a run read, and check that they are still the same."""

from __future__ import annotations

from pathlib import Path

from harness.caffe_files.hdf5_list import HDF5Files, open_hdf5_list
from harness.caffe_files.image_list import open_list
from harness.caffe_files.lmdb_file import Records, is_known, open_records
from harness.caffe_files.messages import pb
from harness.caffe_files.paths import is_directory, is_file
from harness.caffe_files.sources import with_mean
from harness.errors import BadInput
from harness.schemas.data_position import RowsPosition, StreamPosition
from harness.training_data.lmdb_scan import scan_apart
from harness.training_data.records import RecordsUnknown

_SCANNED = 4 << 30  # bytes of an LMDB that is read as a whole to check that it is the one of the run


def records_of(directory: Path, layer: pb.LayerParameter, place: StreamPosition) -> Records:
    """Open the LMDB or list of a Data or ImageData layer of a run that was started in `directory`.

    Raises:
        RecordsUnknown: it is gone, has changed, cannot be read, or is too large to be checked.
    """
    source, mean = directory / place.source, layer.transform_param.mean_file
    try:
        if layer.type != "Data" and not is_file(source):
            raise RecordsUnknown(f"{source}, which layer {layer.name} read, is no longer there.")
        if layer.type != "Data":
            records = open_list(source)
        elif not is_directory(source):
            raise RecordsUnknown(f"{source}, which layer {layer.name} read, is no longer there.")
        elif is_known(source) or _size(source) <= _SCANNED:
            records = open_records(source, scan=scan_apart)
        else:
            raise RecordsUnknown(
                f"{source} was not read: whether its records are still those of the run shows only if all "
                f"{_size(source) / 2**30:.0f} GiB of it are read."
            )
    except BadInput as error:
        raise RecordsUnknown(f"{source}, which layer {layer.name} read, cannot be read: {error.problem}.") from None
    try:
        if mean and not is_file(directory / mean):
            raise RecordsUnknown(f"{directory / mean}, the mean_file of layer {layer.name}, is no longer there.")
        fingerprint = with_mean(records.fingerprint, directory / mean if mean else None)
    except OSError as error:
        raise RecordsUnknown(
            f"{directory / mean}, the mean_file of layer {layer.name}, cannot be read ({error.strerror})."
        ) from None
    if fingerprint != place.fingerprint:
        also = " or its mean_file" if mean else ""
        raise RecordsUnknown(f"{source}{also} has changed since the run: its records are no longer those that it read.")
    return records


def _size(source: Path) -> int:
    data = source / "data.mdb"
    return data.stat().st_size if data.is_file() else 0


def files_of(directory: Path, layer: pb.LayerParameter, place: RowsPosition) -> HDF5Files:
    """Open the list of an HDF5Data layer of a run that was started in `directory`.

    Raises:
        RecordsUnknown: it is gone, has changed, or cannot be read.
    """
    source = directory / place.source
    if not is_file(source):
        raise RecordsUnknown(f"{source}, which layer {layer.name} read, is no longer there.")
    try:
        files = open_hdf5_list(source, layer.name, str(directory))
    except BadInput as error:
        raise RecordsUnknown(f"{source}, which layer {layer.name} read, cannot be read: {error.problem}.") from None
    if files.fingerprint != place.fingerprint:
        raise RecordsUnknown(f"The files of {source} have changed since the run: its rows are no longer those it read.")
    return files
