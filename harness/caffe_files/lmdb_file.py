"""Read the LMDB of a Data layer: its fingerprint, its keys, its labels.

All records are read once; the result is kept in the user's cache. A damaged LMDB can kill the process that reads it:
`training_data/lmdb_scan.py` reads in another process.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import lmdb
import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from harness.caffe_files.cache import cache_directory, mark_used, remove_unused
from harness.caffe_files.image_survey import ImageKind, Images, Survey
from harness.caffe_files.messages import pb
from harness.caffe_files.paths import exists, is_directory
from harness.errors import BadInput

Progress = Callable[[int, int], None]  # records read, total number of records

# what reading a cache raises that is missing, damaged, or of an older version
_NO_CACHE = (OSError, EOFError, ValueError, KeyError, BadZipFile, msgspec.DecodeError)
_LOCK_TIMEOUT = 2  # seconds; opening an LMDB takes milliseconds
REMEDY = "Create it again (convert_imageset or caffe-harness make-lmdb), or correct `source`"


@dataclass(frozen=True)
class Records:
    """All records of a data layer's source, in the order in which Caffe reads them.

    They are the records of an LMDB, sorted by key, or the lines of a list of images (image_list.py), whose keys are the
    paths.

    Attributes:
        fingerprint: a hash; that of an LMDB covers all records but not their places in the file.
        keys: byte strings (n,).
        labels: int32 (n,).
        images: what is known of their images; of a list, nothing.
        warnings: what is odd about them, though Caffe takes it.
    """

    source: Path
    fingerprint: str
    keys: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int32]
    images: Images | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class ScanResult:
    """The result of reading all records of an LMDB, as in `Records`; `digest` is the fingerprint."""

    digest: str
    keys: npt.NDArray[np.bytes_]
    labels: npt.NDArray[np.int32]
    images: Images


Scan = Callable[[Path, Progress], ScanResult]


def open_records(source: Path, progress: Progress = lambda done, total: None, scan: Scan | None = None) -> Records:
    """Check the LMDB `source` and return its records, from the cache or with `scan` (default: `scan_lmdb`).

    Raises:
        BadInput: missing, empty, locked, damaged; a record that is not a Datum.
    """
    entries = check_lmdb(source)
    cached = _cache_of(source, entries)
    try:
        with np.load(cached or os.devnull) as arrays:
            kinds = msgspec.json.decode(arrays["kinds"].item(), type=tuple[ImageKind, ...])
            damaged = msgspec.json.decode(arrays["damaged"].item(), type=dict[int, str])
            images = Images(kinds, arrays["kind_of"], damaged)
            scanned = ScanResult(str(arrays["digest"]), arrays["keys"], arrays["labels"], images)
        if cached is not None:
            mark_used(cached)
    except _NO_CACHE:
        scanned = (scan or scan_lmdb)(source, progress)
        if len(scanned.keys) != entries:
            problem = f"damaged: {len(scanned.keys):,} of {entries:,} records can be read"
            raise BadInput(problem, file=source, remedy=REMEDY) from None
        if cached is not None:
            with suppress(OSError):  # without a cache, the next run scans again
                _write_cache(cached, scanned)
                remove_unused(cached.parent)
    return Records(source, scanned.digest, scanned.keys, scanned.labels, scanned.images)


def is_known(source: Path) -> bool:
    """Check whether `open_records` returns the records of the LMDB `source` from the cache.

    Raises:
        BadInput: as `check_lmdb`.
    """
    cached = _cache_of(source, check_lmdb(source))
    return cached is not None and cached.is_file()


def _cache_of(source: Path, entries: int) -> Path | None:
    """Return the file in which the records of the LMDB `source` are kept; None where there can be none."""
    changed = (source / "data.mdb").stat().st_mtime_ns  # one with a few corrected labels may have the same sample
    cache = cache_directory("records")
    return None if cache is None else cache / f"{_sample_of(source, entries)}-{changed:x}.npz"


def check_lmdb(source: Path) -> int:
    """Check that the LMDB `source` can be opened and return its number of records.

    Raises:
        BadInput: it cannot be opened, or it is empty.
    """
    data, lock = source / "data.mdb", source / "lock.mdb"
    if not is_directory(source):
        raise BadInput(
            "no such LMDB directory" if not exists(source) else "a file, not an LMDB directory",
            file=source,
            remedy=f"Caffe resolves `source` from the current directory ({Path.cwd()})",
        )
    if not data.is_file():
        raise BadInput("not an LMDB: it has no data.mdb", file=source, remedy=REMEDY)
    if not os.access(data, os.R_OK):
        raise BadInput("data.mdb cannot be read (permissions)", file=source, remedy="Give yourself read access")
    read_only = bool(os.statvfs(source).f_flag & os.ST_RDONLY)  # where LMDB reads without a lock
    if not read_only and not os.access(lock if lock.exists() else source, os.W_OK):
        raise BadInput(
            "lock.mdb cannot be written, and LMDB readers must write to it",
            file=source,
            remedy="Give yourself write access to it, or copy the LMDB to a directory where you have it",
        )
    if lock.exists() and not read_only and not _can_be_opened(lock):
        raise BadInput(
            "locked by another process, which is opening or converting it",
            file=source,
            remedy="Wait for that process, or stop it",
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
    """Check that no process is setting the environment up.

    Such a process locks byte 0 (mdb_env_excl_lock); readers lock the byte of their pid.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT
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
    """Check that this process can lock the byte of its pid, by which LMDB readers show that they are alive.

    Pids of containers all start at 1: a process in another container may have locked the same byte (mdb_reader_pid in
    LMDB's mdb.c), and Caffe would abort.

    Raises:
        BadInput: another process holds the lock.
    """
    lock = source / "lock.mdb"
    if not os.access(lock, os.W_OK):  # it does not exist yet, or LMDB reads without a lock
        return
    with lock.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, os.getpid())
        except OSError:
            raise same_pid_error(source, os.getpid()) from None


def same_pid_error(source: Path, pid: int) -> BadInput:
    """Describe a lock conflict with a process in another container that has the same pid."""
    return BadInput(
        f"a process in another container reads it and has the same pid, {pid}: LMDB cannot distinguish the two",
        file=source,
        remedy="Mount it read-only in both containers (docker run -v DATA:/work/DATA:ro); LMDB then needs no locks",
    )


def _sample_of(source: Path, entries: int) -> str:
    """Hash the number of records and 512 pages spread over the file, without reading all of it."""
    digest = xxhash.xxh3_128()
    path = source / "data.mdb"
    size = path.stat().st_size
    digest.update(f"{entries} {size}".encode())
    with path.open("rb") as file:
        for offset in sorted({0, 4096, *np.linspace(0, max(0, size - 4096), 512, dtype=np.int64).tolist()}):
            file.seek(int(offset) & ~4095)
            digest.update(file.read(4096))
    return str(digest.hexdigest())


def scan_lmdb(source: Path, progress: Progress) -> ScanResult:
    """Read all records in this process, from an LMDB that can be trusted not to be damaged.

    Raises:
        lmdb.Error: it cannot be read.
        ValueError: a record is not a Datum.
    """
    survey = Survey((source / "data.mdb").stat().st_size)
    keys: list[bytes] = []
    labels: list[int] = []
    datum = pb.Datum()
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
            survey.add(datum)
            digest.update(b"%d %d %b" % (len(key), len(value), key))
            digest.update(value)
            if len(keys) % 1000 == 0:
                progress(len(keys), entries)
    return ScanResult(digest.hexdigest(), np.array(keys), np.array(labels, np.int32), survey.images)


def first_datum(source: Path) -> pb.Datum:
    """Read the first record of the LMDB `source`, which `open_records` has read."""
    with lmdb.open(str(source), readonly=True, lock=True) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        cursor.first()
        return pb.Datum.FromString(bytes(cursor.value()))


def _write_cache(path: Path, scanned: ScanResult) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.savez(
                file,
                digest=scanned.digest,
                keys=scanned.keys,
                labels=scanned.labels,
                kinds=np.array(msgspec.json.encode(scanned.images.kinds)),
                kind_of=scanned.images.of,
                damaged=np.array(msgspec.json.encode(scanned.images.damaged)),
            )
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
