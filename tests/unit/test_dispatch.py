"""How commands start."""

from __future__ import annotations

import sys

from harness.exit_codes import Exit
from tests.helpers.processes import command

TERMINATED = """
import os, signal, sys
from harness import dispatch
dispatch.module_of = lambda name: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(dispatch.start("run", []))
"""


def test_sigterm_while_a_command_is_imported_ends_it_as_ctrl_c_does() -> None:
    done = command(sys.executable, "-c", TERMINATED)
    assert (done.code, done.stdout, done.stderr) == (Exit.INTERRUPTED, "", "")
