"""Encode the members of a capsule: bytes as they are, or as zstd, with or without shuffling before.

`shuffle4` puts the first bytes of all float32 numbers together, then the second ones, and so on, as HDF5's filter
`shuffle` does: signs and exponents of weights repeat, their last bits do not. It is done block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
import zstandard

from harness.schemas.capsule import Encoding

BLOCK = 1 << 22  # bytes that are shuffled together, as in docs/file-format.md
_LEVEL = 12
_LARGEST_WINDOW = 1 << 27  # bytes of memory that a frame may ask of a reader; ours ask for 1 << 22


class BadData(Exception):
    """The stored bytes of a member cannot be what it says; the message is the end of a sentence about it."""


def is_zstd(encoding: Encoding) -> bool:
    """Check whether the zip holds a zstd frame, rather than the member's own bytes."""
    return encoding.endswith("zstd")


def encode(source: IO[bytes], target: IO[bytes], encoding: Encoding, size: int) -> None:
    """Write the `size` bytes of `source` to `target`, encoded; "deflate" is left to the zip."""
    if not is_zstd(encoding):
        for block in _blocks(source):
            target.write(block)
        return
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
    with compressor.stream_writer(target, size=size, closefd=False) as writer:
        for block in _blocks(source):
            writer.write(_shuffled(block) if encoding == "shuffle4+zstd" else block)


def decode(source: IO[bytes], encoding: Encoding, size: int) -> Iterator[bytes]:
    """Yield the bytes of a member that `source` has encoded, never more than `size` in all.

    Raises:
        BadData: there are more or fewer, or they are no zstd frame.
    """
    found = 0
    try:
        stream = _decompressed(source, size) if is_zstd(encoding) else source
        for block in _blocks(stream):
            found += len(block)
            if found > size:
                raise BadData(f"unpacks to more than the {size:,} bytes that capsule.json gives for it")
            yield _unshuffled(block) if encoding == "shuffle4+zstd" else block
    except zstandard.ZstdError as error:
        raise BadData(f"is no zstd frame that can be unpacked ({error})") from None
    if found < size:
        raise BadData(f"unpacks to {found:,} bytes, and capsule.json gives {size:,} for it")


def _decompressed(source: IO[bytes], size: int) -> IO[bytes]:
    """Open the zstd frame in `source`, whose header must not claim other than `size` bytes."""
    head = source.read(18)  # bytes of the longest frame header
    claimed = zstandard.frame_content_size(head)
    if claimed not in (-1, size):
        raise BadData(f"holds a zstd frame of {claimed:,} bytes, and capsule.json gives {size:,} for it")
    decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    source.seek(0)
    reader: IO[bytes] = decompressor.stream_reader(source, read_across_frames=True, closefd=False)
    return reader


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    """Read `source` in blocks of BLOCK bytes; only the last one may be shorter."""
    while True:
        block = bytearray()
        while len(block) < BLOCK:
            part = source.read(BLOCK - len(block))
            if not part:
                break
            block += part
        if block:
            yield bytes(block)
        if len(block) < BLOCK:
            return


def _shuffled(block: bytes) -> bytes:
    whole = len(block) // 4 * 4
    return np.frombuffer(block, np.uint8, whole).reshape(-1, 4).T.tobytes() + block[whole:]


def _unshuffled(block: bytes) -> bytes:
    whole = len(block) // 4 * 4
    return np.frombuffer(block, np.uint8, whole).reshape(4, -1).T.tobytes() + block[whole:]
