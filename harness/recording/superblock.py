"""The status flags in the superblock of an HDF5 file: read them, and make a superblock without them.

A file in SWMR mode (single writer, multiple readers) is consistent after every flush, so a killed writer loses nothing
that was flushed. It leaves the flag "open for writing" behind, at which a plain open refuses; `h5clear -s` exists to
clear it. The superblock (version 3) is 48 bytes: the flags are byte 11, the end-of-file address is at 28, and a lookup3
checksum of the first 44 bytes is at the end. Source: HDF5 File Format Specification 3.0, section II.A; the hash is Bob
Jenkins' lookup3.c, hashlittle().
"""

from __future__ import annotations

import struct
from pathlib import Path

from harness.errors import RecordingError

MAX_RESERVED = 64 << 20  # bytes that a writer may have reserved and not written: a few chunks
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = struct.Struct("<8sBBBBQQQQL")


def is_marked_open(path: Path) -> bool:
    """Check whether the superblock says "open for writing".

    Raises:
        RecordingError: not an HDF5 file as recordings are.
    """
    return bool(_read_superblock(path)[4])


def cleared(path: Path) -> tuple[bytes, int]:
    """Return the superblock of the file `path` without status flags, as `h5clear -s` writes it, and the file's size.

    The size is larger than that of the file if its writer died between reserving space and writing it.

    Raises:
        RecordingError: not an HDF5 file as recordings are, or truncated.
    """
    signature, version, offsets, lengths, _, base, extension, end, root, _ = _read_superblock(path)
    size = path.stat().st_size
    if size < end - MAX_RESERVED:
        raise RecordingError(f"{path}: truncated ({size:,} of {end:,} bytes)")
    size = max(size, end)
    head = struct.pack("<8sBBBBQQQQ", signature, version, offsets, lengths, 0, base, extension, size, root)
    return head + struct.pack("<L", lookup3(head)), size


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


def _rotate(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF


def lookup3(key: bytes) -> int:
    """Bob Jenkins' hashlittle() with initval 0, HDF5's checksum of its metadata."""
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
