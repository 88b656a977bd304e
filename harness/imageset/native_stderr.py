"""Capture what the image libraries, written in C, print about an image to standard error."""

from __future__ import annotations

import os


class CapturedStderr:
    """Redirects this process's standard error (file descriptor 2) into memory, for good."""

    def __init__(self) -> None:
        self._file = os.memfd_create("stderr")
        os.dup2(self._file, 2)

    def take_first_line(self) -> str:
        """Return the first line printed since the last call, and discard the rest."""
        size = os.lseek(self._file, 0, os.SEEK_CUR)  # the offset that descriptor 2 shares
        if not size:
            return ""
        text = os.pread(self._file, min(size, 300), 0)
        os.lseek(self._file, 0, os.SEEK_SET)  # the rest is overwritten
        return text.decode(errors="replace").partition("\n")[0].strip()
