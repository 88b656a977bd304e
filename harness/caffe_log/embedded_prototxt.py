"""The text of solver and net, as a log shows it behind `Initializing … from parameters:`."""

from __future__ import annotations

import re

from harness.caffe_log import patterns as said

_LONGEST = 1 << 20  # bytes of one prototxt that are kept


class Printed:
    """One prototxt while its lines come in. `kind` is solver or net."""

    def __init__(self, kind: str, announcement: bytes) -> None:
        self.kind = kind
        self._lines: list[bytes] = []
        self._size = 0
        header = said.HEADER.search(announcement)
        before = announcement[: header.start()] if header else b""
        # docker and others write the same before every line, but for numbers
        self._prefix = re.compile(rb"\d+".join(re.escape(part) for part in re.split(rb"\d+", before)))

    def add(self, line: bytes) -> None:
        before = self._prefix.match(line)
        line = line[before.end() :] if before else line
        self._size += len(line) + 1
        if self._size <= _LONGEST:
            self._lines.append(line)

    @property
    def text(self) -> str | None:
        """None where it is too long to be one, or `...` where somebody left it out."""
        text = b"\n".join(self._lines).decode(errors="replace").strip("\n")
        return text + "\n" if self._size <= _LONGEST and (":" in text or "{" in text) else None
