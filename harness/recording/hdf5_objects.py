"""The objects of an HDF5 file that may come from a stranger, without a read of their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from harness.errors import RecordingError

_DEEPEST = 100  # groups in each other: parts of a name between its slashes


@dataclass(frozen=True)
class DatasetFacts:
    """What an HDF5 file says of one of its datasets."""

    shape: tuple[int, ...]
    grows: bool  # along its first axis
    dtype: np.dtype[Any]
    chunked: bool
    elsewhere: bool  # its values are in another file
    filters: frozenset[int]
    stored: int  # bytes

    @classmethod
    def of(cls, dataset: h5py.h5d.DatasetID) -> DatasetFacts:
        plist, space = dataset.get_create_plist(), dataset.get_space()
        layout, limits = plist.get_layout(), space.get_simple_extent_dims(True)
        elsewhere = layout == h5py.h5d.VIRTUAL or plist.get_external_count() > 0
        return cls(
            space.get_simple_extent_dims(),
            grows=bool(limits) and limits[0] == h5py.h5s.UNLIMITED,
            dtype=dataset.dtype,
            chunked=layout == h5py.h5d.CHUNKED,
            elsewhere=elsewhere,
            filters=frozenset(plist.get_filter(number)[0] for number in range(plist.get_nfilters())),
            stored=0 if elsewhere else dataset.get_storage_size(),
        )


def objects_of(path: Path, file: h5py.File) -> Iterator[tuple[str, DatasetFacts | None]]:
    """List all objects: their paths below the root, and what is known of the datasets (None: a group).

    Raises:
        RecordingError: one is no group or dataset, or is linked twice or by a link that is not hard.
    """
    root = h5py.h5g.open(file.id, b"/")
    seen = {h5py.h5o.get_info(root).addr}
    groups = [("", root)]
    while groups:
        above, group = groups.pop()
        for key in group:
            name = above + key.decode(errors="replace")
            if group.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                raise RecordingError(f"{path}: refused: /{name} is a link to another place or file")
            info = h5py.h5o.get_info(group, key)
            if info.addr in seen:
                raise RecordingError(f"{path}: refused: /{name} is a second link to an object")
            seen.add(info.addr)
            if info.type == h5py.h5o.TYPE_DATASET:
                yield name, DatasetFacts.of(h5py.h5d.open(group, key))
            elif info.type == h5py.h5o.TYPE_GROUP and name.count("/") < _DEEPEST:
                yield name, None
                groups.append((f"{name}/", h5py.h5g.open(group, key)))
            else:
                raise RecordingError(f"{path}: refused: /{name} is neither a group nor a dataset")
