"""One line of a log, taken apart into what it says: a line in, statements out, nothing remembered."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.caffe_log import patterns as said

_LONGEST = 400  # bytes of one statement; what is longer says nothing
_LEAD = 300  # bytes before a statement that are looked at
_WORDS = bytes(byte for byte in range(256) if byte > 127 or chr(byte).isalnum() or byte == ord(")"))
_MAX_INT = 2**31 - 1  # Solver::iter_ is an int
_SPECIAL = {b"qnan": "nan", b"snan": "nan", b"ind": "nan", b"inf": "inf"}
_FILES = (
    (b"Resuming from ", "resume"),
    (b"Restoring previous solver status from ", "resume"),
    (b"Finetuning from ", "weights"),
)


class Statement(NamedTuple):
    """`kind` is loss, lr, test, output, score, test_loss, solver, net, start, resume, weights, snapshot, done, fatal,
    or broken: it begins as one of those, and cannot be used. `open`: it ends where its line does, so that it may be cut
    or go on in the next line."""

    kind: str
    raw: bytes = b""
    open: bool = False
    iteration: int = -1
    value: float = 0.0
    phase: str = ""
    place: int = -1  # of an output, or the number of a test net
    name: str = ""  # of an output, or a file, or what FATAL says
    weight: float | None = None
    digits: int = 99  # significant ones of an open value: Caffe prints six at most
    thread: bytes = b""
    stamp: str = ""
    rank: bytes = b""


def number(text: bytes) -> float:
    """A value as C++ printed it; Microsoft's `-1.#IND` is a NaN."""
    if b"#" in text:
        special = re.sub(rb"[^a-z]", b"", text.lower())
        return float(text[:1].replace(b"1", b"").decode() + _SPECIAL[special])
    return float(text.partition(b"(")[0])


def significant(text: bytes) -> int:
    """Significant digits of a printed number; 99 for what cannot go on: an exponent of two digits, NaN, infinity."""
    mantissa, exponent, power = text.lower().partition(b"e")
    if exponent:
        return 99 if len(power.lstrip(b"+-")) >= 2 else 1
    if text[-1:] not in b"0123456789." or b"#" in text:
        return 99
    return len(mantissa.lstrip(b"-+0.").replace(b".", b"")) or 1


def statements(line: bytes) -> list[Statement]:
    """All that `line` (without its newline, cleaned of control codes) says; several where newlines were lost."""
    headers = _headers(line)
    anchors = [anchor.start() for anchor in said.ANCHOR.finditer(line)]
    found: list[Statement] = []
    cursor, done = 0, 0  # the next header; how far the line has been used
    for start, following in zip(anchors, [*anchors[1:], len(line)], strict=False):
        if start < done:
            continue
        header = None
        while cursor < len(headers) and headers[cursor].end() <= start:
            header, cursor = headers[cursor], cursor + 1
            _fatal(line, header, headers, cursor, found)
        if cursor < len(headers) and headers[cursor].start() < start:
            continue  # in the name of a file of a header
        lead = line[max(header.end() if header else done, start - _LEAD) : start].rstrip()
        if not header and (lead or not found) and lead[-1:] in _WORDS and lead:
            continue  # prose
        until = headers[cursor].start() if cursor < len(headers) else len(line)
        statement, raw, ends = _one(line, start, until, min(until, following), bool(header or lead))
        if statement is None:
            continue
        done = start + len(raw)
        thread, stamp, rank = b"", "", None
        if header:
            thread, stamp = header["thread"] or b"", (header["stamp"] or header["bare"][1:]).decode()
            before = line[max(header.start() - _LEAD, 0) : header.start()]
            rank = said.RANK.search(lead) or said.RANK_BEFORE.search(before)
        elif found:
            thread, stamp = found[-1].thread, found[-1].stamp
        who = rank[1] if rank else b""
        found.append(statement._replace(raw=raw, open=ends, thread=thread, stamp=stamp, rank=who))
    for place in range(cursor, len(headers)):
        _fatal(line, headers[place], headers, place + 1, found)
    return found


def _headers(line: bytes) -> list[re.Match[bytes]]:
    first = said.HEADER.search(line)
    if first is None:
        return []
    more = line.find(b"]", first.end()) >= 0  # which each one ends with; a search for nothing takes long
    return [first, *said.HEADER.finditer(line, first.end())] if more else [first]


def _fatal(
    line: bytes, header: re.Match[bytes], headers: list[re.Match[bytes]], following: int, found: list[Statement]
) -> None:
    if header["level"] == b"F":
        until = headers[following].start() if following < len(headers) else len(line)
        text = line[header.end() : until].decode(errors="replace").strip()[:1000]
        stamp = header["stamp"].decode()
        found.append(Statement("fatal", name=text, thread=header["thread"] or b"", stamp=stamp))


def _one(line: bytes, start: int, until: int, following: int, headed: bool) -> tuple[Statement | None, bytes, bool]:
    """The statement that begins at `start`, its text, whether it is open; the next header is at `until`, the next
    anchor at `following`."""
    raw = line[start : min(until, start + _LONGEST)].rstrip()
    ends = until == len(line) and until - start <= _LONGEST
    statement = said_in_whole(raw)
    if statement is None:
        raw = line[start : min(following, start + _LONGEST)].rstrip()
        ends = ends and following == len(line)
        statement = said_in_whole(raw) or said_within(raw, headed)
    if statement is None:
        return None, raw, False
    return statement, raw, ends and (statement.open or statement.kind == "broken")


def said_in_whole(text: bytes) -> Statement | None:
    """What `text` says, if it is one line of loss, lr or output and nothing else."""
    match = said.OUTPUT.fullmatch(text)
    if match:
        cut = match["weight"] is None and said.CUT_WEIGHT.search(match["name"])
        return None if cut or said.ANOTHER.search(match["name"]) else _output(match, text)
    match = said.ITERATION.fullmatch(text)
    return _iteration(match, text) if match else None


def said_within(text: bytes, headed: bool) -> Statement | None:
    """What `text` says at its beginning. `headed`: something of a logger stands before it."""
    if text.startswith(b"Iteration "):
        match = said.ITERATION.match(text)
        if match:
            return _iteration(match, text)
        return Statement("broken") if said.BROKEN_ITERATION.match(text) else None
    if text.startswith((b"Train net", b"Test net")):
        match = said.OUTPUT_WITHIN.match(text)
        return _output(match, text) if match else Statement("broken")
    if text.startswith(b"Test score"):
        match = said.SCORE.match(text)
        return _score(match, text) if match else Statement("broken")
    return _announcement(text) if headed or text.startswith((b"Initializing", b"Starting", b"Optim", b"Snap")) else None


def _iteration(match: re.Match[bytes], text: bytes) -> Statement:
    iteration = int(match["iteration"])
    if iteration > _MAX_INT:
        return Statement("broken")
    if match["testing"]:
        return Statement("test", iteration=iteration, place=int(match["net"] or 0), open=match["net"] is None)
    value, ends = match["value"], match.end("value") == len(text)
    digits = significant(value) if ends else 99
    return Statement(match["what"].decode(), iteration=iteration, value=number(value), digits=digits, open=ends)


def _output(match: re.Match[bytes], text: bytes) -> Statement:
    weight, value = match["weight"], match["value"]
    ends = weight is None and match.end("value") == len(text)
    return Statement(
        "output",
        phase=match["phase"].decode(),
        place=int(match["place"]),
        name=match["name"].decode(errors="replace"),
        value=number(value),
        weight=None if weight is None else number(weight),
        digits=min(significant(value), 5) if ends else 99,  # never sure: ` (* 1 = …` may follow
        open=ends,
    )


def _score(match: re.Match[bytes], text: bytes) -> Statement:
    value, ends = match["value"], match.end() == len(text)
    digits = significant(value) if ends else 99
    place = int(match["place"])
    return Statement("score", place=place, name="Test score", value=number(value), digits=digits, open=ends)


def _announcement(text: bytes) -> Statement | None:
    if text.startswith(b"Initializing"):
        return Statement("solver" if text.startswith(b"Initializing solver") else "net")
    if text.startswith((b"Starting Opt", b"Solving ")):
        return Statement("start")
    if text.startswith(b"Optimization Done"):
        return Statement("done")
    if text.startswith(b"Test loss: "):
        match = said.TEST_LOSS.match(text)
        if not match:
            return Statement("broken")
        digits = significant(match["value"]) if match.end() == len(text) else 99
        value = number(match["value"])
        return Statement("score", name="Test loss", value=value, digits=digits, open=match.end() == len(text))
    if text.startswith(b"Testing net"):
        match = said.TESTING.match(text)
        return Statement("test", place=int(match["net"] or 0), open=match["net"] is None) if match else None
    if text.startswith(b"Snapshotting to "):
        file = text.removeprefix(b"Snapshotting to ").removeprefix(b"binary proto file ").removeprefix(b"HDF5 file ")
        at = said.ITERATION_OF_FILE.search(file)
        iteration = min(int(at[1]), _MAX_INT) if at else -1
        return Statement("snapshot", iteration=iteration, name=file.decode(errors="replace").strip(), open=True)
    for words, kind in _FILES:
        if text.startswith(words):
            return Statement(kind, name=text.removeprefix(words).decode(errors="replace").strip(), open=True)
    return None
