"""A call in a process of its own ends, whatever happens in that process."""

from __future__ import annotations

import os
import signal
import sys
import time

from harness.supervisor.apart import call_apart
from tests.helpers.processes import command


def kill_itself(signum: int) -> None:
    os.kill(os.getpid(), signum)


def test_it_returns_what_the_function_returns() -> None:
    assert call_apart(divmod_by_3, 11) == (3, 2)
    assert len(call_apart(bytes, 5_000_000) or b"") == 5_000_000


def divmod_by_3(number: int) -> tuple[int, int]:
    return divmod(number, 3)


def test_a_process_that_is_killed_gives_nothing() -> None:
    assert call_apart(kill_itself, signal.SIGKILL) is None


def test_a_process_that_hangs_is_not_waited_for() -> None:
    started = time.monotonic()
    assert call_apart(time.sleep, 30.0, patience=0.2) is None
    assert time.monotonic() - started < 10


INTERRUPTED = """
import os, signal
from harness.supervisor.apart import call_apart

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    call_apart(bytes, 10)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_the_process_starts_is_not_lost() -> None:
    """Python ignores what a function raises that it calls when it forks."""
    done = command(sys.executable, "-c", INTERRUPTED)
    assert (done.code, done.stdout, done.stderr) == (0, "interrupted\n", "")
