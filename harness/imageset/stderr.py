"""What the image libraries, in C, write to standard error about the image at hand."""

from __future__ import annotations

import os


class Hearing:
    """Takes this process's standard error (file descriptor 2): what is written there is heard here alone."""

    def __init__(self) -> None:
        self._file = os.memfd_create("stderr")
        os.dup2(self._file, 2)

    def said(self) -> str:
        """The first line said since this was last asked."""
        size = os.lseek(self._file, 0, os.SEEK_CUR)  # the offset that descriptor 2 shares
        if not size:
            return ""
        heard = os.pread(self._file, min(size, 300), 0)
        os.lseek(self._file, 0, os.SEEK_SET)  # what is left there is written over
        return heard.decode(errors="replace").partition("\n")[0].strip()
