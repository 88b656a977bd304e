"""Open and append to LMDBs whose size is not known beforehand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import lmdb

_LOCK_BYTES = 1 << 14  # more than LMDB's lock file needs for the usual 126 readers


def open_lmdb(path: Path, map_size: int, max_dbs: int = 0) -> lmdb.Environment:
    """Open the LMDB `path`, which is created if needed.

    The blocks of its lock file, which LMDB writes through a mapping, are allocated beforehand: a full disk then causes
    an error here, not a SIGBUS later.
    """
    path.mkdir(exist_ok=True)
    with (path / "lock.mdb").open("ab") as lock:
        os.posix_fallocate(lock.fileno(), 0, _LOCK_BYTES)
    return lmdb.open(str(path), map_size=map_size, max_dbs=max_dbs)


def append_records(environment: lmdb.Environment, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Append records, in the order of their keys, in one transaction; the map grows as needed."""
    while True:
        try:
            with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(records, append=True)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
