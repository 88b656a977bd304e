"""Preallocation of disk space for a recording.

HDF5 does not survive a failed write: closing the file fails too, and the process segfaults when its objects are freed.
So blocks beyond the file's end are allocated ahead of every write (fallocate(2) with FALLOC_FL_KEEP_SIZE, which does
not change the file's size), and a full disk shows there, before anything is damaged.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from contextlib import suppress
from pathlib import Path

import h5py

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, linux/falloc.h
_STEP = 4 << 20  # bytes allocated at once

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Preallocation:
    """Blocks allocated for the file `path`, at least `margin` bytes more than requested."""

    def __init__(self, path: Path, margin: int) -> None:
        self._path = path
        self._margin = margin
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._end = os.fstat(self._fd).st_size

    def extend(self, end: int) -> None:
        """Allocate blocks for the file's bytes up to `end`.

        Raises:
            OSError: the disk has none left, or the process may not write that much (ulimit -f).
        """
        wanted = end + self._margin
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)  # which fallocate does not heed unless the size changes
        if 0 <= limit < wanted:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self._path))
        if wanted <= self._end:
            return
        wanted += _STEP
        if _fallocate(self._fd, _KEEP_SIZE, self._end, wanted - self._end) != 0:
            number = ctypes.get_errno()
            if number not in (errno.EOPNOTSUPP, errno.ENOSYS):  # the file system does not support it: do without
                raise OSError(number, os.strerror(number), str(self._path))
        self._end = wanted

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    @property
    def free(self) -> int:
        """Bytes that are free on the file's disk."""
        disk = os.fstatvfs(self._fd)
        return disk.f_bavail * disk.f_frsize

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more."""
        return os.fstat(self._fd).st_nlink == 0

    def sync(self) -> None:
        """Write the file to the disk itself."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Free the blocks that were not used."""
        os.ftruncate(self._fd, os.fstat(self._fd).st_size)
        os.close(self._fd)


def let_go(file: h5py.File) -> None:
    """Close an HDF5 file without another write to it, as a kill would.

    What HDF5 still writes goes to a scratch file in memory. After a failed write it would crash while closing the file.
    """
    scratch = os.memfd_create("caffe-harness-scratch")
    os.dup2(scratch, file.id.get_vfd_handle(), inheritable=False)
    os.close(scratch)
    with suppress(OSError, RuntimeError):
        file.close()
