"""Change the records in the data sets of a capsule, where they are: their contents, pixels and names.

Records are numbered in the order of the data set: that of its keys, lines or rows.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import lmdb
import numpy as np

from harness.caffe_files.image_list import parse_lines
from harness.caffe_files.messages import pb
from harness.caffe_files.window_file import open_window_file, with_images
from harness.capsules.shrinking.image_bytes import blank_image, without_metadata
from harness.errors import BadInput

_SPARE = 4 << 20  # bytes of an LMDB beside its records
_PART = ".new"


@dataclass(frozen=True)
class RecordEdits:
    """Changes of a data set.

    Attributes:
        content: the record whose content, label included, takes the place of another one: by that one's number.
        blank: records whose pixels are replaced by their mean; labels stay.
        numbered: keys of records and names of files become numbers in the same order, and what describes an image
            beside its pixels is left out.
    """

    content: Mapping[int, int] = field(default_factory=dict)
    blank: frozenset[int] = frozenset()
    numbered: bool = False


def edit_data_set(directory: Path, kind: str, edits: RecordEdits) -> None:
    """Change the data set in `directory` of a layer of type `kind`.

    Windows have no content of their own; their images are numbered, and blanked by the numbers of the images.

    Raises:
        BadInput: a record is damaged.
    """
    {"Data": _edit_lmdb, "ImageData": _edit_list, "HDF5Data": _edit_rows, "WindowData": _edit_windows}[kind](
        directory, edits
    )


def _edit_lmdb(directory: Path, edits: RecordEdits) -> None:
    part = directory.with_name(f"{directory.name}{_PART}")
    with (
        lmdb.open(str(directory), readonly=True, lock=False) as environment,
        environment.begin() as reading,
    ):
        keys = [key for key, _ in reading.cursor()]
        room = 2 * environment.info()["map_size"] + _SPARE
        with lmdb.open(str(part), map_size=room, lock=False) as copy, copy.begin(write=True) as writing:
            for number, key in enumerate(keys):
                value: bytes = reading.get(keys[edits.content.get(number, number)], b"")
                name = b"%08d" % number if edits.numbered else key
                writing.put(name, _edited_datum(value, number, edits), append=True)
    _replace(directory, part)


def _edited_datum(value: bytes, number: int, edits: RecordEdits) -> bytes:
    if number in edits.blank:
        return blank_datum(value)
    if not edits.numbered:
        return value
    datum = pb.Datum.FromString(value)
    if not datum.encoded:
        return value
    datum.data = without_metadata(datum.data)
    return datum.SerializeToString()


def blank_datum(value: bytes) -> bytes:
    """Return a record of an LMDB with each channel of its image at its mean.

    Raises:
        BadInput: its image cannot be decoded.
    """
    datum = pb.Datum.FromString(value)
    if datum.encoded:
        image = blank_image(datum.data)
        if image is None:
            raise BadInput("a record whose image cannot be decoded", field="data", remedy="Do not blank its pixels")
        datum.data = image
    elif datum.data:
        datum.data = _flat_planes(np.frombuffer(datum.data, np.uint8), datum).tobytes()
    else:
        values = _flat_planes(np.array(datum.float_data, np.float32), datum)
        datum.ClearField("float_data")
        datum.float_data.extend(values.ravel().tolist())
    return datum.SerializeToString()


def _flat_planes(values: np.ndarray, datum: pb.Datum) -> np.ndarray:
    planes = values.reshape(datum.channels, -1)
    means = planes.mean(axis=1, keepdims=True, dtype=np.float64)
    means = np.round(means) if values.dtype == np.uint8 else means
    return np.broadcast_to(means, planes.shape).astype(values.dtype)


def _edit_list(directory: Path, edits: RecordEdits) -> None:
    source, images = directory / "list.txt", _ImageFiles(directory / "images", edits.numbered)
    lines = list(parse_lines(source.read_bytes()))
    written = []
    for number in range(len(lines)):
        name, label = lines[edits.content.get(number, number)]
        written.append(b"%b %d\n" % (images.named(name, number in edits.blank), label))
    source.write_bytes(b"".join(written))
    images.finish()


def _edit_windows(directory: Path, edits: RecordEdits) -> None:
    source, images = directory / "windows.txt", _ImageFiles(directory / "images", edits.numbered)
    found = open_window_file(source, str(source))
    names = [
        images.named(name.encode(errors="surrogateescape"), number in edits.blank)
        for number, name in enumerate(found.images)
    ]
    source.write_bytes(with_images(source.read_bytes(), names))
    images.finish()


def _edit_rows(directory: Path, edits: RecordEdits) -> None:
    source = directory / "rows.h5"
    part = source.with_name(f"{source.name}{_PART}")
    with h5py.File(source, "r") as old, h5py.File(part, "w") as new:
        for name, dataset in _datasets(old):
            order = np.arange(len(dataset))
            for number, other in edits.content.items():
                order[number] = other
            values = dataset[()][order]
            for number in edits.blank if dataset.ndim > 1 else ():
                values[number] = _flat_row(values[number])
            new[name] = values
    os.replace(part, source)


def _flat_row(row: np.ndarray) -> np.ndarray:
    """Return a row with its mean everywhere, or channel by channel if it is an image (channels, height, width)."""
    axes = (1, 2) if row.ndim == 3 else None
    return np.broadcast_to(row.mean(axis=axes, keepdims=True, dtype=np.float64), row.shape).astype(row.dtype)


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    yield from found


class _ImageFiles:
    """The images of a list: those that are named stay, under other names if they are `numbered`."""

    def __init__(self, directory: Path, numbered: bool) -> None:
        self._directory, self._numbered = directory, numbered
        self._new = directory.with_name(f"{directory.name}{_PART}")
        self._new.mkdir()
        self._names: dict[tuple[bytes, bool], bytes] = {}

    def named(self, name: bytes, blank: bool) -> bytes:
        """Keep the image `name`, or a blank one of its size. Returns the name to write into the list."""
        known = self._names.get((name, blank))
        if known is not None:
            return known
        here = self._name(name, blank)
        target = self._new / os.fsdecode(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        old = self._directory / os.fsdecode(name)
        if blank:
            image = blank_image(old.read_bytes())
            if image is None:
                raise BadInput("cannot be decoded", file=old, remedy="Do not blank its pixels")
            target.write_bytes(image)
        elif self._numbered:
            target.write_bytes(without_metadata(old.read_bytes()))
        else:
            shutil.copyfile(old, target)
        self._names[name, blank] = here
        return here

    def finish(self) -> None:
        """Remove the images that were not named."""
        _replace(self._directory, self._new)

    def _name(self, name: bytes, blank: bool) -> bytes:
        if self._numbered or blank:
            suffix = ".png" if blank else Path(os.fsdecode(name)).suffix
            prefix = "" if self._numbered else "blank-"
            return os.fsencode(f"{prefix}{len(self._names):08d}{suffix}")
        return name


def _replace(old: Path, new: Path) -> None:
    shutil.rmtree(old)
    os.replace(new, old)
