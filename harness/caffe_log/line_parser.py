"""Parse one line of a log into entries, without regard to the lines before it."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.caffe_log import patterns

_LONGEST = 400  # bytes of one entry; longer text is not one
_LEAD = 300  # bytes before an entry that are examined
_WORDS = bytes(byte for byte in range(256) if byte > 127 or chr(byte).isalnum() or byte == ord(")"))
_MAX_INT = 2**31 - 1  # Solver::iter_ is an int
_SPECIAL = {b"qnan": "nan", b"snan": "nan", b"ind": "nan", b"inf": "inf"}
_FILES = (
    (b"Resuming from ", "resume"),
    (b"Restoring previous solver status from ", "resume"),
    (b"Finetuning from ", "weights"),
)


class Entry(NamedTuple):
    """One thing that a log tells about a run.

    Attributes:
        kind: loss, lr, test, output, score, solver, net, start, resume, weights, snapshot, done or fatal; broken for
            text that begins as one of these but cannot be used.
        open: it ends at the end of its line, so it may be cut off, or continue on the next line.
    """

    kind: str
    raw: bytes = b""
    open: bool = False
    iteration: int = -1
    value: float = 0.0
    phase: str = ""
    number: int = -1  # of an output, or the number of a test net
    name: str = ""  # of an output or a file, or the text of a FATAL line
    weight: float | None = None
    digits: int = 99  # significant digits of an open value: Caffe prints six at most
    thread: bytes = b""
    stamp: str = ""
    rank: bytes = b""


def parse_value(text: bytes) -> float:
    """Parse a value as C++ prints it; Microsoft's `-1.#IND` is NaN."""
    if b"#" in text:
        special = re.sub(rb"[^a-z]", b"", text.lower())
        return float(text[:1].replace(b"1", b"").decode() + _SPECIAL[special])
    return float(text.partition(b"(")[0])


def significant_digits(text: bytes) -> int:
    """Count the significant digits of a printed number; 99 if it is complete: two exponent digits, NaN, infinity."""
    mantissa, exponent, power = text.lower().partition(b"e")
    if exponent:
        return 99 if len(power.lstrip(b"+-")) >= 2 else 1
    if text[-1:] not in b"0123456789." or b"#" in text:
        return 99
    return len(mantissa.lstrip(b"-+0.").replace(b".", b"")) or 1


def parse_line(line: bytes) -> list[Entry]:
    """Find the entries in `line` (no newline, no control codes); there are several if newlines were lost."""
    headers = _headers(line)
    anchors = [anchor.start() for anchor in patterns.ANCHOR.finditer(line)]
    found: list[Entry] = []
    cursor, done = 0, 0  # the next header; the end of what has been parsed
    for start, following in zip(anchors, [*anchors[1:], len(line)], strict=False):
        if start < done:
            continue
        header = None
        while cursor < len(headers) and headers[cursor].end() <= start:
            header, cursor = headers[cursor], cursor + 1
            _add_fatal(line, header, headers, cursor, found)
        if cursor < len(headers) and headers[cursor].start() < start:
            continue  # inside the file name of a header
        lead = line[max(header.end() if header else done, start - _LEAD) : start].rstrip()
        if not header and (lead or not found) and lead[-1:] in _WORDS and lead:
            continue  # inside a sentence
        until = headers[cursor].start() if cursor < len(headers) else len(line)
        entry, raw, ends = _parse_at(line, start, until, min(until, following), bool(header or lead))
        if entry is None:
            continue
        done = start + len(raw)
        thread, stamp, rank = b"", "", None
        if header:
            thread, stamp = header["thread"] or b"", (header["stamp"] or header["bare"][1:]).decode()
            before = line[max(header.start() - _LEAD, 0) : header.start()]
            rank = patterns.RANK.search(lead) or patterns.RANK_BEFORE.search(before)
        elif found:
            thread, stamp = found[-1].thread, found[-1].stamp
        found.append(entry._replace(raw=raw, open=ends, thread=thread, stamp=stamp, rank=rank[1] if rank else b""))
    for following in range(cursor, len(headers)):
        _add_fatal(line, headers[following], headers, following + 1, found)
    return found


def _headers(line: bytes) -> list[re.Match[bytes]]:
    first = patterns.HEADER.search(line)
    if first is None:
        return []
    more = line.find(b"]", first.end()) >= 0  # every header ends with it; a failing search takes long
    return [first, *patterns.HEADER.finditer(line, first.end())] if more else [first]


def _add_fatal(
    line: bytes, header: re.Match[bytes], headers: list[re.Match[bytes]], following: int, found: list[Entry]
) -> None:
    if header["level"] == b"F":
        until = headers[following].start() if following < len(headers) else len(line)
        text = line[header.end() : until].decode(errors="replace").strip()[:1000]
        stamp = header["stamp"].decode()
        found.append(Entry("fatal", name=text, thread=header["thread"] or b"", stamp=stamp))


def _parse_at(line: bytes, start: int, until: int, following: int, headed: bool) -> tuple[Entry | None, bytes, bool]:
    """Parse the entry that begins at `start`: the entry, its text, and whether it is open.

    Args:
        until: where the next header begins.
        following: where the next anchor begins.
        headed: a log header or another prefix precedes it.
    """
    raw = line[start : min(until, start + _LONGEST)].rstrip()
    ends = until == len(line) and until - start <= _LONGEST
    entry = parse_whole(raw)
    if entry is None:
        raw = line[start : min(following, start + _LONGEST)].rstrip()
        ends = ends and following == len(line)
        entry = parse_whole(raw) or parse_prefix(raw, headed)
    if entry is None:
        return None, raw, False
    return entry, raw, ends and (entry.open or entry.kind == "broken")


def parse_whole(text: bytes) -> Entry | None:
    """Parse `text` if it is one loss, lr or output and nothing else."""
    match = patterns.OUTPUT.fullmatch(text)
    if match:
        cut = match["weight"] is None and patterns.CUT_WEIGHT.search(match["name"])
        return None if cut or patterns.ANOTHER.search(match["name"]) else _output(match, text)
    match = patterns.ITERATION.fullmatch(text)
    return _iteration(match, text) if match else None


def parse_prefix(text: bytes, headed: bool) -> Entry | None:
    """Parse the entry at the beginning of `text`. `headed`: a log header or another prefix precedes it."""
    if text.startswith(b"Iteration "):
        match = patterns.ITERATION.match(text)
        if match:
            return _iteration(match, text)
        return Entry("broken") if patterns.BROKEN_ITERATION.match(text) else None
    if text.startswith((b"Train net", b"Test net")):
        match = patterns.OUTPUT_WITHIN.match(text)
        return _output(match, text) if match else Entry("broken")
    if text.startswith(b"Test score"):
        match = patterns.SCORE.match(text)
        return _score(match, text) if match else Entry("broken")
    return _announcement(text) if headed or text.startswith((b"Initializing", b"Starting", b"Optim", b"Snap")) else None


def _iteration(match: re.Match[bytes], text: bytes) -> Entry:
    iteration = int(match["iteration"])
    if iteration > _MAX_INT:
        return Entry("broken")
    if match["testing"]:
        return Entry("test", iteration=iteration, number=int(match["net"] or 0), open=match["net"] is None)
    value, ends = match["value"], match.end("value") == len(text)
    digits = significant_digits(value) if ends else 99
    return Entry(match["what"].decode(), iteration=iteration, value=parse_value(value), digits=digits, open=ends)


def _output(match: re.Match[bytes], text: bytes) -> Entry:
    weight, value = match["weight"], match["value"]
    ends = weight is None and match.end("value") == len(text)
    return Entry(
        "output",
        phase=match["phase"].decode(),
        number=int(match["number"]),
        name=match["name"].decode(errors="replace"),
        value=parse_value(value),
        weight=None if weight is None else parse_value(weight),
        digits=min(significant_digits(value), 5) if ends else 99,  # never complete: ` (* 1 = …` may follow
        open=ends,
    )


def _score(match: re.Match[bytes], text: bytes) -> Entry:
    value, ends = match["value"], match.end() == len(text)
    digits = significant_digits(value) if ends else 99
    number = int(match["number"])
    return Entry("score", number=number, name="Test score", value=parse_value(value), digits=digits, open=ends)


def _announcement(text: bytes) -> Entry | None:
    if text.startswith(b"Initializing"):
        return Entry("solver" if text.startswith(b"Initializing solver") else "net")
    if text.startswith((b"Starting Opt", b"Solving ")):
        return Entry("start")
    if text.startswith(b"Optimization Done"):
        return Entry("done")
    if text.startswith(b"Test loss: "):
        match = patterns.TEST_LOSS.match(text)
        if not match:
            return Entry("broken")
        digits = significant_digits(match["value"]) if match.end() == len(text) else 99
        value = parse_value(match["value"])
        return Entry("score", name="Test loss", value=value, digits=digits, open=match.end() == len(text))
    if text.startswith(b"Testing net"):
        match = patterns.TESTING.match(text)
        return Entry("test", number=int(match["net"] or 0), open=match["net"] is None) if match else None
    if text.startswith(b"Snapshotting to "):
        file = text.removeprefix(b"Snapshotting to ").removeprefix(b"binary proto file ").removeprefix(b"HDF5 file ")
        at = patterns.ITERATION_OF_FILE.search(file)
        iteration = min(int(at[1]), _MAX_INT) if at else -1
        return Entry("snapshot", iteration=iteration, name=file.decode(errors="replace").strip(), open=True)
    for prefix, kind in _FILES:
        if text.startswith(prefix):
            return Entry(kind, name=text.removeprefix(prefix).decode(errors="replace").strip(), open=True)
    return None
