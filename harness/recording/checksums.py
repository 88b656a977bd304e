"""Checksums of what a recording holds: XXH3-64 of a row and its iteration, of a table, and of the attributes.

HDF5 has a checksum filter for chunks (fletcher32). It does not fit a file that grows: the last chunk is written over
again at every flush, so a reader of a live recording, or of one whose writer was killed, may find a chunk that is half
new, and then none of its rows can be read. A checksum of each row is appended like the row, and covers nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from harness.schemas.layout import Activation, Param

CHECKSUM = "checksum"  # name of the datasets, the attributes and the field that hold checksums
COLUMN = "checksum_column"  # attribute of a dataset: its column in the checksums of its group
SCALARS = ("lr", "loss", "smoothed_loss", "seconds", "digest")  # which have one checksum together
_AT_ONCE = 4096  # rows that are copied at a time


def row_checksums(iterations: npt.NDArray[np.int64], *columns: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Return the checksums (n, columns) of n rows of several datasets, which belong to `iterations` (n,)."""
    return np.stack([_column(iterations, rows) for rows in columns], axis=1)


def _column(iterations: npt.NDArray[np.int64], rows: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    count = len(iterations)
    if not count:
        return np.empty(0, np.uint64)
    values = np.ascontiguousarray(rows).reshape(count, -1).view(np.uint8)
    times = np.ascontiguousarray(iterations).view(np.uint8).reshape(count, -1)
    found = np.empty(count, np.uint64)
    for first in range(0, count, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        data = np.concatenate([values[part], times[part]], axis=1)
        whole_rows = data.view(f"V{data.shape[1]}").ravel().tolist()
        found[part] = list(map(xxhash.xxh3_64_intdigest, whole_rows))
    return found


def iteration_bytes(iteration: int) -> bytes:
    """Return the bytes of an iteration, which end what a checksum of a row covers."""
    return np.int64(iteration).tobytes()


def scalar_rows(scalars: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.uint64]:
    """Return the bits (n, 5) of SCALARS at n iterations."""
    return np.stack([np.ascontiguousarray(scalars[name]).view(np.uint64) for name in SCALARS], axis=1)


def table_checksum(rows: Sequence[Param | Activation]) -> int:
    """Return the checksum of /param, /input or /blob."""
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(rows))


def attributes_checksum(attributes: Mapping[str, str | int | float | bool]) -> int:
    """Return the checksum of the root's attributes, but for itself and `closed`, which changes."""
    kept = {name: value for name, value in attributes.items() if name not in (CHECKSUM, "closed")}
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(sorted(kept.items())))


def alarm_checksum(alarm: np.void) -> int:
    """Return the checksum of a row of /alarm, whose last field it is."""
    return xxhash.xxh3_64_intdigest(alarm.tobytes()[: -alarm.dtype[CHECKSUM].itemsize])
