"""Write to standard output and standard error.

Names come from other people's files, and a terminal obeys the control characters in what it shows, so text for a user
goes through `visible`. A stream may be closed, full, or a terminal that stands still; none of that may end a run.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from types import FrameType, TracebackType

from harness.errors import HarnessError
from harness.exit_codes import Exit

_OUT, _ERR = 1, 2
_PATIENCE = 2.0  # seconds that a stream may take for one write

# C0 without tab and line feed, DEL, C1; marks, embeddings, overrides and isolates of the text direction (UAX 9); line
# and paragraph separators; surrogates, as which Python decodes bytes that are not UTF-8
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN_IN_LINE = re.compile(f"\n|{_HIDDEN.pattern}")


class ResultFailed(HarnessError):
    """Standard output cannot be written; the message says why."""

    code = Exit.RECORDING_FAILED


def visible(text: object) -> str:
    r"""Show the control characters in `text` as escapes: ESC becomes `\x1b`. Tabs and line feeds stay."""
    return _HIDDEN.sub(_escape, str(text))


def visible_line(text: object) -> str:
    """Show `text` as `visible` does, and line feeds as escapes, too: a name in it cannot begin a line of its own."""
    return visible(text).replace("\n", r"\n")


def visible_json(text: str) -> str:
    """Show the control characters that JSON allows inside strings as JSON's own escapes."""
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def hidden_spans(text: str) -> list[tuple[int, int]]:
    """Find the characters of `text` that `visible_line` replaces, each as (start, stop)."""
    return [match.span() for match in _HIDDEN_IN_LINE.finditer(text)]


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def open_standard_files() -> None:
    """Open /dev/null for each of the descriptors 0, 1 and 2 that is closed, so that no other file gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(descriptor, True)


def show_exceptions() -> None:
    """Have the traceback of an exception that nobody handles shown through `visible`."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        lines = traceback.format_exception(kind, error, trace)
        _write(_ERR, visible("".join(lines)).encode(errors="replace"))

    sys.excepthook = show


def print_result(text: str) -> None:
    """Print a line on standard output, on a terminal as `visible_line` shows it, unless that fails or takes long.

    Ctrl-C ends the attempt, too: the result is there, whoever reads of it.
    """
    shown = visible_line(text).encode(errors="replace") if os.isatty(_OUT) else os.fsencode(text)
    with suppress(KeyboardInterrupt):
        _write(_OUT, shown + b"\n")


def _write(descriptor: int, data: bytes) -> None:
    """Write `data`, unless that fails or takes longer than `_PATIENCE`."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, give_up), signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # `stty tostop`
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:  # TimeoutError is one
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGTTOU), old, strict=True):
            signal.signal(number, handler)


@contextmanager
def writing_results() -> Iterator[None]:
    """Write results to standard output inside the block; it is no error if their reader has gone.

    Raises:
        ResultFailed: the disk is full, or standard output is closed.
    """
    if sys.stdout is None:
        raise ResultFailed("standard output is closed")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal or a file of another encoding
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(_OUT)
    except OSError as error:
        _silence(_OUT)
        raise ResultFailed(f"standard output cannot be written ({error.strerror})") from None


def flush_or_discard() -> None:
    """Write what is still buffered; what cannot be written is discarded, and the interpreter's end does not fail."""
    for descriptor, stream in ((_OUT, sys.stdout), (_ERR, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _silence(descriptor)


def _silence(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
