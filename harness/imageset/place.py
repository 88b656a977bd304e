"""OUT and the disk that it is on: what is wrong with them is found before there is any work to lose."""

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
_ELSEWHERE = "Give a folder that you may write to"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT_SHORT = (errno.EIO, errno.EFBIG)  # LMDB makes EIO of a write that was cut short
_LITTLE = 1 << 24  # bytes


def resolved(out: Path) -> Path:
    """OUT without symbolic links: what is made beside it, and then moved there, must be on the same disk.

    Raises:
        BadInput: a mount point, beside which is another disk; links in a circle; not a folder.
    """
    try:
        place = out.resolve()
        mounted = [path for path in (place, *(place / name for name in OUTPUTS)) if path.is_mount()]
        wrong = place.exists() and not place.is_dir()
    except (OSError, RuntimeError) as error:  # Python's own for a circle
        reason = getattr(error, "strerror", None) or "symbolic links in a circle"
        raise BadInput(f"cannot be reached ({reason})", file=out, remedy="Give another place") from None
    if mounted:
        raise _mount_point(mounted[0])
    if wrong:
        raise BadInput("not a folder", file=out, remedy="Give another place")
    return place


def check_place(out: Path, part: Path, folder: Path | None, force: bool) -> None:
    """What is made in `part` can be moved to `out`, both resolved.

    Raises:
        BadInput: it cannot, it would be an image of `folder`, or (without `force`) something would be replaced.
    """
    if folder is not None and folder.resolve() in (out, *out.parents):
        raise BadInput(f"lies in {folder}, where it would be a class", file=out, remedy="Give a place outside")
    there = [name for name in OUTPUTS if os.path.lexists(out / name)]
    if there and not force:
        raise BadInput(
            f"{', '.join(there)} there already", file=out, remedy="Give another folder, or --force to replace them"
        )
    if out.exists():
        _try_to_move(part / PROBE, out / f"{part.name}.{PROBE}")


def _try_to_move(made: Path, place: Path) -> None:
    made.touch()
    try:
        os.replace(made, place)
    except OSError as error:
        if error.errno == errno.EXDEV:  # a part of its own disk that was mounted there: `is_mount` does not see that
            raise _mount_point(place.parent) from None
        if error.errno in _FULL:
            raise
        raise not_writable(place.parent, error) from None
    finally:
        made.unlink(missing_ok=True)
    place.unlink()


def _mount_point(path: Path) -> BadInput:
    return BadInput(
        "a mount point: what is made beside it cannot be moved there", file=path, remedy="Give a folder in it"
    )


def not_writable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"cannot be written ({error.strerror})", file=path, remedy=_ELSEWHERE)


def is_full(error: OSError | lmdb.Error, folder: Path) -> bool:
    """Whether it comes of a full disk, the one that `folder` is on or would be."""
    codes = [code for code in (*_FULL, *_CUT_SHORT) if _has(error, code)]
    return any(code in _FULL or free(folder) < _LITTLE for code in codes)


def _has(error: OSError | lmdb.Error, code: int) -> bool:
    return error.errno == code if isinstance(error, OSError) else os.strerror(code) in str(error)


def free(folder: Path) -> int:
    """Bytes that can be written to the disk that `folder` is on, or would be."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def taken(folder: Path) -> int:
    """Bytes of disk that the files in `folder` take."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def sized(count: float) -> str:
    """A number of bytes, to read."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"
