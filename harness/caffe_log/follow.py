"""A log that somebody is still writing."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.caffe_log.decode import GZIP, open_log
from harness.caffe_log.reader import Reader
from harness.errors import BadInput
from harness.invocation import command_line

_EVERY = 1.0  # seconds between two looks at a log to which more comes all the time
_IDLE = 0.25  # and between two at one that may have grown
_BLOCK = 1 << 20


class Growing:
    """The log `name` (`-`: standard input), followed to its end. `reader` holds what it says so far; where the log is
    cut short or replaced, another one begins anew, and `renewed` counts it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reader = Reader(name)
        self.renewed = 0

    def looks(self) -> Iterator[None]:
        """Read on; yields when there was something new, but not often. Ends with a pipe, and never with a file.

        Raises:
            BadInput: the log cannot be read, or is packed.
        """
        while True:
            with open_log(self.name) as file:
                yield from self._read(file)
                if _is_pipe(file):
                    return
                os.lseek(file.fileno(), 0, os.SEEK_SET)  # standard input is not opened again
            self.reader = Reader(self.name)
            self.renewed += 1

    def _read(self, file: BinaryIO) -> Iterator[None]:
        """Until the end of a pipe, or until the file is no longer the one whose beginning was read."""
        descriptor, pipe = file.fileno(), _is_pipe(file)
        at, waiting, looked = 0, False, 0.0
        while True:
            ready = not pipe or bool(select.select([descriptor], [], [], _EVERY)[0])
            data = os.read(descriptor, _BLOCK) if ready else b""
            if data:
                if not at:
                    self._check(data)
                self.reader.feed(data)
                at, waiting = at + len(data), True
            elif pipe and ready:
                return
            # once all is read that there is; and now and then where more comes all the time
            if waiting and (not data or (pipe and time.monotonic() - looked > _EVERY)):
                waiting, looked = False, time.monotonic()
                yield
            if not data and not pipe:
                if self._is_another(descriptor, at):
                    return
                time.sleep(_IDLE)

    def _check(self, data: bytes) -> None:
        if data.startswith(GZIP[:1]):  # no text begins with a control code
            source = "-" if self.name == "-" else f"'{self.name}'"
            raise BadInput(
                "packed by gzip, and cannot be followed", file=self.name, field="--follow",
                remedy=f"Leave --follow out, or unpack it: zcat {source} | {command_line('readlog')} - --follow",
            )  # fmt: skip

    def _is_another(self, descriptor: int, at: int) -> bool:
        """The file was cut short, or another one has taken its name."""
        mine = os.fstat(descriptor)
        if mine.st_size < at:
            return True
        try:
            named = mine if self.name == "-" else Path(self.name).stat()
        except OSError:  # moved away, and its successor has not come yet
            return False
        return (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)


def _is_pipe(file: BinaryIO) -> bool:
    return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
