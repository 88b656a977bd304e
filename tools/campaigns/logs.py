"""Campaign: mutated logs are read without contradiction and diagnosed without a traceback.

A mutated log is read whole, in pieces and line by line, which must agree. Then it is diagnosed, and the result is
written as text, as a table and as strict JSON. A warning of a library counts as a failure: users would see it.
"""

from __future__ import annotations

import io
import json
import random
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import NoReturn

import numpy as np

from harness.api.logs import diagnose_log
from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.decode import GZIP
from harness.caffe_log.model import Log
from harness.caffe_log.reader import LogReader
from harness.diagnosis.live.limits import Limits, read_limits
from harness.reports.console import Console
from harness.reports.log_result import LogResult
from harness.reports.text.log_csv import write_csv
from harness.reports.text.log_json import write_json
from harness.reports.text.log_report import show
from tools.campaigns.base_logs import BASE_LOGS
from tools.campaigns.campaign import Campaign, Case

_NUMBERS = (b"nan", b"-nan", b"inf", b"1e999", b"-1", b"0", b"1" * 30, b"9223372036854775808", b"1.#QNAN", b"1e-320")
_WORDS = (
    *(b"Iteration ", b", loss = ", b", lr = ", b"Solving x\n", b"Testing net (#0)", b"    Train net output #"),
    *(
        b"\0",
        b"\x1b[31m",
        b"\xff\xfe",
        b"\r",
        b"[/red]",
        b"\xc2\x85",
        b" (* 1 = 9.7 loss)",
        b"F0515 08:44:41.8 12 a:1] ",
    ),
)


def mutated(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Return what was done to `content` last, and the result of one to eight such changes."""
    lines = content.splitlines(keepends=True)
    name = ""
    for _ in range(chance.randint(1, 8)):
        change = chance.choice(_CHANGES)
        name = change.__name__.strip("_").replace("_", " ")
        change(lines, chance)
        if not lines:
            lines = [b"\n"]
    return name, b"".join(lines)


def _span(lines: list[bytes], chance: random.Random) -> slice:
    first = chance.randrange(len(lines))
    return slice(first, first + chance.choice((1, 1, 2, 5, 40)))


def _delete_lines(lines: list[bytes], chance: random.Random) -> None:
    del lines[_span(lines, chance)]


def _repeat_lines(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    lines[place:place] = lines[_span(lines, chance)]


def _move_lines(lines: list[bytes], chance: random.Random) -> None:
    span = _span(lines, chance)
    moved = lines[span]
    del lines[span]
    place = chance.randint(0, len(lines))
    lines[place:place] = moved


def _join_lines(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    lines[place] = lines[place].rstrip(b"\n")


def _break_a_line(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    cut = chance.randint(0, len(lines[place]))
    lines[place] = lines[place][:cut] + b"\n" + lines[place][cut:]


def _change_bytes(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    begin = chance.randint(0, len(lines[place]))
    end = begin + chance.randint(0, 12)
    lines[place] = lines[place][:begin] + chance.randbytes(chance.randint(0, 5)) + lines[place][end:]


def _change_a_number(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    words = lines[place].split(b" ")
    numeric = [i for i, word in enumerate(words) if word[:1].isdigit()]
    if numeric:
        words[chance.choice(numeric)] = chance.choice(_NUMBERS)
        lines[place] = b" ".join(words)


def _insert_a_word(lines: list[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    cut = chance.randint(0, len(lines[place]))
    lines[place] = lines[place][:cut] + chance.choice(_WORDS) + lines[place][cut:]


def _mix_in_another_log(lines: list[bytes], chance: random.Random) -> None:
    other = chance.choice(BASE_LOGS)().splitlines(keepends=True)
    place = chance.randrange(len(lines))
    if chance.random() < 0.5:
        lines[place:place] = other[_span(other, chance)]
    else:  # two processes that write into one file
        lines[place : place + 60] = [
            line for pair in zip(lines[place : place + 30], other[:30], strict=False) for line in pair
        ]


def _truncate(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines)) + 1 :]
    lines[-1] = lines[-1][: chance.randint(0, len(lines[-1]))]


def _encode_otherwise(lines: list[bytes], chance: random.Random) -> None:
    encoding = chance.choice(("utf-16", "utf-16-be", "utf-8-sig", "utf-32"))
    lines[:] = [b"".join(lines).decode("latin-1").encode(encoding)]


_Change = Callable[[list[bytes], random.Random], None]
_CHANGES: tuple[_Change, ...] = (
    *(_delete_lines, _repeat_lines, _move_lines, _join_lines, _break_a_line, _truncate),
    *(_change_bytes, _change_a_number, _insert_a_word, _mix_in_another_log) * 2,
    _encode_otherwise,
)


def check_reading(content: bytes, cuts: list[int]) -> Log:
    """Read a log whole, in pieces and line by line, and check that the results agree. Returns the log.

    Raises:
        AssertionError: they do not, or its counts of lines contradict each other.
    """
    log = read_in_pieces(content, [])
    assert log.used + log.damaged + log.unassigned + log.noise == log.lines
    assert min(log.used, log.damaged, log.unassigned, log.noise) >= 0
    if not content.startswith(GZIP):  # compressed input is not read in pieces
        assert everything(read_in_pieces(content, cuts)) == everything(log)
        assert everything(read_in_pieces(content, cuts, line_by_line=True)) == everything(log)
    for run in log.runs:
        for series in (run.loss, run.lr):
            assert (np.diff(series.iterations) > 0).all()
    return log


def read_in_pieces(content: bytes, cuts: list[int], *, line_by_line: bool = False) -> Log:
    """Read a log in pieces that end at `cuts`."""
    reader = LogReader("x.log", line_by_line=line_by_line)
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        reader.feed(content[begin:end])
    reader.close()
    return reader.log()


def everything(log: Log) -> object:
    """Return all that a log says, in a form that can be compared: NaN equals NaN."""

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.tobytes())
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return repr(value) if isinstance(value, float) else value

    return plain(asdict(log))


def check_diagnosis(results: tuple[LogResult, ...]) -> None:
    """Write the results in each form, and check that the JSON is strict and that no control character is printed.

    Raises:
        AssertionError: one of them is not.
    """
    written = io.StringIO()
    write_json(results, written)
    found = json.loads(written.getvalue(), parse_constant=_not_json)
    assert len(found["runs"]) == len(results)
    write_csv(results, io.StringIO())
    printed = io.StringIO()
    show(results, Console(file=printed, width=200))
    assert "\x1b" not in printed.getvalue(), "an escape sequence of the log reaches the terminal"


def _not_json(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} in JSON")


@cache
def _limits() -> Limits:
    return read_limits(None)


def check(number: int) -> Case:
    """Make and check the case of that number."""
    chance = random.Random(number)
    kind, content = mutated(BASE_LOGS[number % len(BASE_LOGS)](), chance)
    log = check_reading(content, sorted(chance.randint(0, len(content)) for _ in range(5)))
    if not log.runs:
        return Case(number, kind, "no training run")
    known = LogHeader(classes=chance.choice((None, None, 10, 1000)), images=chance.choice((None, 278_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # which Python does not show
        check_diagnosis(diagnose_log(log, _limits(), known))
    return Case(number, kind, "diagnosed")


CAMPAIGN = Campaign("logs", 300_000, 10.0, check)
