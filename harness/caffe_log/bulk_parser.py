"""What most of a long log consists of: the same display again and again, with other numbers.

A `Shape` is one pattern for all lines of a display (with the test pass, where there is one each time, and with Caffe's
other talk between its lines), made from one that was read line by line. It matches only what is read line by line to
the same effect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.caffe_log import patterns as said
from harness.caffe_log.line_parser import Statement
from harness.caffe_log.runs import Key

# No possessive quantifiers: a group with one that fails keeps half of what it had matched (CPython 3.11).
_VALUE = rb"(?:-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[-+]\d{2,3})?|nan|inf))"
_NUMBER = re.compile(rb"-?\d[\d.]*(?:e[-+]\d+)?")
_ANY_NUMBER = rb"-?\d[\d.]{0,40}(?:e[-+]\d{1,4})?"
_DIGITS = re.compile(rb"\d+")
# What Caffe says besides: with a header it is no half of another line.
_NOISE = (
    rb"(?:(?![^\n]*(?:"
    + said.INTERESTING.pattern
    + rb"))%b[IWE]\d{4} \d\d:\d\d:\d\d\.\d{1,9} {1,9}\d{1,9} [\w./]{1,80}:\d{1,6}\]"
    rb"[^\n]*\n){0,20}"
)
_AGAIN = 16  # displays that have no known shape, and most of them, until another one is looked for
_LINES = 200  # of a display; more would make a pattern that is slow to compile

Line = tuple[bytes, Statement]
Column = str | tuple[int, Key]  # "loss", "lr", or an output of the train net (-1) or of a test net


@dataclass(frozen=True)
class Shape:
    """`pattern.findall` gives a tuple a display or line: the display's text, its iteration, `columns`, other line."""

    source: bytes
    pattern: re.Pattern[bytes]
    columns: tuple[Column, ...]  # whose value stands there
    lines: int
    spoken: frozenset[str]
    thread: bytes
    rank: bytes
    tested: int | None  # the last test net


class Shapes:
    """The shape that most displays have, learned from two alike that were read line by line."""

    def __init__(self) -> None:
        self.known: Shape | None = None
        self.used = 0  # displays for which it was of use, since another one was looked for
        self._sketch: bytes | None = None
        self._alone = 0  # displays that were read line by line since then

    def learn(self, display: Sequence[Line], noisy: bool) -> None:
        """From one that was read line by line. `noisy`: something else was said in it."""
        self._alone += 1
        if self.known is not None:
            if self._alone < _AGAIN:
                return
            of_use, self.used, self._alone = self.used > self._alone, 0, 0
            if of_use:
                return
        source = sketch(display, noisy)
        if source is None or (self.known is not None and source == self.known.source):
            return
        if source == self._sketch:
            self.known = shape(display, source) or self.known
        self._sketch = source


def sketch(display: Sequence[Line], noisy: bool = False) -> bytes | None:
    """The pattern for displays that look like `display`, None where there can be none. `noisy`: there may be other talk
    between its lines."""
    kinds = [s.kind for _, s in display]
    if kinds.count("loss") != 1 or kinds[0] == "output" or len(kinds) > _LINES:
        return None
    outputs = _outputs(display)
    if None in outputs or len({(net, key[0]) for net, key in filter(None, outputs)}) < len(outputs):
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
    split = _split(display[0][0])
    noise = _NOISE % _with_any(_DIGITS, split[0], rb"\d{1,40}") if noisy and split and split[1] else b""
    return rb"(" + noise.join(parts) + rb"(?=" + following + rb"))|([^\n]*\n)"


def _outputs(display: Sequence[Line]) -> list[tuple[int, Key] | None]:
    """The nets and keys of the outputs; None for one without a loss or a test pass before it."""
    train, test = False, -1
    found: list[tuple[int, Key] | None] = []
    for _, s in display:
        train = train or s.kind == "loss"
        test = s.place if s.kind == "test" else test
        if s.kind == "output":
            there = train if s.phase == "Train" else test >= 0
            net = -1 if s.phase == "Train" else test
            found.append((net, (s.place, s.name, s.weight)) if there else None)
    return found


def shape(display: Sequence[Line], source: bytes) -> Shape | None:
    """As a Shape; `source` is its sketch. None where it does not match what it was made of."""
    pattern = re.compile(source)
    text = b"".join(line + b"\n" for line, _ in display)
    match = pattern.match(text + display[0][0])
    if not match or match[1] != text:
        return None
    outputs = iter(filter(None, _outputs(display)))
    columns = tuple(next(outputs) if s.kind == "output" else s.kind for _, s in display if s.kind != "test")
    tested = [s.place for _, s in display if s.kind == "test"]
    spoken = frozenset(s.kind for _, s in display if s.kind != "output")
    first = display[0][1]
    if any((s.thread, s.rank) != (first.thread, first.rank) for _, s in display):
        return None
    last = tested[-1] if tested else None
    return Shape(source, pattern, columns, len(display), spoken, first.thread, first.rank, last)


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
    if s.kind == "test":
        rest = line[start + match.end("iteration") :]
        return None if s.open else head + rb"Iteration " + iteration + re.escape(rest)
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
