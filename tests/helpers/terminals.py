"""Commands on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re

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
        drawn = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            drawn += part
        os.close(ours)
        code = process.wait(PATIENCE)
    return Finished(code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace")), "")
