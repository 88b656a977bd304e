"""Make a recording whose writer was killed an ordinary HDF5 file again.

A file in SWMR mode (single writer, multiple readers) is consistent after every flush, so a killed writer loses nothing
that was flushed. What it leaves behind is a mark in the superblock, "open for writing", at which a plain open refuses;
`h5clear -s` exists to remove it. The superblock (version 3) is 48 bytes: the mark is byte 11, the end-of-file address
lies at 28, and a lookup3 checksum of the first 44 bytes stands at the end. Source: HDF5 File Format Specification 3.0,
section II.A; the hash is Bob Jenkins' lookup3.c, hashlittle().
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from harness.errors import RecordingError, RecordingFailed
from harness.recording.hdf5_schema import datasets
from harness.schemas.layout import ROWS

_MOST_RESERVED = 64 << 20  # bytes: a few chunks

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = struct.Struct("<8sBBBBQQQQL")


@contextmanager
def write_lock(directory: Path, *, wait: bool = False) -> Iterator[int]:
    """Be the one writer in `directory`, for as long as the block lasts, or a process lives that inherited the lock.

    The lock belongs to the open file that is yielded: a child process that inherits it goes on holding it.

    Raises:
        RecordingFailed: another process writes there.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise RecordingFailed(f"{directory}: another process is recording there") from None
        yield fd
    finally:
        os.close(fd)


@contextmanager
def read_lock(directory: Path) -> Iterator[bool]:
    """Keep writers away from `directory` while the block lasts; False where there is one already."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(fd)


def is_marked_open(path: Path) -> bool:
    """Does the superblock say "open for writing"?

    Raises:
        RecordingError: not an HDF5 file as recordings are.
    """
    return bool(_read_superblock(path)[4])


def repair(path: Path) -> None:
    """Clear the marks of a dead writer, and cut every dataset to the rows that are complete in all of its group.

    Call it while `writing`. A file that was closed is left as it is.
    """
    if is_marked_open(path):
        clear_status_flags(path)
        with h5py.File(path, "r+", libver="latest", locking=False) as file:
            drop_incomplete_rows(file)


def drop_incomplete_rows(file: h5py.File, *, resuming: bool = False) -> None:
    """Cut rows of which a part was never written: a killed writer leaves datasets of unequal length.

    Afterwards there is nothing of an iteration that is not whole, unless a writer is `resuming` with it: then what
    it has of that iteration stays.
    """
    _cut([d for name in ROWS for d in datasets(file[name])])
    times = file["iteration"]
    last = int(times[-1]) if len(times) else -1
    _cut(datasets(file["activation"]), None if resuming else last)
    for net in file["test"]:
        _cut(datasets(file[f"test/{net}"]))
    if "window" in file:
        _cut(datasets(file["window"]), last, spare=1 if resuming else 0)


def _cut(rows: list[h5py.Dataset], last: int | None = None, spare: int = 0) -> None:
    """Make datasets equally long, without iterations after `last`; `spare` rows may be left but of the iterations."""
    complete = min(dataset.shape[0] for dataset in rows)
    if last is not None:
        times = next(dataset for dataset in rows if dataset.name.endswith("/iteration"))
        complete = min(complete, int((times[()] <= last).sum()))
    for dataset in rows:
        keep = complete + (0 if dataset.name.endswith("/iteration") else spare)
        if dataset.shape[0] > keep:
            dataset.resize(keep, axis=0)


def _read_superblock(path: Path) -> tuple[bytes, int, int, int, int, int, int, int, int, int]:
    try:
        with path.open("rb") as file:
            raw = file.read(_SUPERBLOCK.size)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    if len(raw) < _SUPERBLOCK.size or raw[:8] != _SIGNATURE:
        raise RecordingError(f"{path}: not a recording (no HDF5 signature at its start)")
    fields = _SUPERBLOCK.unpack(raw)
    if fields[1] != 3 or fields[2:4] != (8, 8):
        raise RecordingError(f"{path}: not a recording (an HDF5 file, but not written in SWMR mode)")
    return fields


def clear_status_flags(path: Path) -> None:
    """Let a plain open of the file `path` succeed, as `h5clear -s` does."""
    signature, version, offsets, lengths, _, base, extension, end, root, _ = _read_superblock(path)
    with path.open("r+b") as raw:
        size = os.fstat(raw.fileno()).st_size
        if size < end - _MOST_RESERVED:
            raise RecordingError(f"{path}: truncated ({size:,} of {end:,} bytes)")
        if size < end:  # the writer died between reserving the space and writing it
            os.ftruncate(raw.fileno(), end)
        head = struct.pack(
            "<8sBBBBQQQQ", signature, version, offsets, lengths, 0, base, extension, max(end, size), root
        )
        raw.write(head + struct.pack("<L", lookup3(head)))
        raw.flush()
        os.fsync(raw.fileno())


def _rotate(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF


def lookup3(key: bytes) -> int:
    """Bob Jenkins' hashlittle() with initval 0, as HDF5 checksums its metadata."""
    a = b = c = (0xDEADBEEF + len(key)) & 0xFFFFFFFF
    blocks = [key[i : i + 12] for i in range(0, len(key), 12)]
    for block in blocks:
        x, y, z = struct.unpack("<3L", block.ljust(12, b"\0"))
        a, b, c = (a + x) & 0xFFFFFFFF, (b + y) & 0xFFFFFFFF, (c + z) & 0xFFFFFFFF
        if block is not blocks[-1]:
            for p, k in enumerate((4, 6, 8, 16, 19, 4)):
                if p % 3 == 0:
                    a = ((a - c) ^ _rotate(c, k)) & 0xFFFFFFFF
                    c = (c + b) & 0xFFFFFFFF
                elif p % 3 == 1:
                    b = ((b - a) ^ _rotate(a, k)) & 0xFFFFFFFF
                    a = (a + c) & 0xFFFFFFFF
                else:
                    c = ((c - b) ^ _rotate(b, k)) & 0xFFFFFFFF
                    b = (b + a) & 0xFFFFFFFF
    for p, k in enumerate((14, 11, 25, 16, 4, 14, 24)):
        if p % 3 == 0:
            c = ((c ^ b) - _rotate(b, k)) & 0xFFFFFFFF
        elif p % 3 == 1:
            a = ((a ^ c) - _rotate(c, k)) & 0xFFFFFFFF
        else:
            b = ((b ^ a) - _rotate(a, k)) & 0xFFFFFFFF
    return c
