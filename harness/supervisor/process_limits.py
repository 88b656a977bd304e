"""Limits of the operating system that would end a run in its middle: open files, sizes of files, lengths of names."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from harness.errors import BadInput
from harness.recording.writer import SPARE_SPACE
from harness.schemas.layout import Layout

_FILES_WANTED = 1024  # more than a run with many prefetch processes opens
_FILES_NEEDED = 32  # a run without them opens 16
_NAME_BYTES, _PATH_BYTES = 255, 4095  # NAME_MAX, PATH_MAX of Linux
_LONGEST_SUFFIX = len(".caffemodel.h5") + 10  # and what temporary files add


def raise_file_limit() -> None:
    """Allow this process and those that it starts to open as many files as a run may need.

    Raises:
        BadInput: the hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < _FILES_NEEDED:
        raise BadInput(f"a process may open only {hard} files, and a run needs {_FILES_NEEDED}", field="ulimit -n",
                       value=hard, remedy="Raise the hard limit (ulimit -Hn, or limits.conf)")  # fmt: skip
    if 0 <= soft < _FILES_WANTED:
        most = _FILES_WANTED if hard < 0 else min(_FILES_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def check_ring_size(mib: int) -> None:
    """Check that the ring buffer, which to the system is a file, may be that large.

    Raises:
        BadInput: it may not.
    """
    _check_file_size((mib << 20) + 8192, "the ring buffer", f"or give --ring-mib less than {mib}")


def black_box_bytes(mib: int) -> int:
    """Return the bytes of a black box of `mib` MiB: fewer if this process may not have so large a file."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return mib << 20 if limit < 0 else min(mib << 20, max(0, limit - (1 << 20)))


def check_file_sizes(layout: Layout, iterations: int) -> None:
    """Check that the recording of `iterations`, and a snapshot, may be as large as they will become.

    Raises:
        BadInput: one may not.
    """
    size = sum(layout.sizes(iterations)) + SPARE_SPACE
    _check_file_size(size, "the recording", "or watch fewer iterations")
    weights = 4 * sum(param.count for param in layout.params)
    _check_file_size(2 * weights, "a snapshot", "or train a smaller net")  # Adam's history has two values for a weight


def _check_file_size(size: int, what: str, otherwise: str) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= limit < size:
        raise BadInput(
            f"{what} needs a file of {size / 2**20:,.0f} MiB, and this process may write files of "
            f"{limit / 2**20:,.1f} MiB",
            field="ulimit -f",
            value=limit // 1024,
            remedy=f"Raise the limit (ulimit -f unlimited), {otherwise}",
        )


def check_names(out: Path, snapshot_name: str, until: int) -> None:
    """Check that the file system takes the names of all files that a run writes into its directory `out`.

    Raises:
        BadInput: a name, or a whole path, is too long.
    """
    snapshot = f"{snapshot_name}_iter_{until}"
    longest = len(os.fsencode(snapshot)) + _LONGEST_SUFFIX
    if longest > _NAME_BYTES:
        raise BadInput(
            f"its snapshots would have names of {longest} bytes, and a name has at most {_NAME_BYTES}",
            field="snapshot_prefix", value=snapshot_name, remedy="Give a shorter one",
        )  # fmt: skip
    path = os.fsencode(out.absolute())
    if max(map(len, path.split(b"/"))) > _NAME_BYTES:
        raise BadInput(f"a name has at most {_NAME_BYTES} bytes", field="--out", value=out, remedy="Give a shorter one")
    if len(path) + len("/snapshots/.writing/") + longest > _PATH_BYTES:
        raise BadInput(
            f"with the names of its snapshots, the path is longer than {_PATH_BYTES} bytes",
            field="--out", value=out, remedy="Give a shorter one",
        )  # fmt: skip
