"""What most of a long log consists of: the same display again and again, with other numbers.

A `Shape` is one pattern for all lines of a display, made from one that was read line by line. It matches only what is
read line by line to the same effect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.logs import lines as said
from harness.logs.runs import Key
from harness.logs.statements import Statement

# No possessive quantifiers: a group with one that fails keeps half of what it had matched (CPython 3.11).
_VALUE = rb"(?:-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[-+]\d{2,3})?|nan|inf))"
_NUMBER = re.compile(rb"-?\d[\d.]*(?:e[-+]\d+)?")
_ANY_NUMBER = rb"-?\d[\d.]{0,40}(?:e[-+]\d{1,4})?"
_DIGITS = re.compile(rb"\d+")
_LINES = 200  # of a display; more would make a pattern that is slow to compile

Line = tuple[bytes, Statement]


@dataclass(frozen=True)
class Shape:
    """`pattern.findall` gives a tuple a display or line: the display's text, its iteration, `columns`, other line."""

    source: bytes
    pattern: re.Pattern[bytes]
    columns: tuple[Key | str, ...]  # whose value stands there: "loss", "lr", or an output
    lines: int
    spoken: frozenset[str]
    thread: bytes
    rank: bytes


def sketch(display: Sequence[Line]) -> bytes | None:
    """The pattern for displays that look like `display`, None where there can be none."""
    kinds = [s.kind for _, s in display]
    if "loss" not in kinds or kinds[0] == "output" or len(kinds) > _LINES or kinds.count("loss") > 1:
        return None
    if "output" in kinds and kinds.index("output") < kinds.index("loss"):
        return None
    if len({s.place for _, s in display if s.kind == "output"}) < kinds.count("output"):
        return None
    parts = []
    for number, (text, statement) in enumerate(display):
        part = _line(text, statement, rb"(\d{1,9})" if number == 0 else rb"\2")
        if part is None:
            return None
        parts.append(part + rb"\n")
    following = _beginning(*display[0])
    if kinds[-1] != "output" and not (_split(display[-1][0]) or (b"",))[0]:
        following += rb"|[A-DF-Za-df-z\[]"  # what no number goes on with
    return rb"(" + b"".join(parts) + rb"(?=" + following + rb"))|([^\n]*\n)"


def shape(display: Sequence[Line], source: bytes) -> Shape | None:
    """As a Shape; `source` is its sketch. None where it does not match what it was made of."""
    pattern = re.compile(source)
    text = b"".join(line + b"\n" for line, _ in display)
    match = pattern.match(text + display[0][0])
    if not match or match[1] != text:
        return None
    columns = tuple((s.place, s.name, s.weight) if s.kind == "output" else s.kind for _, s in display)
    spoken = frozenset(s.kind for _, s in display if s.kind != "output")
    first = display[0][1]
    if any((s.thread, s.rank) != (first.thread, first.rank) for _, s in display):
        return None
    return Shape(source, pattern, columns, len(display), spoken, first.thread, first.rank)


def _split(line: bytes) -> tuple[bytes, bytes] | None:
    """What stands before glog's stamp, and the stamp (empty where there is no header)."""
    header = said.HEADER.search(line)
    if not header:
        anchor = said.ANCHOR.search(line)
        return (line[: anchor.start()], b"") if anchor else None
    return (line[: header.start()], line[header.start() : header.end("stamp")]) if header["stamp"] else None


def _beginning(line: bytes, s: Statement) -> bytes:
    parts = _split(line)
    assert parts is not None
    before = re.escape(parts[0]) if s.rank else _with_any(_DIGITS, parts[0], rb"\d{1,40}")
    return before + (rb"[IWEF]\d{4}" if parts[1] else rb"(?:Iteration \d|Train net|Test net)")


def _line(line: bytes, s: Statement, iteration: bytes) -> bytes | None:
    parts = _split(line)
    start = line.find(s.raw)
    if parts is None or start < 0 or said.INTERESTING.search(parts[0]) or len(parts[0]) > 200:
        return None
    before, stamp = parts
    begun = len(before) + len(stamp)
    head = re.escape(before) if s.rank else _with_any(_DIGITS, before, rb"\d{1,40}")
    head += _DIGITS.sub(lambda m: rb"\d{%d}" % len(m[0]), re.escape(stamp))
    head += re.escape(line[begun:start])
    match = said.OUTPUT.fullmatch(s.raw) if s.kind == "output" else said.ITERATION.match(s.raw)
    if match is None:
        return None
    first, last = match.span("value")
    tail = line[start + last :]
    if s.kind == "output":
        if s.weight is not None:
            begin, end = (place - last for place in match.span("weighted"))
            rest = re.escape(tail[:begin]) + _VALUE + re.escape(tail[end:])
        else:
            rest = re.escape(tail)
        return head + re.escape(s.raw[:first]) + rb"(" + _VALUE + rb")" + rest
    aside = _with_any(_NUMBER, s.raw[match.end("iteration") : first], _ANY_NUMBER)
    rest = _with_any(_NUMBER, tail, _ANY_NUMBER)
    return head + rb"Iteration " + iteration + aside + rb"(" + _VALUE + rb")" + rest


def _with_any(numbers: re.Pattern[bytes], text: bytes, pattern: bytes) -> bytes:
    """`text` as a pattern, in which any numbers may stand for its own."""
    return pattern.join(re.escape(part) for part in numbers.split(text))
