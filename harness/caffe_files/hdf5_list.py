"""Read the list of an HDF5Data layer: the names of HDF5 files, each with one dataset a top."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import xxhash

from harness.caffe_files.formatting import format_shape
from harness.caffe_files.paths import is_file
from harness.errors import BadInput, nearest

_HASHED = 256 << 20  # bytes of all files together, about
_BLOCK, _BLOCKS = 64 << 10, 64


@dataclass(frozen=True)
class HDF5Files:
    """The HDF5 files of a list, in its order.

    Attributes:
        fingerprint: a hash of the files' sizes and contents. Of a file that is larger than its share of 256 MiB, 2 to
            64 blocks of 64 KiB are hashed, evenly spread.
        names: as in the list.
        shapes: of each file, the shape of each dataset that a layer can read.
    """

    source: Path
    fingerprint: str
    names: tuple[str, ...]
    shapes: tuple[Mapping[str, tuple[int, ...]], ...]

    def rows(self, dataset: str) -> tuple[int, ...]:
        """Return the number of rows of `dataset` in each file."""
        return tuple(shapes[dataset][0] for shapes in self.shapes)

    def __len__(self) -> int:
        """The number of rows, as the files' first datasets have them."""
        return sum(max(shape[0] for shape in shapes.values()) for shapes in self.shapes)


def open_hdf5_list(source: Path, where: str, directory: str = "") -> HDF5Files:
    """Read the list `source` of the layer `where`, and the shapes of the datasets of its files.

    Relative names of files count from `directory`.

    Raises:
        BadInput: the list or a file of it cannot be read, or it is empty.
    """
    try:
        written = source.read_bytes().split()  # as HDF5DataLayer::LayerSetUp parses it
        names = [os.path.join(directory, os.fsdecode(name)) for name in written]  # noqa: PTH118
    except OSError as error:
        raise _bad(f"cannot be read ({error.strerror})", where, source, "Give a list of HDF5 files") from None
    if not names:
        raise _bad("an empty list of HDF5 files", where, source, "Write the path of an HDF5 file on each line")
    digest = xxhash.xxh3_128()
    shapes = []
    for number, name in enumerate(names):
        if not is_file(name):
            raise _bad(
                f"no such HDF5 file: number {number + 1} in {source}",
                where,
                name,
                f"Caffe resolves it from the current directory ({Path.cwd()})",
            )
        try:
            _hash(Path(name), digest, _HASHED // len(names))
            shapes.append(_shapes(Path(name)))
        except (OSError, RuntimeError, LookupError, ValueError, TypeError):  # h5py's, of damaged files
            raise _bad("not an HDF5 file, or a damaged one", where, name, "Write it again") from None
    return HDF5Files(source, digest.hexdigest(), tuple(names), tuple(shapes))


def _bad(problem: str, where: str, value: object, remedy: str) -> BadInput:
    return BadInput(problem, file=where, field="hdf5_data_param.source", value=value, remedy=remedy)


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return what the files `names` are called in keys of their rows: without the directory where that is enough."""
    last = [Path(name).name for name in names]
    return tuple(short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True))


def check_tops(files: HDF5Files, tops: Sequence[str], where: str) -> None:
    """Check that a layer can read its `tops` from every file (HDF5DataLayer::LoadHDF5FileData).

    Raises:
        BadInput: a dataset is missing or is not of numbers, or the datasets do not fit each other.
    """
    for name, shapes in zip(files.names, files.shapes, strict=True):
        for top in tops:
            if top not in shapes:
                raise BadInput(
                    f"{name} has no data set of that name, or not of numbers",
                    file=where,
                    field="top",
                    value=top,
                    remedy=nearest(top, shapes) if shapes else "Write its data sets into it",
                )
            if shapes[top][1:] != files.shapes[0][top][1:]:
                raise BadInput(
                    f"rows of {format_shape(shapes[top][1:])} in {name}, and of "
                    f"{format_shape(files.shapes[0][top][1:])} in {files.names[0]}",
                    file=where,
                    field="top",
                    value=top,
                    remedy=f"Give all files of {files.source} rows of one shape",
                )
        counts = {shapes[top][0] for top in tops}
        if len(counts) > 1 or 0 in counts:
            raise BadInput(
                f"the data sets of {name} have {', '.join(f'{shapes[top][0]:,} ({top})' for top in tops)} rows",
                file=where,
                field="hdf5_data_param.source",
                value=files.source,
                remedy="Give every data set of a file the same number of rows, at least one",
            )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the datasets that hdf5_load_nd_dataset (hdf5.cpp) reads: floats and integers."""
    with h5py.File(path) as file:
        items = {name: file.get(name) for name in file}  # None for a link that leads nowhere
        return {
            name: item.shape
            for name, item in items.items()
            if isinstance(item, h5py.Dataset) and item.ndim and item.dtype.kind in "iuf"
        }


def _hash(path: Path, digest: xxhash.xxh3_128, share: int) -> None:
    blocks = min(max(share // _BLOCK, 2), _BLOCKS)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(b"%d" % size)
        if size <= max(share, blocks * _BLOCK):
            digest.update(file.read())
            return
        for number in range(blocks):
            file.seek((size - _BLOCK) * number // (blocks - 1))
            digest.update(file.read(_BLOCK))
