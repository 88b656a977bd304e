"""Commands on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO

from tests.helpers.processes import PATIENCE, Finished, started


def run_on_terminal(*arguments: object, columns: int, lines: int = 40, stdout: int | None = None) -> Finished:
    """Run a command on a terminal of that size; return its exit code and, as `stdout`, everything that it drew.

    Without colours and movements of the cursor. `stdout`: where its standard output goes, if not to the terminal.
    """
    ours, theirs = pty.openpty()
    env = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
    with started(
        *arguments, stdin=theirs, stdout=theirs if stdout is None else stdout, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        drawn = drain(ours)
        os.close(ours)
        code = process.wait(PATIENCE)
    return Finished(code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace")), "")


@contextmanager
def session_on_terminal(
    *arguments: object, env: Mapping[str, str] | None = None, stdout: int | IO[str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a command as the leader of a session on a new terminal; yield it, and the terminal's other end.

    What is written to the other end is typed, and closing it closes the terminal (SIGHUP). `stdout`: where its standard
    output goes, if not to the terminal.
    """
    ours, theirs = pty.openpty()
    command = ("setsid", "--ctty", *arguments)  # sets the terminal of its standard input
    try:
        with started(
            *command, stdin=theirs, stdout=theirs if stdout is None else stdout, stderr=theirs, env=env
        ) as process:
            os.close(theirs)
            yield process, ours
    finally:
        with suppress(OSError):  # closed in the block
            os.close(ours)


def drain(terminal: int) -> bytes:
    """Read what is on a terminal until everybody has closed it."""
    drawn = b""
    with suppress(OSError):  # EIO: the other end is closed
        while part := os.read(terminal, 1 << 16):
            drawn += part
    return drawn
