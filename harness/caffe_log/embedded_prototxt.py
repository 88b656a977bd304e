"""Collect the text of solver and net that a log shows after `Initializing … from parameters:`."""

from __future__ import annotations

import re

from harness.caffe_log import patterns

_LONGEST = 1 << 20  # bytes of one prototxt that are kept


class EmbeddedPrototxt:
    """One prototxt while its lines are read. `kind` is solver or net."""

    def __init__(self, kind: str, announcement: bytes) -> None:
        self.kind = kind
        self._lines: list[bytes] = []
        self._size = 0
        header = patterns.HEADER.search(announcement)
        before = announcement[: header.start()] if header else b""
        # docker and others prefix every line alike, except for numbers
        self._prefix = re.compile(rb"\d+".join(re.escape(part) for part in re.split(rb"\d+", before)))

    def add(self, line: bytes) -> None:
        before = self._prefix.match(line)
        line = line[before.end() :] if before else line
        self._size += len(line) + 1
        if self._size <= _LONGEST:
            self._lines.append(line)

    @property
    def text(self) -> str | None:
        """The text; None if it is too long for a prototxt, or only a placeholder such as `...`."""
        text = b"\n".join(self._lines).decode(errors="replace").strip("\n")
        return text + "\n" if self._size <= _LONGEST and (":" in text or "{" in text) else None
