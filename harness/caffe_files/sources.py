"""The data sources of a training: LMDBs, image lists, HDF5 files and window files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from harness.caffe_files.hdf5_list import HDF5Files
from harness.caffe_files.image_survey import Images
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.window_file import WindowFile


def with_mean(fingerprint: str, mean: Path | None) -> str:
    """Hash `fingerprint`, of the records that a layer reads, and, if it has one, its mean_file.

    Raises:
        OSError: the mean_file cannot be read.
    """
    return fingerprint if mean is None else xxhash.xxh3_128(fingerprint.encode() + mean.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Sources:
    """The records of Data and ImageData layers, the files of HDF5Data layers and the windows of WindowData layers.

    All are found by `source` as the net has it; `listed`, the images of lists that were looked at, by `source` and
    root_folder.
    """

    images: Mapping[str, Records] = field(default_factory=dict)
    rows: Mapping[str, HDF5Files] = field(default_factory=dict)
    windows: Mapping[str, WindowFile] = field(default_factory=dict)
    listed: Mapping[tuple[str, str], Images] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Records | HDF5Files | WindowFile]:
        return {**self.images, **self.rows, **self.windows}
