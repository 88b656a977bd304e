"""What the harness needs to know of an LMDB that a Data layer reads: its fingerprint, its keys, its labels.

All records are read once; what is known of them then is kept in the user's cache. A damaged LMDB can kill its reader:
`supervisor/lmdb_scan.py` reads in another process.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import lmdb
import numpy as np
import numpy.typing as npt
import xxhash

from harness.caffe_files.messages import pb
from harness.errors import BadInput

Progress = Callable[[int, int], None]  # records read, records in all

_PATIENCE = 2  # seconds: to open an LMDB takes milliseconds
REMEDY = "Make it anew (convert_imageset writes one), or correct `source`"


@dataclass(frozen=True)
class Records:
    """All records of a data layer's source: those of an LMDB by key, the order in which Caffe reads them, or the lines
    of a list of images (listfile.py), whose keys are the paths.

    `keys` are byte strings (n,), `labels` int32 (n,). The `fingerprint` of an LMDB is a hash of all its records,
    wherever they lie in the file.
    """

    source: Path
    fingerprint: str
    keys: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class ScanResult:
    """What reading all records of an LMDB has told of them."""

    digest: str
    keys: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int32]


Scan = Callable[[Path, Progress], ScanResult]


def open_records(source: Path, progress: Progress = lambda done, total: None, scan: Scan | None = None) -> Records:
    """Check the LMDB `source` and read its records, if they were not read before, with `scan` (default: `scan_lmdb`).

    Raises:
        BadInput: missing, empty, locked, damaged; a record that is no Datum.
    """
    entries = check_lmdb(source)
    # an LMDB that was made anew with some labels corrected may look the same in a sample
    changed = (source / "data.mdb").stat().st_mtime_ns
    cached = _cache() / f"{_sample_of(source, entries)}-{changed:x}.npz"
    try:
        with np.load(cached) as arrays:
            scanned = ScanResult(str(arrays["digest"]), arrays["keys"], arrays["labels"])
    except (OSError, ValueError, KeyError, BadZipFile):  # not there, or damaged, or of an older harness
        scanned = (scan or scan_lmdb)(source, progress)
        if len(scanned.keys) != entries:
            problem = f"damaged: {len(scanned.keys):,} of {entries:,} records can be read"
            raise BadInput(problem, file=source, remedy=REMEDY) from None
        with suppress(OSError):  # a full or vanished cache only costs the next run a scan
            _keep(cached, scanned)
    return Records(source, scanned.digest, scanned.keys, scanned.labels)


def check_lmdb(source: Path) -> int:
    """The number of records in the LMDB `source`, which can be opened.

    Raises:
        BadInput: it cannot, or it is empty.
    """
    data, lock = source / "data.mdb", source / "lock.mdb"
    if not source.is_dir():
        raise BadInput(
            "no such LMDB directory" if not source.exists() else "a file, not an LMDB directory",
            file=source,
            remedy=f"Caffe resolves `source` from the current directory ({Path.cwd()})",
        )
    if not data.is_file():
        raise BadInput("not an LMDB: it has no data.mdb", file=source, remedy=REMEDY)
    if not os.access(data, os.R_OK):
        raise BadInput("data.mdb cannot be read (permissions)", file=source, remedy="Give yourself read access")
    read_only = bool(os.statvfs(source).f_flag & os.ST_RDONLY)  # there LMDB reads without a lock
    if not read_only and not os.access(lock if lock.exists() else source, os.W_OK):
        raise BadInput(
            "lock.mdb cannot be written, and LMDB readers must",
            file=source,
            remedy="Give yourself write access to it, or copy the LMDB to a place where you have it",
        )
    if lock.exists() and not read_only and not _can_be_opened(lock):
        raise BadInput(
            "locked by another process, which is opening or converting it",
            file=source,
            remedy="Wait for that process, or end it",
        )
    try:
        with lmdb.open(str(source), readonly=True, lock=True, max_readers=126) as environment:
            entries = int(environment.stat()["entries"])
            pages = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    except lmdb.LockError:
        raise same_pid_error(source, os.getpid()) from None
    except lmdb.Error as error:
        raise BadInput(f"damaged, or not an LMDB ({error})", file=source, remedy=REMEDY) from None
    if not entries:
        raise BadInput("an empty LMDB: it has no records", file=source, remedy=REMEDY)
    if data.stat().st_size < pages:
        raise BadInput(
            f"cut short: data.mdb has {data.stat().st_size:,} bytes and needs {pages:,}", file=source, remedy=REMEDY
        )
    return entries


def _can_be_opened(lock: Path) -> bool:
    """Byte 0 is locked while somebody sets the environment up (mdb_env_excl_lock); others are readers' pids."""
    deadline = time.monotonic() + _PATIENCE
    with lock.open("r+b") as held:
        while True:
            try:
                fcntl.lockf(held, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 0)
            except OSError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
            else:
                return True


def check_reader_lock(source: Path) -> None:
    """This process can read the LMDB `source`, where it says by a lock on the byte of its own id that it lives.

    Containers count processes from 1, each for itself: one in another container may have locked that byte
    (mdb_reader_pid in LMDB's mdb.c), and Caffe would abort.

    Raises:
        BadInput: it has.
    """
    lock = source / "lock.mdb"
    if not os.access(lock, os.W_OK):  # not there yet, or LMDB reads without a lock
        return
    with lock.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, os.getpid())
        except OSError:
            raise same_pid_error(source, os.getpid()) from None


def same_pid_error(source: Path, pid: int) -> BadInput:
    return BadInput(
        f"a process in another container reads it, whose number is {pid}, too: LMDB cannot tell the two apart",
        file=source,
        remedy="Mount it read-only (docker run -v DATA:/work/DATA:ro), in both; LMDB then needs no locks",
    )


def _sample_of(source: Path, entries: int) -> str:
    """A hash of the number of records and of 512 pages spread over the file, without reading it all."""
    digest = xxhash.xxh3_128()
    path = source / "data.mdb"
    size = path.stat().st_size
    digest.update(f"{entries} {size}".encode())
    with path.open("rb") as file:
        for offset in sorted({0, 4096, *np.linspace(0, max(0, size - 4096), 512, dtype=np.int64).tolist()}):
            file.seek(int(offset) & ~4095)
            digest.update(file.read(4096))
    return str(digest.hexdigest())


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for cache in (home / "caffe-harness", Path(tempfile.gettempdir()) / f"caffe-harness-{os.getuid()}"):
        with suppress(OSError):
            (cache / "records").mkdir(parents=True, exist_ok=True)
        if os.access(cache / "records", os.W_OK | os.X_OK):
            break
    return cache / "records"


def scan_lmdb(source: Path, progress: Progress) -> ScanResult:
    """Read all records in this process, of an LMDB that can be trusted.

    Raises:
        lmdb.Error: it cannot.
        ValueError: a record is no Datum.
    """
    keys: list[bytes] = []
    labels: list[int] = []
    datum: Any = pb.Datum()
    digest = xxhash.xxh3_128()
    with lmdb.open(str(source), readonly=True, lock=True) as environment, environment.begin() as transaction:
        entries = int(environment.stat()["entries"])
        for key, value in transaction.cursor():
            try:
                datum.ParseFromString(value)
            except Exception:  # protobuf's DecodeError; the C implementation has others
                raise ValueError(f"damaged: the record {key!r} is not a Datum ({len(value)} bytes)") from None
            keys.append(key)
            labels.append(datum.label)
            digest.update(b"%d %d %b" % (len(key), len(value), key))
            digest.update(value)
            if len(keys) % 1000 == 0:
                progress(len(keys), entries)
    return ScanResult(digest.hexdigest(), np.array(keys), np.array(labels, np.int32))


def _keep(path: Path, scanned: ScanResult) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.savez(file, digest=scanned.digest, keys=scanned.keys, labels=scanned.labels)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
