"""The datasets of the arrays in windows.

A net may have thousands of blobs, and each has one dataset for its weights, gradients and updates. They are created and
opened through HDF5's own functions, as h5py has them: its groups and attributes take three times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5ds, h5p, h5s, h5t

from harness.recording.checksums import COLUMN
from harness.schemas import layout as fmt
from harness.schemas.layout import Array

_TEXT = h5t.py_create(h5py.string_dtype(), logical=True)
_SCALAR = h5s.create(h5s.SCALAR)
_CHUNK = 1 << 16  # bytes of a chunk with several rows: a reader of one row reads all of them
_CHUNKS = 8 << 20  # bytes of one such chunk of each array
_CHUNK_ROWS = 16
_REFERENCES = "REFERENCE_LIST"  # of a dimension scale (HDF5 Dimension Scale Specification)


class References:
    """The references of dimension scales to the datasets that they are attached to, while many are created.

    HDF5 rewrites the whole list of a scale with each dataset that is attached to it. So the lists are taken away from
    time to time, and put back as a whole in the end.
    """

    def __init__(self) -> None:
        self._taken: dict[h5py.Dataset, list[npt.NDArray[np.void]]] = {}

    def take(self, scales: Iterable[h5py.Dataset]) -> None:
        """Take the lists of `scales` away."""
        for scale in scales:
            if _REFERENCES in scale.attrs:
                self._taken.setdefault(scale, []).append(scale.attrs[_REFERENCES])
                del scale.attrs[_REFERENCES]

    def put_back(self) -> None:
        """Write all that was taken away."""
        for scale, parts in self._taken.items():
            scale.attrs[_REFERENCES] = np.concatenate(parts)


def create_dataset(
    file: h5py.File, path: str, array: Array, rows: int, scales: Sequence[h5py.Dataset], column: int
) -> None:
    """Create the dataset of `array`, which grows along its first axis.

    Args:
        path: its path in `file`.
        rows: of a chunk, see `chunk_rows`.
        scales: dimension scale of each axis, the first of which is that of the rows.
        column: its column among the checksums of the rows.
    """
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5t.CSET_UTF8)
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk(_chunk(array, rows))
    largest = (h5s.UNLIMITED, *(size or h5s.UNLIMITED for size in array.shape))  # an axis of length 0 cannot be fixed
    space = h5s.create_simple((0, *array.shape), largest)
    kind = h5t.py_create(np.dtype(array.dtype))
    dataset = h5d.create(file.id, path.encode(), kind, space, properties, links)
    for axis, scale in enumerate(scales):
        h5ds.attach_scale(dataset, scale.id, axis)
    for name, text in (("description", array.group), ("name", array.label)):
        h5a.create(dataset, name.encode(), _TEXT, _SCALAR).write(np.array(text, object))
    h5a.create(dataset, COLUMN.encode(), h5t.STD_I64LE, _SCALAR).write(np.array(column, "<i8"))


def chunk_rows(arrays: Sequence[Array], iterations: int) -> list[int]:
    """Choose the rows of a chunk of each of `arrays`, which may get a row for each of `iterations`.

    Several rows of a small array are written at once, as fast as one. When the file is closed, the last chunk of each
    array is rewritten, so all of them together have few bytes.
    """
    largest = min(_CHUNK, _CHUNKS // max(1, len(arrays)))
    most = max(1, min(_CHUNK_ROWS, iterations))
    return [max(1, min(most, largest // array.nbytes)) if array.nbytes else 1 for array in arrays]


def _chunk(array: Array, rows: int) -> tuple[int, ...]:
    """Compute the shape of a chunk: `rows`, or one in parts of at most SLAB bytes."""
    if not array.shape:
        return (rows,)
    parts = fmt.slab_rows(array.shape[0], array.nbytes // max(1, array.shape[0]), fmt.SLAB)
    return (rows, *(max(1, size) for size in (parts, *array.shape[1:])))


def open_dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """Open a dataset, which h5py's `file[path]` does as well, but slowly."""
    return h5py.Dataset(h5d.open(file.id, path.encode()))
