"""Write parts of data sets: some records of an LMDB, some images of a list, some rows of HDF5 files.

Paths count from the current directory. Nothing that exists is overwritten.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np
import numpy.typing as npt

from harness.caffe_files.lmdb_file import REMEDY
from harness.capsules.free_space import check_room
from harness.capsules.packing.records_read import Numbers
from harness.errors import BadInput
from harness.schemas.capsule import LOCK

_PAGE = 4096
_IN_A_PAGE = 1900  # bytes of key and value up to which LMDB keeps records together in pages (me_nodemax in mdb.c)
_SPARE = 1 << 20  # bytes of an LMDB beside its records
_COMMIT = 64 << 20  # bytes written in one transaction
_LONGEST = 200  # bytes of a file's name
_DEEPEST = 6  # parts of an image's path: a capsule's names have 9 at most (schemas/capsule.py), data/0/images included
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")


def write_lmdb(source: Path, keys: Sequence[bytes], out: Path) -> None:
    """Write the LMDB `out` with the records `keys`, in ascending order, of the LMDB `source`.

    Raises:
        BadInput: one of them cannot be read.
        RecordingFailed: the disk is full.
    """
    out.mkdir()
    with lmdb.open(str(source), readonly=True, lock=True) as environment, environment.begin(buffers=True) as reading:
        sizes = [_room(key, _value(reading, key, source)) for key in keys]
        check_room(out, sum(sizes) + _SPARE)
        with lmdb.open(str(out), map_size=sum(sizes) + _SPARE, lock=False) as copy:
            start = 0
            while start < len(keys):
                stop, written = start, 0
                with copy.begin(write=True) as writing:
                    while stop < len(keys) and written < _COMMIT:
                        writing.put(keys[stop], _value(reading, keys[stop], source), append=True)
                        written, stop = written + sizes[stop], stop + 1
                start = stop


def _value(reading: lmdb.Transaction, key: bytes, source: Path) -> memoryview:
    value = reading.get(key)
    if value is None:
        raise BadInput("no such record any more", file=source, field="key", value=repr(key), remedy=REMEDY)
    return memoryview(value)


def _room(key: bytes, value: memoryview) -> int:
    """Return bytes of an LMDB that hold a record, at most: a large value takes pages of its own, beside its entry."""
    pages = _PAGE * ((len(value) + 16) // _PAGE + 1) if len(key) + len(value) > _IN_A_PAGE else 2 * len(value)
    return pages + 2 * len(key) + 64


class Images:
    """Copies images into the directory `out`, each once.

    Args:
        root: what precedes each name, as in the layer (root_folder).
    """

    def __init__(self, root: str, out: Path) -> None:
        self._root, self._out = os.fsencode(root), out
        self._names: dict[bytes, bytes] = {}

    def copy(self, name: bytes) -> bytes:
        """Copy the image `name` of the list. Returns its name there: the same one, if it is a plain relative path.

        Raises:
            BadInput: it cannot be read.
            RecordingFailed: the disk is full.
        """
        if name in self._names:
            return self._names[name]
        path = Path(os.fsdecode(self._root + name))
        here = os.fsdecode(name) if _is_plain(name) else f"renamed/{len(self._names)}{_suffix(name)}"
        target = self._out / here
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            check_room(self._out, path.stat().st_size)
            shutil.copyfile(path, target)
        except OSError as error:
            raise BadInput(
                f"cannot be copied ({error.strerror})", file=path, remedy="Put the images back that the run read"
            ) from None
        self._names[name] = os.fsencode(here)
        return self._names[name]


def _is_plain(name: bytes) -> bool:
    """Check whether `name` is a path that any system can have, below the directory from which it counts."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    parts = text.split("/")
    short = all(0 < len(part.encode()) <= _LONGEST for part in parts) and len(name) <= 4 * _LONGEST
    plain = text.isprintable() and "\\" not in text and not {".", "..", "renamed", LOCK} & set(parts)
    return plain and short and len(parts) <= _DEEPEST


def _suffix(name: bytes) -> str:
    found = _SUFFIX.search(os.fsdecode(name))
    return found[0] if found else ""


def write_list(lines: Iterable[tuple[bytes, int]], path: Path) -> None:
    """Write a list of images: name and label on each line."""
    text = b"".join(b"%b %d\n" % line for line in lines)
    check_room(path.parent, len(text))
    path.write_bytes(text)


def write_rows(files: Sequence[str], tops: Sequence[str], file: Numbers, row: Numbers, out: Path) -> None:
    """Write the HDF5 file `out` with rows of the datasets `tops`, in this order: `row` of number `file` of `files`.

    Raises:
        BadInput: a file cannot be read.
        RecordingFailed: the disk is full.
    """
    used = np.unique(file).tolist()
    try:
        types = {top: _types([files[number] for number in used], top) for top in tops}
        with h5py.File(files[used[0]]) as first:
            check_room(out.parent, _SPARE + sum(len(row) * _row_bytes(first[top]) for top in tops))
        with h5py.File(out, "w") as written:
            for top in tops:
                # as float32, converted by HDF5 as for Caffe, where the files differ in their types
                kind = types[top].pop() if len(types[top]) == 1 else np.dtype(np.float32)
                written[top] = _rows([files[number] for number in used], top, np.searchsorted(used, file), row, kind)
    except (OSError, KeyError, RuntimeError) as error:
        raise BadInput(
            f"rows of it cannot be copied ({error})", file=files[used[0]], remedy="Put the files back that the run read"
        ) from None


def _types(files: Sequence[str], top: str) -> set[np.dtype[Any]]:
    found = set()
    for name in files:
        with h5py.File(name) as opened:
            found.add(opened[top].dtype)
    return found


def _rows(
    files: Sequence[str], top: str, file: npt.NDArray[np.intp], row: Numbers, kind: np.dtype[Any]
) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] | None = None
    for number, name in enumerate(files):
        with h5py.File(name) as opened:
            dataset = opened[top]
            if values is None:
                values = np.empty((len(row), *dataset.shape[1:]), kind)
            here = file == number
            wanted, which = np.unique(row[here], return_inverse=True)
            values[here] = dataset.astype(kind)[wanted][which]
    assert values is not None
    return values


def _row_bytes(dataset: h5py.Dataset) -> int:
    return int(np.prod(dataset.shape[1:], dtype=np.int64)) * int(dataset.dtype.itemsize)
