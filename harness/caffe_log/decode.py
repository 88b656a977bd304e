"""Turn the bytes of a file into whole lines: decompress, decode, strip control codes, drop endless lines."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from harness.caffe_log import patterns
from harness.errors import BadInput

BLOCK = 4 << 20
LONGEST_LINE = 1 << 20
GZIP = b"\x1f\x8b"
_UNWANTED = bytes(set(range(32)) - set(b"\t\n\r\x1b\x07")) + b"\x7f"
_IS_UNWANTED = np.array([code in _UNWANTED for code in range(32)])


@contextmanager
def open_log(path: str) -> Iterator[BinaryIO]:
    """Open the file at `path`, or standard input for `-`.

    Every OSError inside the block is reported as a failure to read the log.

    Raises:
        BadInput: the log cannot be read.
    """
    try:
        if path == "-":
            if sys.stdin is None:
                raise OSError(errno.EBADF, "it is closed")
            yield sys.stdin.buffer
        else:
            with Path(path).open("rb") as file:
                if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
                    raise OSError(errno.EINVAL, "a device")  # /dev/zero has no end
                yield file
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})",
            file=path,
            remedy="Give a log that `caffe train` wrote, or - for standard input",
        ) from error


def read_blocks(source: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """Read `source` in blocks, decompressed if it begins as a gzip file. A damaged one is read up to the damage."""
    read = getattr(source, "read1", source.read)
    first = read(size)
    while len(first) < 2 and (more := read(size)):
        first += more
    if not first.startswith(GZIP):
        while first:
            yield first
            first = read(size)
        return
    decompressor = zlib.decompressobj(31)
    while first:
        try:
            data = decompressor.decompress(first, size)
        except zlib.error:
            return
        if data:
            yield data
        first = decompressor.unconsumed_tail
        if decompressor.eof:
            first, decompressor = decompressor.unused_data, zlib.decompressobj(31)
        first = first or read(size)


class LineSplitter:
    """Splits pieces of a log, which may end anywhere, into blocks of whole lines in UTF-8 without control codes."""

    def __init__(self) -> None:
        self.too_long = 0  # lines that were left out for their length
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._first = b""
        self._tail = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes and return the lines that they complete."""
        if not self._begun:
            self._first += data
            if len(self._first) < 3:
                return
            data = self._begin()
        yield from self._cut(data)

    def _begin(self) -> bytes:
        data, self._first, self._begun = self._first, b"", True
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            self._decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        return data.removeprefix(codecs.BOM_UTF8)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        if self._decoder:
            data = self._decoder.decode(data).encode(errors="replace")
        for begin in range(0, len(data), LONGEST_LINE):
            piece = data[begin : begin + LONGEST_LINE]
            first, last = piece.find(b"\n") + 1, piece.rfind(b"\n") + 1
            if first:
                if self._skipping or len(self._tail) + first > LONGEST_LINE:
                    self.too_long += 1
                    self._skipping = False
                    whole = piece[first:last]
                else:
                    whole = bytes(self._tail) + piece[:last]
                self._tail.clear()
                if whole:
                    yield clean(whole)
            if not self._skipping:
                self._tail += piece[last:]
            if len(self._tail) > LONGEST_LINE:
                self._skipping = True
                self._tail.clear()

    def finish(self) -> Iterator[bytes]:
        """Return what is left at the end: whole lines that were held back, then a last line without a newline."""
        if not self._begun and self._first:
            yield from self._cut(self._begin())
        if self._skipping:
            self.too_long += 1
        elif self._tail:
            yield clean(bytes(self._tail))


def clean(text: bytes) -> bytes:
    """Remove control codes, colours and Windows line ends; newlines stay."""
    if b"\x1b" in text:
        text = patterns.ANSI.sub(b"", text)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if not text.isascii():
        text = text.replace(patterns.BLANK, b" ").replace(patterns.NO_BLANK, b"")
    return text.translate(None, _UNWANTED) if _has_unwanted(text) else text


def _has_unwanted(text: bytes) -> bool:
    """Check for codes of _UNWANTED, in a fraction of the time in which they are removed."""
    codes = np.frombuffer(text, np.uint8)
    return b"\x7f" in text or bool(_IS_UNWANTED[codes[np.flatnonzero(codes < len(_IS_UNWANTED))]].any())
