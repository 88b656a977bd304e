"""Parse long stretches of a log at once: most of it is the same display again and again with other numbers.

A `DisplayPattern` is one regular expression for all lines of a display, including a test pass if every display has one
and other output of Caffe between its lines. It is learned from displays that were parsed line by line, and matches only
text for which parsing line by line has the same result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.caffe_log import patterns
from harness.caffe_log.line_parser import Entry
from harness.caffe_log.runs import Key, RunBuilder

# No possessive quantifiers: a group with one that fails keeps half of what it had matched (CPython 3.11).
_VALUE = rb"(?:-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[-+]\d{2,3})?|nan|inf))"
_NUMBER = re.compile(rb"-?\d[\d.]*(?:e[-+]\d+)?")
_ANY_NUMBER = rb"-?\d[\d.]{0,40}(?:e[-+]\d{1,4})?"
_DIGITS = re.compile(rb"\d+")
# Other output of Caffe: with a header, it is no continuation of another line.
_NOISE = (
    rb"(?:(?![^\n]*(?:"
    + patterns.INTERESTING.pattern
    + rb"))%b[IWE]\d{4} \d\d:\d\d:\d\d\.\d{1,9} {1,9}\d{1,9} [\w./]{1,80}:\d{1,6}\]"
    rb"[^\n]*\n){0,20}"
)
_AGAIN = 16  # unmatched displays, if they are the majority, until another pattern is considered
_LINES = 200  # most lines of a display; more would make the pattern slow to compile

Line = tuple[bytes, Entry]
Row = tuple[bytes, ...]  # the groups of a DisplayPattern's match
Column = str | tuple[int, Key]  # "loss", "lr", or an output of the train net (-1) or of a test net


@dataclass(frozen=True)
class DisplayPattern:
    """A pattern for displays.

    Attributes:
        source: the text of the regular expression.
        regex: its groups are the text of the display, its iteration, the values of `columns`, or another line.
        columns: what the values are, in their order.
        lines: lines of a display, other output not counted.
        kinds: kinds of entries about the iteration: loss, lr, test.
        test_net: the last test net, None without a test pass.
    """

    source: bytes
    regex: re.Pattern[bytes]
    columns: tuple[Column, ...]
    lines: int
    kinds: frozenset[str]
    thread: bytes
    rank: bytes
    test_net: int | None

    def continues(self, run: RunBuilder, iteration: int) -> bool:
        """Check whether a display of `iteration` can only be the next one of `run`."""
        return (
            0 <= run.iteration < iteration
            and (run.thread, run.rank) == (self.thread, self.rank)
            and all(isinstance(column, str) or run.has_room_for(*column) for column in self.columns)
        )

    def extend(self, run: RunBuilder, rows: Sequence[Row], iterations: list[int]) -> None:
        """Add displays of increasing iterations to `run`."""
        for group, column in enumerate(self.columns, 2):
            values = [float(row[group]) for row in rows]
            if isinstance(column, str):
                (run.loss if column == "loss" else run.lr).extend(iterations, values)
            else:
                run.net(column[0]).extend(column[1], iterations, values)
        run.previous = iterations[-2] if len(iterations) > 1 else run.iteration
        run.iteration, run.kinds = iterations[-1], set(self.kinds)
        if self.test_net is not None:
            run.test_pass = (self.test_net, iterations[-1])


class DisplayLearner:
    """Learns the pattern of most displays from two similar ones that were parsed line by line."""

    def __init__(self) -> None:
        self.known: DisplayPattern | None = None
        self._display: list[Line] = []  # the lines of the current display
        self._noisy = self._interrupted = False  # there was other output in it, or since its last line
        self._matched = 0  # displays that `known` matched since another pattern was last considered
        self._unmatched = 0  # displays that were parsed line by line since then
        self._last_source: bytes | None = None

    @property
    def in_display(self) -> bool:
        return bool(self._display)

    def add(self, line: bytes, entry: Entry) -> None:
        """Add a loss, lr, output or beginning of a test pass that is on a line of its own."""
        if entry.kind != "output" and self._display and self._display[0][1].iteration != entry.iteration:
            self.end_display()
        self._noisy = bool(self._display) and (self._noisy or self._interrupted)
        self._interrupted = False
        self._display.append((line, entry))

    def interrupt(self) -> None:
        """Note a line of other output, after which the display may continue."""
        self._interrupted = True

    def note_matches(self, count: int) -> None:
        """Note that `known` matched `count` displays."""
        self._display = []
        self._matched += count

    def end_display(self) -> None:
        """Learn from the current display, which is complete."""
        display, self._display = self._display, []
        if not display:
            return
        self._unmatched += 1
        if self.known is not None:
            if self._unmatched < _AGAIN:
                return
            useful, self._matched, self._unmatched = self._matched > self._unmatched, 0, 0
            if useful:
                return
        source = pattern_source(display, self._noisy)
        if source is None or (self.known is not None and source == self.known.source):
            return
        if source == self._last_source:
            self.known = compile_pattern(display, source) or self.known
        self._last_source = source


def pattern_source(display: Sequence[Line], noisy: bool = False) -> bytes | None:
    """Write the pattern of displays like `display`; None if there can be none.

    Args:
        noisy: allow other output between the lines.
    """
    kinds = [entry.kind for _, entry in display]
    if kinds.count("loss") != 1 or kinds[0] == "output" or len(kinds) > _LINES:
        return None
    outputs = _outputs(display)
    if None in outputs or len({(net, key[0]) for net, key in filter(None, outputs)}) < len(outputs):
        return None
    parts = []
    for number, (text, entry) in enumerate(display):
        part = _line(text, entry, rb"(\d{1,9})" if number == 0 else rb"\2")
        if part is None:
            return None
        parts.append(part + rb"\n")
    following = _beginning(*display[0])
    if kinds[-1] != "output" and not (_split(display[-1][0]) or (b"",))[0]:
        following += rb"|[A-DF-Za-df-z\[]"  # no character that could continue a number
    split = _split(display[0][0])
    noise = _NOISE % _with_any(_DIGITS, split[0], rb"\d{1,40}") if noisy and split and split[1] else b""
    return rb"(" + noise.join(parts) + rb"(?=" + following + rb"))|([^\n]*\n)"


def _outputs(display: Sequence[Line]) -> list[tuple[int, Key] | None]:
    """List the nets and keys of the outputs; None for an output without a loss or a test pass before it."""
    train, test = False, -1
    found: list[tuple[int, Key] | None] = []
    for _, entry in display:
        train = train or entry.kind == "loss"
        test = entry.number if entry.kind == "test" else test
        if entry.kind == "output":
            preceded = train if entry.phase == "Train" else test >= 0
            net = -1 if entry.phase == "Train" else test
            found.append((net, (entry.number, entry.name, entry.weight)) if preceded else None)
    return found


def compile_pattern(display: Sequence[Line], source: bytes) -> DisplayPattern | None:
    """Compile the pattern `source` of `display`; None if it does not match that display."""
    regex = re.compile(source)
    text = b"".join(line + b"\n" for line, _ in display)
    match = regex.match(text + display[0][0])
    if not match or match[1] != text:
        return None
    entries = [entry for _, entry in display]
    first = entries[0]
    if any((entry.thread, entry.rank) != (first.thread, first.rank) for entry in entries):
        return None
    outputs = iter(filter(None, _outputs(display)))
    columns = (next(outputs) if entry.kind == "output" else entry.kind for entry in entries if entry.kind != "test")
    tested = [entry.number for entry in entries if entry.kind == "test"]
    return DisplayPattern(
        source,
        regex,
        columns=tuple(columns),
        lines=len(entries),
        kinds=frozenset(entry.kind for entry in entries if entry.kind != "output"),
        thread=first.thread,
        rank=first.rank,
        test_net=tested[-1] if tested else None,
    )


def _split(line: bytes) -> tuple[bytes, bytes] | None:
    """Return the text before glog's time stamp, and the stamp (empty if there is no header)."""
    header = patterns.HEADER.search(line)
    if not header:
        anchor = patterns.ANCHOR.search(line)
        return (line[: anchor.start()], b"") if anchor else None
    return (line[: header.start()], line[header.start() : header.end("stamp")]) if header["stamp"] else None


def _beginning(line: bytes, entry: Entry) -> bytes:
    parts = _split(line)
    assert parts is not None
    before = re.escape(parts[0]) if entry.rank else _with_any(_DIGITS, parts[0], rb"\d{1,40}")
    return before + (rb"[IWEF]\d{4}" if parts[1] else rb"(?:Iteration \d|Train net|Test net)")


def _line(line: bytes, entry: Entry, iteration: bytes) -> bytes | None:
    """Write the pattern of one line; `iteration` is the pattern of its iteration."""
    parts = _split(line)
    start = line.find(entry.raw)
    if parts is None or start < 0 or patterns.INTERESTING.search(parts[0]) or len(parts[0]) > 200:
        return None
    before, stamp = parts
    begun = len(before) + len(stamp)
    head = re.escape(before) if entry.rank else _with_any(_DIGITS, before, rb"\d{1,40}")
    head += _DIGITS.sub(lambda m: rb"\d{%d}" % len(m[0]), re.escape(stamp))
    head += re.escape(line[begun:start])
    match = patterns.OUTPUT.fullmatch(entry.raw) if entry.kind == "output" else patterns.ITERATION.match(entry.raw)
    if match is None:
        return None
    if entry.kind == "test":
        rest = line[start + match.end("iteration") :]
        return None if entry.open else head + rb"Iteration " + iteration + re.escape(rest)
    first, last = match.span("value")
    tail = line[start + last :]
    if entry.kind == "output":
        if entry.weight is not None:
            begin, end = (position - last for position in match.span("weighted"))
            rest = re.escape(tail[:begin]) + _VALUE + re.escape(tail[end:])
        else:
            rest = re.escape(tail)
        return head + re.escape(entry.raw[:first]) + rb"(" + _VALUE + rb")" + rest
    aside = _with_any(_NUMBER, entry.raw[match.end("iteration") : first], _ANY_NUMBER)
    rest = _with_any(_NUMBER, tail, _ANY_NUMBER)
    return head + rb"Iteration " + iteration + aside + rb"(" + _VALUE + rb")" + rest


def _with_any(numbers: re.Pattern[bytes], text: bytes, pattern: bytes) -> bytes:
    """Escape `text`, except that `pattern` stands for each of its `numbers`."""
    return pattern.join(re.escape(part) for part in numbers.split(text))
