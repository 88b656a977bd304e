"""Lines that were broken in two or more, by a narrow terminal or a mail program, put together again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from harness.caffe_log import patterns as said
from harness.caffe_log.line_parser import Statement, said_in_whole

_PRECISION = 6  # digits of a value that C++ streams print
_PIECES = 4
_LONGEST = 400
_BEGUN = re.compile(rb"(?:Iteration|Train|Test)\b[^\]]{0,120}$")


@dataclass(frozen=True)
class Half:
    """A statement that may go on in the next line, from line `number` on, in `lines` of them.

    `used`: its first line said something else besides. `texts`: what it may be in whole, as nobody knows whether a
    space was lost where it was broken.
    """

    statement: Statement
    number: int
    line: bytes
    used: bool
    texts: tuple[bytes, ...]
    lines: int = 1

    @property
    def complete(self) -> bool:
        """It can stand for itself."""
        return self.statement.kind not in ("broken", "begun")


def may_go_on(s: Statement) -> bool:
    return s.open and (s.kind == "broken" or s.digits < _PRECISION)


def begun(line: bytes, header: re.Match[bytes] | None, number: int) -> Half | None:
    """The beginning of a line of loss, lr or output that says nothing yet, as the end of `line`."""
    tail = line[header.end() :].lstrip() if header else line.lstrip(said.QUOTE)
    if not _BEGUN.match(tail):
        return None
    s = Statement("begun", tail, True)
    if header:
        s = s._replace(thread=header["thread"] or b"", stamp=(header["stamp"] or b"").decode())
    return Half(s, number, line, False, (tail,))


def together(half: Half, line: bytes) -> Half | None:
    """`half` and the headerless line after it, None if they do not belong together.

    A number that may go on with a bare number in the next line is neither: then the statement is a broken one.
    """
    if len(line) > _LONGEST or len(half.texts[0]) > _LONGEST:
        return None
    header = said.HEADER.search(half.line)
    before = half.line[: header.start()] if header else b""
    line = line.removeprefix(before) if before.strip(b" \t") or line.startswith(before) else line
    rest = line.strip(said.QUOTE)
    if not rest:
        return None
    tails = dict.fromkeys((line.rstrip(), rest, b" " + rest))
    texts = tuple(text + tail for text in half.texts for tail in tails)
    whole = replace(half, lines=half.lines + 1, texts=texts[:32])
    for text in texts:
        s = said_in_whole(text)
        if s is not None and (s.weight is not None or not half.complete):
            return replace(whole, statement=_of(half, s, text), texts=(text,))
    if not half.complete:
        goes_on = half.lines + 1 < _PIECES and not said.ANCHOR.search(rest)
        return whole if goes_on and _BEGUN.match(half.texts[0]) else None
    if said.DIGITS_ONLY.match(rest) and half.statement.value == half.statement.value:
        s = said_in_whole(half.texts[0] + rest)
        if s is not None and (s.kind == "output" or s.digits <= _PRECISION):
            return replace(whole, statement=half.statement._replace(kind="broken", open=False))
    return None


def _of(half: Half, s: Statement, text: bytes) -> Statement:
    first = half.statement
    return s._replace(raw=text, thread=first.thread, stamp=first.stamp, rank=first.rank)
