"""The zip of a capsule, opened for reading. A capsule may come from a stranger, and nothing that it says is believed:
names, sizes and contents are checked before anything is written.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.caffe_files.file_kind import Kind, kind_of
from harness.caffe_files.paths import exists, is_file
from harness.capsules.file.encodings import BadData, decode, is_zstd
from harness.capsules.file.manifest import MANIFEST, REMEDY, decode_manifest
from harness.errors import BadInput
from harness.invocation import next_command, path_argument
from harness.schemas.capsule import MAX_MEMBERS, Member

Progress = Callable[[int, int], None]  # bytes done, and bytes in all

_END, _END_MAGIC = struct.Struct("<4s18s"), b"PK\x05\x06"  # the last record of a zip without a comment
_LARGEST_MANIFEST = 64 << 20  # bytes; a member takes about 200
_MOST = 200  # times its own size that a capsule may unpack to, if that is more than _ALWAYS
_ALWAYS = 1 << 30  # bytes that any capsule may unpack to
# what zipfile raises of a damaged file
_OF_ZIPFILE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, OverflowError, IndexError, KeyError, MemoryError),
)


class Archive:
    """A capsule that is open for reading, and whose table of contents fits the zip.

    Attributes:
        path: the capsule.
        manifest: its capsule.json.
    """

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path, self._zip = path, file
        self._check_first()
        self.manifest = decode_manifest(self._manifest_bytes(), path)
        self._check_entries()

    def blocks(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of `member`.

        Raises:
            BadInput: they are damaged, or not as many as capsule.json says. What was yielded before is not to be used.
        """
        digest = hashlib.sha256()
        with self._reading(member.name), self._zip.open(member.entry) as source:
            for block in decode(source, member.encoding, member.size):
                digest.update(block)
                yield block
            source.read(1)  # of what is left, at the end of which zipfile checks its CRC-32
        if digest.hexdigest() != member.sha256:
            raise BadInput(
                f"damaged: capsule.json gives the SHA-256 {member.sha256} for it",
                file=f"{self.path}: {member.name}",
                field="sha256",
                value=digest.hexdigest(),
                remedy=REMEDY,
            )

    def read(self, member: Member) -> bytes:
        """Read all of `member`; the caller knows that it is small."""
        return b"".join(self.blocks(member))

    def verify(self, progress: Progress = lambda done, total: None) -> None:
        """Read everything in the capsule, and write nothing.

        Raises:
            BadInput: something is damaged.
        """
        done, total = 0, self.manifest.size
        for member in self.manifest.members:
            for block in self.blocks(member):
                done += len(block)
                progress(done, total)

    def stored_size(self, member: Member) -> int:
        """Return the bytes that `member` takes in the capsule."""
        return self._zip.getinfo(member.entry).compress_size

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        where = f"{self.path}: {name}"
        try:
            yield
        except BadData as error:
            raise BadInput(f"damaged: it {error}", file=where, remedy=REMEDY) from None
        except BadInput:
            raise
        except OSError as error:
            raise BadInput(f"cannot be read ({error.strerror})", file=where, remedy=REMEDY) from None
        except _OF_ZIPFILE as error:
            raise BadInput(f"damaged ({error})", file=where, remedy=REMEDY) from None

    def _check_first(self) -> None:
        entries = self._zip.infolist()
        if not entries or entries[0].filename != MANIFEST or entries[0].header_offset != 0:
            raise BadInput(f"a zip, but not a capsule: it does not begin with {MANIFEST}", file=self.path,
                           remedy="Give a file that capsule.py pack has written")  # fmt: skip
        with self.path.open("rb") as file:
            file.seek(-_END.size, os.SEEK_END)
            end = _END.unpack(file.read(_END.size))
        if end[0] != _END_MAGIC:
            raise BadInput("damaged: bytes follow the end of the zip", file=self.path, remedy=REMEDY)
        if len(entries) > MAX_MEMBERS + 1:
            raise BadInput(f"refused: it has {len(entries):,} entries, and a capsule has at most {MAX_MEMBERS:,}",
                           file=self.path, remedy=REMEDY)  # fmt: skip

    def _manifest_bytes(self) -> bytes:
        entry = self._zip.infolist()[0]
        _check_entry(self.path, entry)
        if entry.file_size > _LARGEST_MANIFEST:
            raise BadInput(f"refused: {entry.file_size:,} bytes, and it has at most {_LARGEST_MANIFEST >> 20} MiB",
                           file=f"{self.path}: {MANIFEST}", remedy=REMEDY)  # fmt: skip
        with self._reading(MANIFEST), self._zip.open(entry) as file:
            return file.read(_LARGEST_MANIFEST)

    def _check_entries(self) -> None:
        """Check that the zip holds exactly what capsule.json lists, in sizes that a capsule can have."""
        entries = self._zip.infolist()
        found: set[str] = set()
        for entry in entries:
            _check_entry(self.path, entry)
            if entry.filename in found:
                raise BadInput("refused: it is in the zip twice", file=f"{self.path}: {entry.filename}", remedy=REMEDY)
            found.add(entry.filename)
        listed = {MANIFEST, *(member.entry for member in self.manifest.members)}
        if found - listed:
            raise BadInput("refused: it is in the zip, and capsule.json does not list it",
                           file=f"{self.path}: {min(found - listed)}", remedy=REMEDY)  # fmt: skip
        if listed - found:
            raise BadInput("damaged: capsule.json lists it, and it is not in the zip",
                           file=f"{self.path}: {min(listed - found)}", remedy=REMEDY)  # fmt: skip
        size = self.path.stat().st_size
        if sum(entry.compress_size for entry in entries) > size:
            raise BadInput(f"refused: its entries claim more than the {size:,} bytes of the file", file=self.path,
                           remedy=REMEDY)  # fmt: skip
        for member in self.manifest.members:
            entry = self._zip.getinfo(member.entry)
            if not is_zstd(member.encoding) and entry.file_size != member.size:
                raise BadInput(f"damaged: the zip gives {entry.file_size:,} bytes for it", field="size",
                               file=f"{self.path}: {member.name}", value=member.size, remedy=REMEDY)  # fmt: skip
        most = max(_ALWAYS, _MOST * size)
        if self.manifest.size > most:
            raise BadInput(
                f"refused: it would unpack to {self.manifest.size / 2**20:,.0f} MiB, and a file of its size to "
                f"{most / 2**20:,.0f} MiB at most",
                file=self.path,
                remedy=REMEDY,
            )


@contextmanager
def open_capsule(path: Path) -> Iterator[Archive]:
    """Open the capsule `path` for reading.

    Raises:
        BadInput: it cannot be read, is damaged, or is refused.
    """
    remedy = "Give a file that capsule.py pack has written"
    if not exists(path):
        raise BadInput("no such file", file=path, remedy=remedy)
    kind = kind_of(path)
    if kind in (Kind.RUN, Kind.RECORDING, Kind.INFO):
        run = path if kind == Kind.RUN else path.parent
        remedy = f"Make one of it with {next_command('capsule')} pack {path_argument(run)}"
        raise BadInput(f"{kind.value}, not a capsule", file=path, remedy=remedy)
    if not is_file(path):  # reading a named pipe would wait forever
        raise BadInput("not a file, and a capsule is one", file=path, remedy=remedy)
    try:
        file = zipfile.ZipFile(path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path, remedy="Check the path") from None
    except _OF_ZIPFILE as error:
        problem = f"not a capsule, or damaged: no zip can be read from it ({error})"
        raise BadInput(problem, file=path, remedy=remedy) from None
    with file:
        yield Archive(path, file)


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    """Check that an entry of the zip is an ordinary file, stored in a way that a capsule uses."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    problem = None
    if entry.filename != entry.orig_filename:
        problem = "its name has a NUL"
    elif kind not in (0, stat.S_IFREG) or entry.is_dir():
        problem = "a link, a directory or a device, and a capsule has files only"
    elif entry.flag_bits & 0x1:
        problem = "it is encrypted"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"compressed by method {entry.compress_type} of zip, and a capsule uses 0 (stored) and 8 (deflate)"
    if problem is not None:
        raise BadInput(f"refused: {problem}", file=f"{path}: {entry.orig_filename}", remedy=REMEDY)
