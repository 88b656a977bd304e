"""Follow a log that is still being written."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.caffe_log.decode import GZIP, open_log
from harness.caffe_log.reader import LogReader
from harness.errors import BadInput
from harness.invocation import next_command, path_argument

_BUSY_INTERVAL = 1.0  # seconds between two updates while more arrives all the time
_IDLE_INTERVAL = 0.25  # seconds between two checks whether a file has grown
_BLOCK = 1 << 20


class FollowedLog:
    """The log `name` (`-`: standard input) while it grows.

    `reader` holds the state so far. When the log is truncated or replaced, a new reader begins, and `restarts` counts
    it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reader = LogReader(name)
        self.restarts = 0

    def updates(self) -> Iterator[None]:
        """Read on, and yield when there is something new, but not often. Ends with a pipe, never with a file.

        Raises:
            BadInput: the log cannot be read, or is compressed.
        """
        while True:
            with open_log(self.name) as file:
                yield from self._read(file)
                if _is_pipe(file):
                    return
                os.lseek(file.fileno(), 0, os.SEEK_SET)  # standard input is not opened again
            self.reader = LogReader(self.name)
            self.restarts += 1

    def _read(self, file: BinaryIO) -> Iterator[None]:
        """Read to the end of a pipe, or until the file has been truncated or replaced."""
        descriptor, pipe = file.fileno(), _is_pipe(file)
        position, pending, yielded_at = 0, False, 0.0
        while True:
            ready = not pipe or bool(select.select([descriptor], [], [], _BUSY_INTERVAL)[0])
            data = os.read(descriptor, _BLOCK) if ready else b""
            if data:
                if not position:
                    self._check(data)
                self.reader.feed(data)
                position, pending = position + len(data), True
            elif pipe and ready:
                return
            # when everything available has been read; and now and then if more arrives all the time
            if pending and (not data or (pipe and time.monotonic() - yielded_at > _BUSY_INTERVAL)):
                pending, yielded_at = False, time.monotonic()
                yield
            if not data and not pipe:
                if self._is_replaced(descriptor, position):
                    return
                time.sleep(_IDLE_INTERVAL)

    def _check(self, data: bytes) -> None:
        if data.startswith(GZIP[:1]):  # no text begins with a control code
            source = "-" if self.name == "-" else path_argument(self.name)
            raise BadInput(
                "compressed by gzip, and cannot be followed", file=self.name, field="--follow",
                remedy=f"Omit --follow, or decompress it: zcat {source} | {next_command('readlog')} - --follow",
            )  # fmt: skip

    def _is_replaced(self, descriptor: int, position: int) -> bool:
        """Check whether the file was truncated, or another file now has its name."""
        opened = os.fstat(descriptor)
        if opened.st_size < position:
            return True
        try:
            named = opened if self.name == "-" else Path(self.name).stat()
        except OSError:  # moved away, and its successor does not exist yet
            return False
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)


def _is_pipe(file: BinaryIO) -> bool:
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
