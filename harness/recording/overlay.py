"""A file as it will be after changes that are in memory only."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

PAGE = 4096
Page = tuple[int, bytes]  # its offset, and its bytes: PAGE of them, fewer at the end of the file


class Overlay(io.RawIOBase):
    """The file `path` with changed pages that stay in memory. h5py edits it as it would edit the file.

    Args:
        path: the file, which is only read.
        pages: pages changed before, as `pages` returns them.
        size: size of the changed file; None for that of `path`.

    Attributes:
        size: size of the changed file.
    """

    def __init__(self, path: Path, pages: Iterable[Page] = (), size: int | None = None) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._length = self._file.seek(0, io.SEEK_END)
        self._changed = {offset // PAGE: bytearray(data.ljust(PAGE, b"\0")) for offset, data in pages}
        self.size = self._length if size is None else size
        self._position = 0

    @property
    def pages(self) -> list[Page]:
        """The changed pages, in ascending order."""
        found = [(number * PAGE, self._changed[number]) for number in sorted(self._changed)]
        return [(offset, bytes(data[: self.size - offset])) for offset, data in found if offset < self.size]

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        target = memoryview(buffer).cast("B")
        start, stop = self._position, min(self._position + len(target), self.size)
        if stop <= start:
            return 0
        self._read_original(start, target[: stop - start])
        for number in range(start // PAGE, -(-stop // PAGE)):
            changed = self._changed.get(number)
            if changed is not None:
                first, last = max(start, number * PAGE), min(stop, (number + 1) * PAGE)
                target[first - start : last - start] = changed[first - number * PAGE : last - number * PAGE]
        self._position = stop
        return stop - start

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        content = memoryview(data).cast("B")
        start, stop = self._position, self._position + len(content)
        for number in range(start // PAGE, -(-stop // PAGE)):
            base = number * PAGE
            if number not in self._changed:
                self._changed[number] = bytearray(PAGE)
                self._read_original(base, memoryview(self._changed[number]))
            first, last = max(start, base), min(stop, base + PAGE)
            self._changed[number][first - base : last - base] = content[first - start : last - start]
        self._position = stop
        self.size = max(self.size, stop)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._position if size is None else size
        return self.size

    def _read_original(self, start: int, target: memoryview) -> None:
        """Fill `target` with the bytes of the unchanged file from `start` on, and with zeros beyond its end."""
        self._file.seek(start)
        wanted = max(0, min(len(target), self._length - start))
        read = self._file.readinto(target[:wanted]) if wanted else 0
        target[read:] = bytes(len(target) - read)
