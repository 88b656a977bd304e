"""Write a regular expression for all lines of a display, from displays that were parsed line by line.

It matches only text for which parsing line by line has the same result. A display may have a test pass, or be nothing
but one, and there may be other output of Caffe between its lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.caffe_log import patterns
from harness.caffe_log.line_parser import Entry
from harness.caffe_log.runs import Column, Key, RunBuilder

# An optional part is written as an alternative to nothing, which is faster than `?`. No possessive quantifiers: a group
# with one that fails keeps half of what it had matched (CPython 3.11).
_NUMBER = rb"\d{1,40}(?:\.\d{1,40}|)(?:e[-+]\d{2,3}|)"
_VALUE = rb"(?:" + _NUMBER + rb"|-" + _NUMBER + rb"|-?nan|-?inf)"
_ANY_NUMBER = rb"-?\d[\d.]{0,40}(?:e[-+]\d{1,4}|)"
_NUMBERS = re.compile(rb"-?\d[\d.]*(?:e[-+]\d+)?")
_DIGITS = re.compile(rb"\d+")
_ITERATION, _SAME_ITERATION = rb"(?P<iteration>\d{1,9})", rb"(?P=iteration)"
# Other output of Caffe: with a header, it is no continuation of another line.
_NOISE = (
    rb"(?:%b(?=[IWE]\d{4}(?:\d{4}|) \d\d:\d\d:\d\d\.\d{1,9} {1,9}\d{1,9} [\w./]{1,80}:\d{1,6}\])"
    + patterns.UNINTERESTING
    + rb"\n){0,20}?"
)
# After a value at the end of a line without a header: the next line begins with no character that may continue it.
_NO_CONTINUATION = rb"|[ \t]{0,99}(?:[A-DF-Za-df-z\[\n]|[eE](?![-+\d]))"
_LINES = 400  # most lines of a display; more would make the pattern slow to compile

OUTPUTS = ("output", "score")  # kinds of entries without an iteration
Line = tuple[bytes, Entry]
Row = tuple[bytes, ...]  # the iteration and the values of a display, in the order of the columns


@dataclass(frozen=True)
class DisplayPattern:
    """A pattern for displays.

    Attributes:
        source: the text of the regular expression; its groups are the iteration and the values of `columns`.
        columns: what the values are, in their order.
        lines: lines of a display, other output not counted.
        noisy: there may be other output between them.
        kinds: kinds of entries about the iteration: loss, lr, test.
        test_net: the last test net, None without a test pass.
    """

    source: bytes
    columns: tuple[Column, ...]
    lines: int
    noisy: bool
    kinds: frozenset[str]
    thread: bytes
    rank: bytes
    test_net: int | None

    def numbered(self, number: int) -> bytes:
        """Return the source for a place in a larger expression with other displays, under another number each."""
        name = b"<iteration%d>" % number
        return self.source.replace(_SAME_ITERATION, b"(?P=%b)" % name[1:-1]).replace(
            _ITERATION, _ITERATION.replace(b"<iteration>", name)
        )

    def fits(self, run: RunBuilder) -> bool:
        """Check whether displays with increasing iterations can only belong to `run`, which has begun."""
        return (run.thread, run.rank) == (self.thread, self.rank) and all(
            isinstance(column, str) or run.has_room_for(*column) for column in self.columns
        )


def pattern_of(display: Sequence[Line], noisy: bool = False) -> DisplayPattern | None:
    """Make the pattern of displays like `display`; None if there can be none.

    Args:
        noisy: allow other output between the lines.
    """
    source = pattern_source(display, noisy)
    if source is None:
        return None
    entries = [entry for _, entry in display]
    first = entries[0]
    if any((entry.thread, entry.rank) != (first.thread, first.rank) for entry in entries):
        return None
    outputs = iter(filter(None, _outputs(display)))
    columns = (next(outputs) if entry.kind in OUTPUTS else entry.kind for entry in entries if entry.kind != "test")
    tested = [entry.number for entry in entries if entry.kind == "test"]
    return DisplayPattern(
        source,
        columns=tuple(columns),
        lines=len(entries),
        noisy=noisy,
        kinds=frozenset(entry.kind for entry in entries if entry.kind not in OUTPUTS),
        thread=first.thread,
        rank=first.rank,
        test_net=tested[-1] if tested else None,
    )


def matches(pattern: DisplayPattern, display: Sequence[Line]) -> bool:
    """Check that the pattern matches the lines of `display`, followed by another display."""
    text = b"".join(line + b"\n" for line, _ in display)
    match = re.match(pattern.source, text + display[0][0])
    return match is not None and match.end() == len(text)


def pattern_source(display: Sequence[Line], noisy: bool = False) -> bytes | None:
    """Write the regular expression of displays like `display`; None if there can be none."""
    kinds = [entry.kind for _, entry in display]
    displays = kinds.count("loss") == 1 and kinds[0] not in OUTPUTS
    tests = kinds[0] == "test" and kinds[-1] != "test" and {*kinds} <= {"test", *OUTPUTS}
    if not (displays or tests) or len(kinds) > _LINES:
        return None
    outputs = _outputs(display)
    if None in outputs or len({(net, key[0]) for net, key in filter(None, outputs)}) < len(outputs):
        return None
    parts = []
    for number, (text, entry) in enumerate(display):
        part = _line(text, entry, _SAME_ITERATION if number else _ITERATION)
        if part is None:
            return None
        parts.append(part + rb"\n")
    following = _beginning(*display[0])
    if kinds[-1] != "output" and not (_split(display[-1][0]) or (b"",))[0]:
        following += _NO_CONTINUATION
    split = _split(display[0][0])
    noise = _NOISE % _with_any(_DIGITS, split[0], rb"\d{1,40}") if noisy and split and split[1] else b""
    return noise.join(parts) + rb"(?=" + following + rb")"


def _outputs(display: Sequence[Line]) -> list[tuple[int, Key] | None]:
    """List the nets and keys of the outputs; None for an output without a loss or a test pass before it."""
    train, test = False, -1
    found: list[tuple[int, Key] | None] = []
    for _, entry in display:
        train = train or entry.kind == "loss"
        test = entry.number if entry.kind == "test" else test
        if entry.kind in OUTPUTS:
            preceded = train if entry.phase == "Train" else test >= 0
            net = -1 if entry.phase == "Train" else test
            found.append((net, (entry.number, entry.name, entry.weight)) if preceded else None)
    return found


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
    head += _DIGITS.sub(_digits, re.escape(stamp))
    head += re.escape(line[begun:start])
    match = _match(entry)
    if match is None:
        return None
    if entry.kind == "test":
        rest = line[start + match.end("iteration") :]
        return None if entry.open else head + rb"Iteration " + iteration + re.escape(rest)
    first, last = match.span("value")
    tail = line[start + last :]
    if entry.kind in OUTPUTS:
        if entry.weight is not None:
            begin, end = (position - last for position in match.span("weighted"))
            rest = re.escape(tail[:begin]) + _VALUE + re.escape(tail[end:])
        else:
            rest = re.escape(tail)
        return head + re.escape(entry.raw[:first]) + rb"(" + _VALUE + rb")" + rest
    aside = _with_any(_NUMBERS, entry.raw[match.end("iteration") : first], _ANY_NUMBER)
    rest = _with_any(_NUMBERS, tail, _ANY_NUMBER)
    return head + rb"Iteration " + iteration + aside + rb"(" + _VALUE + rb")" + rest


def _match(entry: Entry) -> re.Match[bytes] | None:
    if entry.kind == "output":
        return patterns.OUTPUT.fullmatch(entry.raw)
    if entry.kind == "score":
        return (patterns.SCORE if entry.number >= 0 else patterns.TEST_LOSS).match(entry.raw)
    return patterns.ITERATION.match(entry.raw)


def _with_any(numbers: re.Pattern[bytes], text: bytes, pattern: bytes) -> bytes:
    """Escape `text`, except that `pattern` stands for each of its `numbers`."""
    return pattern.join(re.escape(part) for part in numbers.split(text))


def _digits(match: re.Match[bytes]) -> bytes:
    """Write the pattern of that many digits; few of them are faster one by one."""
    count = len(match[0])
    return rb"\d" * count if count <= 4 else rb"\d{%d}" % count
