"""Join lines that a narrow terminal or a mail program has broken in two or more."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from harness.caffe_log import patterns
from harness.caffe_log.line_parser import Entry, parse_whole

_PRECISION = 6  # digits of a value that C++ streams print
_MOST_PIECES = 4
_LONGEST = 400
_BEGINNING = re.compile(rb"(?:Iteration|Train|Test)\b[^\]]{0,120}$")


@dataclass(frozen=True)
class PartialLine:
    """An entry that may continue on the next line; so far it takes `lines` lines from line `number` on.

    Attributes:
        used: the first line contains another entry as well.
        texts: the possible texts of the entry; it is not known whether a space was lost at a line break.
    """

    entry: Entry
    number: int
    line: bytes
    used: bool
    texts: tuple[bytes, ...]
    lines: int = 1

    @property
    def complete(self) -> bool:
        """True if the entry is complete even if nothing follows."""
        return self.entry.kind not in ("broken", "begun")


def may_continue(entry: Entry) -> bool:
    return entry.open and (entry.kind == "broken" or entry.digits < _PRECISION)


def beginning_in(line: bytes, header: re.Match[bytes] | None, number: int) -> PartialLine | None:
    """Find the beginning of a loss, lr or output, too short to be an entry, at the end of `line`."""
    tail = line[header.end() :].lstrip() if header else line.lstrip(patterns.QUOTE)
    if not _BEGINNING.match(tail):
        return None
    entry = Entry("begun", tail, True)
    if header:
        entry = entry._replace(thread=header["thread"] or b"", stamp=(header["stamp"] or b"").decode())
    return PartialLine(entry, number, line, False, (tail,))


def join(partial: PartialLine, line: bytes) -> PartialLine | None:
    """Append `line`, which has no header, to `partial`; None if they do not belong together.

    If a number is followed by a line that is a bare number, neither value is certain: the entry becomes a broken one.
    """
    if len(line) > _LONGEST or len(partial.texts[0]) > _LONGEST:
        return None
    header = patterns.HEADER.search(partial.line)
    before = partial.line[: header.start()] if header else b""
    line = line.removeprefix(before) if before.strip(b" \t") or line.startswith(before) else line
    rest = line.strip(patterns.QUOTE)
    if not rest:
        return None
    tails = dict.fromkeys((line.rstrip(), rest, b" " + rest))
    texts = tuple(text + tail for text in partial.texts for tail in tails)
    joined = replace(partial, lines=partial.lines + 1, texts=texts[:32])
    for text in texts:
        entry = parse_whole(text)
        if entry is not None and (entry.weight is not None or not partial.complete):
            return replace(joined, entry=_with_origin(entry, partial.entry, text), texts=(text,))
    if not partial.complete:
        may_be_more = partial.lines + 1 < _MOST_PIECES and not patterns.ANCHOR.search(rest)
        return joined if may_be_more and _BEGINNING.match(partial.texts[0]) else None
    if patterns.DIGITS_ONLY.match(rest) and partial.entry.value == partial.entry.value:
        entry = parse_whole(partial.texts[0] + rest)
        if entry is not None and (entry.kind == "output" or entry.digits <= _PRECISION):
            return replace(joined, entry=partial.entry._replace(kind="broken", open=False))
    return None


def _with_origin(entry: Entry, first: Entry, text: bytes) -> Entry:
    return entry._replace(raw=text, thread=first.thread, stamp=first.stamp, rank=first.rank)
