"""Edits of a finished recording that happen completely or not at all.

HDF5 writes what an edit changes piece by piece, in no particular order: a kill in between leaves a damaged file. So an
edit is made in memory, and the pages that it changes are written to a journal beside the recording. Once the journal is
on the disk, they are written to the recording. Whoever finds a journal writes its pages again, and removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import msgspec
import xxhash

from harness.atomic_write import sync, write_whole
from harness.errors import RecordingError
from harness.recording.overlay import Overlay, Page
from harness.recording.superblock import MAX_RESERVED, cleared

_DIGEST = 8  # bytes of the digest before the content of a journal


class Journal(msgspec.Struct, frozen=True):
    """What is to be done: write `pages` to the recording, cut it to `size` bytes, replace run.json by `run_info`."""

    pages: list[Page]
    size: int
    run_info: bytes | None


def journal_of(recording: Path) -> Path:
    """Return the path of the journal of the file `recording`; it exists while an edit is not finished."""
    return recording.with_name(f".{recording.name}.journal")


def read_journal(recording: Path) -> Journal | None:
    """Read the journal of the file `recording`; None if there is none.

    Raises:
        RecordingError: it is damaged.
        OSError: it cannot be read.
    """
    path = journal_of(recording)
    if not path.exists():
        return None
    if path.is_file():  # reading a named pipe would wait forever
        raw = path.read_bytes()
        content = raw[_DIGEST:]
        with suppress(msgspec.DecodeError):
            journal = msgspec.msgpack.decode(content, type=Journal)
            if xxhash.xxh3_64_digest(content) == raw[:_DIGEST] and _fits(journal, recording.stat().st_size):
                return journal
    raise RecordingError(f"{path}: damaged. Remove it to read {recording.name} as it is")


def _fits(journal: Journal, size: int) -> bool:
    """Check that all pages are within the file as it will be, which is hardly larger than its `size`."""
    ends = [offset + len(data) for offset, data in journal.pages]
    starts = [offset for offset, _ in journal.pages]
    return min(starts, default=0) >= 0 and max(ends, default=0) <= journal.size <= size + MAX_RESERVED


def edit(recording: Path, change: Callable[[h5py.File], None], run_info: bytes | None = None) -> None:
    """Change a recording that no process has open for writing, and clear the status flags of a dead writer.

    Call it while holding `write_lock`.

    Args:
        recording: the file.
        change: edits the HDF5 file.
        run_info: the new content of run.json beside it; None leaves that as it is.

    Raises:
        RecordingError: not an HDF5 file as recordings are, or truncated.
        OSError: the disk is full, or the directory cannot be written.
    """
    with Overlay(recording) as overlay:
        superblock, overlay.size = cleared(recording)
        overlay.write(memoryview(superblock))
        with h5py.File(overlay, "r+", libver="latest") as file:
            change(file)
        journal = Journal(overlay.pages, overlay.size, run_info)
    content = msgspec.msgpack.encode(journal)
    sync(recording)  # the changed pages refer to what was written before them: that lasts first
    write_whole(journal_of(recording), xxhash.xxh3_64_digest(content) + content)
    _carry_out(recording, journal)


def finish(recording: Path) -> None:
    """Complete an edit of `recording` in whose middle a process was killed.

    Raises:
        RecordingError: its journal is damaged.
        OSError: the disk is full, or a file cannot be written.
    """
    journal = read_journal(recording)
    if journal is not None:
        _carry_out(recording, journal)


def _carry_out(recording: Path, journal: Journal) -> None:
    fd = os.open(recording, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for offset, data in journal.pages:
            written = 0
            while written < len(data):
                written += os.pwrite(fd, data[written:], offset + written)
        os.ftruncate(fd, journal.size)
        os.fsync(fd)
    finally:
        os.close(fd)
    if journal.run_info is not None:
        write_whole(recording.with_name("run.json"), journal.run_info)
    journal_of(recording).unlink()
    sync(recording.parent)
