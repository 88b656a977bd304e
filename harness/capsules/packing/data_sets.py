"""Cut the data of a training down to the records that a stretch of it reads, as data sets that its layers read.

Each data layer gets one of `data/0`, `data/1` and so on, in which its records come in the same order:

- `Data`: an LMDB with the same keys. LMDB order is the order of keys, so that a layer that begins again at the first
  record does so here, too.
- `ImageData`: `list.txt`, in reading order and not shuffled, and `images/`.
- `HDF5Data`: `rows.h5`, in reading order and not shuffled, and `list.txt`, which names it.
- `WindowData`: `windows.txt` with all windows, since random numbers select among them, and `images/` with the images
  that are cut; all others lead to one of these.

Mean files and infogain matrices lie beside them. Crops and mirrors follow from the seeds and from the random numbers
drawn so far, which stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.caffe_files.hdf5_list import open_hdf5_list
from harness.caffe_files.image_list import open_list
from harness.caffe_files.lmdb_file import open_records, scan_lmdb
from harness.caffe_files.messages import pb
from harness.caffe_files.net import data_param_of
from harness.caffe_files.passes import schedule
from harness.caffe_files.sources import with_mean
from harness.caffe_files.window_file import open_window_file, with_images
from harness.capsules.free_space import check_room
from harness.capsules.packing.records_read import (
    joined,
    lines_read,
    pass_counts,
    rows_read,
    windows_read,
    with_reached_gap,
)
from harness.capsules.packing.subsets import Images, write_list, write_lmdb, write_rows
from harness.errors import BadInput
from harness.schemas.capsule import DATA
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition
from harness.schemas.run_info import DataSource
from harness.training_data.lmdb_scan import scan_apart


@dataclass(frozen=True)
class DataSet:
    """A data set of a capsule.

    Attributes:
        name: its path there, as in `data/0`.
        net: the net of the layer that reads it: 0 for the train net, k for test net k-1.
        layer: its name, and `kind`, its type.
        records: how many it has: records, images, rows or windows.
        of: how many there are in what it was cut from.
    """

    name: str
    net: int
    layer: str
    kind: str
    records: int
    of: int


@dataclass(frozen=True)
class CutData:
    """Nets that read the data sets of a capsule, and their position in these.

    `data` is by `source`, as in the nets.
    """

    nets: tuple[pb.NetParameter, ...]
    point: TrainingPosition
    data: Mapping[str, DataSource]
    sets: tuple[DataSet, ...]


def cut_data(
    nets: Sequence[pb.NetParameter], point: TrainingPosition, solver: pb.SolverParameter, until: int, out: Path
) -> CutData:
    """Write what `nets` read from `point` to the end of iteration `until` - 1 into the directory `out`.

    Args:
        nets: the train net, and all test nets or none, without inputs that cannot be positioned. Their paths count from
            the current directory.
        point: the position of the training, all seeds known, also in test nets that are not kept.
        solver: as the training had it, with all its test nets.
        out: an existing run directory.

    Raises:
        BadInput: a file cannot be read.
        RecordingFailed: the disk is full.
    """
    return _Cutter(nets, point, solver, until, out).cut()


class _Cutter:
    def __init__(
        self,
        nets: Sequence[pb.NetParameter],
        point: TrainingPosition,
        solver: pb.SolverParameter,
        until: int,
        out: Path,
    ) -> None:
        self._point, self._out = point, out
        self._nets = [_copy(net) for net in nets]
        passes = list(schedule(solver, point.iteration, until))
        tested = pass_counts(passes)
        # a test net reads its first batch when it is built
        passes += [(number, 1) for number in range(1, len(nets)) if not tested[number]]
        self._passes = pass_counts(passes)
        self._rows = rows_read(point, passes)
        self._data: dict[str, DataSource] = {}
        self._sets: list[DataSet] = []
        self._lmdbs: dict[tuple[str, bytes], str] = {}  # by source and records
        self._files: dict[str, str] = {}  # mean files and matrices: their paths in the capsule

    def cut(self) -> CutData:
        (self._out / DATA).mkdir()
        kept = len(self._nets)
        places = tuple(self._cut(place) for place in self._point.places if place.net < kept)
        rows = tuple(self._cut_rows(place) for place in self._point.rows if place.net < kept)
        for layer in (layer for net in self._nets for layer in net.layer):
            if layer.type == "InfogainLoss" and layer.infogain_loss_param.source:
                layer.infogain_loss_param.source = self._copied(layer.infogain_loss_param.source, "infogain")
        point = replace(self._point, places=places, rows=rows, rand=None)
        return CutData(tuple(self._nets), point, self._data, tuple(self._sets))

    def _cut(self, place: StreamPosition) -> StreamPosition:
        layer = self._nets[place.net].layer[place.index or 0]
        place = with_reached_gap(place, self._passes[place.net])
        cut = {"Data": self._cut_lmdb, "ImageData": self._cut_list}.get(layer.type, self._cut_windows)
        source, fingerprint, place = cut(layer, place)
        data_param_of(layer).source = source
        if layer.transform_param.HasField("mean_file"):
            mean = self._copied(layer.transform_param.mean_file, "mean")
            layer.transform_param.mean_file = mean
            fingerprint = with_mean(fingerprint, self._out / mean)
        return replace(place, source=source, fingerprint=fingerprint, excluded=())

    def _cut_lmdb(self, layer: pb.LayerParameter, place: StreamPosition) -> tuple[str, str, StreamPosition]:
        records = open_records(Path(place.source), scan=scan_apart)
        lines = lines_read(place, self._passes[place.net], len(records))
        numbers = np.unique(lines)
        name = self._lmdbs.get((place.source, numbers.tobytes()))
        if name is None:
            name = self._new_name()
            self._lmdbs[place.source, numbers.tobytes()] = name
            write_lmdb(Path(place.source), records.keys[numbers].tolist(), self._out / name)
            scanned = scan_lmdb(self._out / name, lambda done, total: None)
            self._data[name] = DataSource(scanned.digest, len(numbers))
            self._note(name, place, layer, len(numbers), len(records))
        first = int(np.searchsorted(numbers, lines[0]))
        return name, self._data[name].fingerprint, replace(place, records=first)

    def _cut_list(self, layer: pb.LayerParameter, place: StreamPosition) -> tuple[str, str, StreamPosition]:
        records = open_list(Path(place.source))
        lines = lines_read(place, self._passes[place.net], len(records))
        name = self._new_name()
        (self._out / name / "images").mkdir(parents=True)
        images = Images(layer.image_data_param.root_folder, self._out / name / "images")
        chosen = [(bytes(records.keys[number]), int(records.labels[number])) for number in lines]
        write_list([(images.copy(key), label) for key, label in chosen], self._out / name / "list.txt")
        layer.image_data_param.root_folder = f"{name}/images/"
        layer.image_data_param.ClearField("shuffle")
        layer.image_data_param.ClearField("rand_skip")
        listed = open_list(self._out / name / "list.txt")
        self._data[f"{name}/list.txt"] = DataSource(listed.fingerprint, len(listed))
        self._note(name, place, layer, len({key for key, _ in chosen}), len(records))
        place = replace(place, records=0, shuffle=False, rand_skip=0, list_seed=None, skipped=None)
        return f"{name}/list.txt", listed.fingerprint, place

    def _cut_windows(self, layer: pb.LayerParameter, place: StreamPosition) -> tuple[str, str, StreamPosition]:
        found = open_window_file(Path(place.source), f"layer {layer.name}")
        numbers = windows_read(place, self._passes[place.net], found, layer)
        name = self._new_name()
        (self._out / name / "images").mkdir(parents=True)
        images = Images(layer.window_data_param.root_folder, self._out / name / "images")
        read = {int(found.image[number]) for number in numbers}
        copied = {number: images.copy(os.fsencode(found.images[number])) for number in read}
        other = next(iter(copied.values()))
        text = with_images(Path(place.source).read_bytes(), [copied.get(n, other) for n in range(len(found.images))])
        check_room(self._out, len(text))
        source = f"{name}/windows.txt"
        (self._out / source).write_bytes(text)
        layer.window_data_param.root_folder = f"{name}/images/"
        written = open_window_file(self._out / source, f"layer {layer.name}")
        self._data[source] = DataSource(written.fingerprint, len(written))
        self._note(name, place, layer, len(numbers), len(found))
        return source, written.fingerprint, place

    def _cut_rows(self, place: RowsPosition) -> RowsPosition:
        layer = self._nets[place.net].layer[place.index]
        files = open_hdf5_list(Path(place.source), layer.name)
        file, row = joined(self._rows[place.net, place.index])
        name = self._new_name()
        (self._out / name).mkdir()
        write_rows(files.names, layer.top, file, row, self._out / name / "rows.h5")
        source = f"{name}/list.txt"
        (self._out / source).write_text(f"{name}/rows.h5\n")
        layer.hdf5_data_param.source = source
        layer.hdf5_data_param.ClearField("shuffle")
        fingerprint = open_hdf5_list(self._out / source, layer.name, str(self._out)).fingerprint
        self._data[source] = DataSource(fingerprint, len(row))
        self._note(name, place, layer, len({*zip(file.tolist(), row.tolist(), strict=True)}), sum(place.counts))
        return replace(
            place, source=source, fingerprint=fingerprint, counts=(len(row),), shuffle=False, records=0, order=None,
            skip_at=0, skip=0, excluded=(),
        )  # fmt: skip

    def _new_name(self) -> str:
        return f"{DATA}/{len(self._sets)}"

    def _note(
        self, name: str, place: StreamPosition | RowsPosition, layer: pb.LayerParameter, records: int, of: int
    ) -> None:
        self._sets.append(DataSet(name, place.net, layer.name, layer.type, records, of))

    def _copied(self, path: str, what: str) -> str:
        """Copy a file that the nets name beside records. Returns its path in the capsule."""
        if path not in self._files:
            name = f"{DATA}/{what}-{len(self._files)}.binaryproto"
            try:
                check_room(self._out, Path(path).stat().st_size)
                shutil.copyfile(path, self._out / name)
            except OSError as error:
                raise BadInput(f"cannot be read ({error.strerror})", file=path, remedy="Put it back") from None
            self._files[path] = name
        return self._files[path]


def _copy(net: pb.NetParameter) -> pb.NetParameter:
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    return copy
