"""What the image libraries, in C, write to standard error about the image at hand."""

from __future__ import annotations

import os


class Hearing:
    """Takes this process's standard error (file descriptor 2): what is written there is heard here alone."""

    def __init__(self) -> None:
        self._file = os.memfd_create("stderr")
        os.dup2(self._file, 2)

    def start(self) -> None:
        """Forget what was said so far."""
        if os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)
            os.ftruncate(self._file, 0)

    def end(self) -> str:
        """The first line said since `start`."""
        size = os.lseek(self._file, 0, os.SEEK_CUR)  # the offset that descriptor 2 shares
        return os.pread(self._file, min(size, 300), 0).decode(errors="replace").partition("\n")[0].strip()
