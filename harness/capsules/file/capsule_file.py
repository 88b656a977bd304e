"""Write a minimal run directory into a capsule, and unpack a capsule to a run directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.atomic_write import set_default_mode, sync
from harness.capsules.file.archive import Archive, Progress, open_capsule
from harness.capsules.file.encodings import encode
from harness.capsules.file.manifest import MANIFEST, decode_manifest, encode_manifest
from harness.capsules.file.run_checks import check_run
from harness.errors import BadInput
from harness.recording.run_directory import read_info, write_info
from harness.schemas.capsule import LOCK, PAGE, RUN_INFO, SNAPSHOTS, Encoding, Manifest, Member

_BLOCK = 1 << 20
_MOST_SYNCED = 500  # files that are written to the disk one by one; of more, that takes minutes
_SPARE = 32 << 20  # free bytes that are left on the disk
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same capsule
_REMEDY = "Give another --out, or leave it out for a new name"


def write_capsule(
    directory: Path, manifest: Manifest, out: Path, progress: Progress = lambda done, total: None
) -> Manifest:
    """Write the minimal run directory `directory`, with index.html if it is there, to the capsule `out`.

    Args:
        manifest: its members are added here.
        progress: receives how many of how many bytes were read.

    Returns:
        The manifest as it was written.

    Raises:
        BadInput: `out` exists, or `open` would refuse the capsule (see run_checks).
        OSError: it cannot be written.
    """
    check_new(out)
    files = _files(directory)
    manifest = msgspec.structs.replace(manifest, members=tuple(_member(directory, name) for name in files))
    manifest = decode_manifest(encode_manifest(manifest), out)
    check_run(directory, manifest, directory, trust=True)
    done, total = 0, manifest.size
    with _part_of(out) as part, zipfile.ZipFile(part, "w") as archive:
        archive.writestr(_entry(MANIFEST, "deflate"), encode_manifest(manifest))
        for member in manifest.members:
            entry = _entry(member.entry, member.encoding)
            with (
                (directory / member.name).open("rb") as source,
                archive.open(entry, "w", force_zip64=member.size > 1 << 30) as target,
            ):
                encode(source, target, member.encoding, member.size)
            done += member.size
            progress(done, total)
    return manifest


def check_new(out: Path) -> None:
    """Check that a capsule `out` can be written, before the work for it begins.

    Raises:
        BadInput: it exists already, or its directory cannot be written.
    """
    if os.path.lexists(out):
        raise BadInput("exists already, and a capsule never replaces a file", field="--out", value=out, remedy=_REMEDY)
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        problem = "no directory where you may write"
        raise BadInput(problem, field="--out", value=out.parent, remedy="Make it first, or give another --out")


def read_manifest(path: Path) -> Manifest:
    """Read the table of contents of the capsule `path`, and check that it fits what is in the file.

    Raises:
        BadInput: it cannot be read, is damaged, or is refused.
    """
    with open_capsule(path) as archive:
        return archive.manifest


def unpack(path: Path, out: Path, *, trust: bool = False, progress: Progress = lambda done, total: None) -> Manifest:
    """Unpack the capsule `path` to the run directory `out`, which appears complete or not at all.

    Args:
        out: must not exist, or be an empty directory.
        trust: accept nets with Python layers, which run code when they are trained.
        progress: receives how many of how many bytes were unpacked.

    Raises:
        BadInput: the capsule cannot be read, is damaged, or is refused; `out` cannot be used.
        OSError: `out` cannot be written.
    """
    out = out.resolve()
    with open_capsule(path) as archive, _new_directory(out, archive.manifest.size) as part:
        manifest = archive.manifest
        _write_members(archive, part, progress)
        check_run(part, manifest, path, trust=trust)
        write_info(part, msgspec.structs.replace(read_info(part), directory=""))  # it can be moved
    return manifest


def _write_members(archive: Archive, directory: Path, progress: Progress) -> None:
    done, total = 0, archive.manifest.size
    (directory / SNAPSHOTS).mkdir()
    for member in archive.manifest.members:
        target = directory / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for block in archive.blocks(member):
                file.write(block)
                done += len(block)
                progress(done, total)
            if len(archive.manifest.members) <= _MOST_SYNCED:
                file.flush()
                os.fsync(file.fileno())
    if len(archive.manifest.members) > _MOST_SYNCED:
        os.sync()
    (directory / PAGE).unlink(missing_ok=True)


@contextmanager
def _new_directory(out: Path, size: int) -> Iterator[Path]:
    """Make a directory beside `out` that becomes `out` if the block ends without an exception, and is removed if not.

    Raises:
        BadInput: `out` holds something already, cannot be made, or the disk has no room for `size` bytes.
    """
    remedy = "Give a new directory, where you may write"
    try:
        is_taken = _exists(out) and not (out.is_dir() and not any(out.iterdir()))
        there = next(place for place in out.parents if place.is_dir())
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise BadInput(f"cannot be made ({error.strerror})", field="--out", value=out, remedy=remedy) from None
    if is_taken:
        raise BadInput("not empty, and a run never writes over another", field="--out", value=out, remedy=remedy)
    if size + _SPARE > free:
        raise BadInput(
            f"the capsule unpacks to {size / 2**20:,.0f} MiB, and the disk has {free / 2**20:,.0f} MiB free",
            field="--out",
            value=out,
            remedy="Give a directory on another disk",
        )
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{out.name[:60]}.", dir=there))
    except OSError as error:
        raise BadInput(f"cannot be made ({error.strerror})", field="--out", value=out, remedy=remedy) from None
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        for directory in (*(path for path in part.rglob("*") if path.is_dir()), part):
            sync(directory)
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, out)
        sync(out.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _exists(path: Path) -> bool:
    """Check whether there is something at `path`. Unlike os.path.lexists, it raises OSError for an impossible name."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _part_of(out: Path) -> Iterator[Path]:
    """Make a file beside `out` that becomes `out` if the block ends without an exception, and is removed if not."""
    fd, name = tempfile.mkstemp(prefix=f".{out.name[:60]}.", dir=out.parent)
    part = Path(name)
    try:
        with os.fdopen(fd, "rb+") as file:
            yield part
            set_default_mode(file.fileno())
            os.fsync(file.fileno())
        check_new(out)
        os.replace(part, out)
        sync(out.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _files(directory: Path) -> list[str]:
    """List the files of a run directory in the order in which a capsule stores them: what describes it comes first."""
    found = []
    for path in directory.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput("a link or a device, and a capsule has files only", file=path, remedy="Remove it")
        if path.is_file() and path.name != LOCK:
            found.append(path.relative_to(directory).as_posix())
    return sorted(found, key=lambda name: (name != PAGE, name != RUN_INFO, not name.endswith(".json"), name))


def _member(directory: Path, name: str) -> Member:
    digest, size = hashlib.sha256(), 0
    with (directory / name).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    try:
        return Member(name, _encoding(name), size, digest.hexdigest())
    except ValueError as error:
        raise BadInput(str(error), file=directory / name, remedy="Rename it") from None


def _encoding(name: str) -> Encoding:
    if name == PAGE:
        return "deflate"
    if name.startswith(f"{SNAPSHOTS}/") and name.removesuffix(".h5").endswith((".caffemodel", ".solverstate")):
        return "shuffle4+zstd"
    return "zstd"


def _entry(name: str, encoding: Encoding) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED if encoding == "deflate" else zipfile.ZIP_STORED
    return entry
