"""Files of an experiment that workers on other machines open by path: on a file system that all of them share."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from harness.atomic_write import write_whole
from harness.errors import BadInput
from harness.experiments.engine import Setting
from harness.experiments.room import Room
from harness.schemas.feed import Feed
from harness.worker.payload import Payload

_PREFIX = "shared-"
_BATCHES, _SETTING, _STOP, _LOCK = "batches", "setting", "STOP", "lock"


class SharedSetting(msgspec.Struct, frozen=True):
    """What replay workers on other machines are started with, as far as it is the same everywhere; see `Setting`."""

    payload: Payload
    feed: Feed
    directory: str


@contextmanager
def shared_room(directory: Path) -> Iterator[Room]:
    """Make room in `directory` for workers that open its files by path; what killed commands left is removed first.

    Raises:
        BadInput: it cannot be made.
    """
    for left in directory.glob(f"{_PREFIX}*"):
        _remove_left(left)
    try:
        home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
    except OSError as error:
        remedy = "Give yourself write access, or work on a copy of the run"
        raise BadInput(f"cannot be written ({error.strerror})", file=directory, remedy=remedy) from None
    try:
        home.chmod(0o755)
        with (home / _LOCK).open("wb") as lock, (home / _BATCHES).open("xb") as store:
            with suppress(OSError):  # this file system has no locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Room(home, store.fileno())
    finally:
        shutil.rmtree(home, ignore_errors=True)  # files that are open elsewhere may stay on NFS, until the next command


def _remove_left(home: Path) -> None:
    """Remove a room, unless the command that made it is still there."""
    try:
        with (home / _LOCK).open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
    except FileNotFoundError:
        shutil.rmtree(home, ignore_errors=True)
    except OSError:  # in use, or the file system has no locks
        return


def write_setting(setting: Setting) -> None:
    """Write what workers are started with into the room of `setting`."""
    shared = SharedSetting(setting.payload, setting.feed, setting.directory)
    write_whole(setting.home / _SETTING, msgspec.msgpack.encode(shared))


def read_setting(home: Path) -> SharedSetting:
    """Read what `write_setting` has written.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return msgspec.msgpack.decode((home / _SETTING).read_bytes(), type=SharedSetting)


def batches_of(home: Path) -> Path:
    """Return the path of the batch store."""
    return home / _BATCHES


def stop(home: Path) -> None:
    """Have all work end that uses the room."""
    with suppress(OSError):  # it is gone, which says the same
        (home / _STOP).touch()


def is_stopped(home: Path) -> bool:
    """Check whether the work that uses the room is to end, or the room is gone."""
    return os.path.lexists(home / _STOP) or not os.path.lexists(home / _SETTING)
