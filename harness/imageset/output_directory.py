"""Check OUT and its disk before the work begins."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import lmdb

from harness.errors import BadInput

OUTPUTS = (
    "train.txt", "test.txt", "classes.txt", "mean.binaryproto", "report.txt", "report.json", "test_lmdb", "train_lmdb",
)  # fmt: skip
PROBE = "probe"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT_SHORT = (errno.EIO, errno.EFBIG)  # LMDB reports a short write as EIO
_NEARLY_FULL = 1 << 24  # bytes


def resolve_output(out: Path) -> Path:
    """Resolve symbolic links of OUT, because results are made next to it and moved there, on the same disk.

    Raises:
        BadInput: a mount point, as its parent is on another disk; a loop of links; not a folder.
    """
    try:
        resolved = out.resolve()
        mounted = [path for path in (resolved, *(resolved / name for name in OUTPUTS)) if path.is_mount()]
        is_file = resolved.exists() and not resolved.is_dir()
    except (OSError, RuntimeError) as error:  # RuntimeError for a loop
        reason = getattr(error, "strerror", None) or "a loop of symbolic links"
        raise BadInput(f"cannot be resolved ({reason})", file=out, remedy="Give another folder") from None
    if mounted:
        raise _mount_point(mounted[0])
    if is_file:
        raise BadInput("not a folder", file=out, remedy="Give a folder")
    return resolved


def check_output(out: Path, part: Path, folder: Path | None, force: bool) -> None:
    """Check that what is made in `part` can be moved to `out`; both are resolved.

    Raises:
        BadInput: it cannot, `out` is inside the folder of images, or (without `force`) something would be replaced.
    """
    if folder is not None and folder.resolve() in (out, *out.parents):
        raise BadInput(
            f"inside {folder}, where it would be a class", file=out, remedy=f"Give a folder outside {folder}"
        )
    existing = [name for name in OUTPUTS if os.path.lexists(out / name)]
    if existing and not force:
        raise BadInput(
            f"already holds {', '.join(existing)}", file=out, remedy="Give another folder, or --force to replace them"
        )
    if out.exists():
        _try_to_move(part / PROBE, out / f"{part.name}.{PROBE}")


def _try_to_move(source: Path, target: Path) -> None:
    source.touch()
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:  # a bind mount of the same disk, which `is_mount` does not detect
            raise _mount_point(target.parent) from None
        if error.errno in _FULL:
            raise
        raise not_writable_error(target.parent, error) from None
    finally:
        source.unlink(missing_ok=True)
    target.unlink()


def _mount_point(path: Path) -> BadInput:
    return BadInput(
        "a mount point: results are made next to it, and cannot be moved there", file=path, remedy="Give a folder in it"
    )


def not_writable_error(path: Path, error: OSError) -> BadInput:
    return BadInput(f"cannot be written ({error.strerror})", file=path, remedy="Give a folder that you may write to")


def is_disk_full(error: OSError | lmdb.Error, folder: Path) -> bool:
    """Check whether `error` is due to a full disk: the one that `folder` is on, or would be."""
    codes = [code for code in (*_FULL, *_CUT_SHORT) if _has_code(error, code)]
    return any(code in _FULL or free_bytes(folder) < _NEARLY_FULL for code in codes)


def _has_code(error: OSError | lmdb.Error, code: int) -> bool:
    return error.errno == code if isinstance(error, OSError) else os.strerror(code) in str(error)


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that `folder` is on, or would be."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def used_bytes(folder: Path) -> int:
    """Return the disk space that the files in `folder` take."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def format_bytes(count: float) -> str:
    """Format a number of bytes, as in 54.3 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"
