"""The name of a command as the user started it: `caffe-harness run`, or `harness/run.py` run as a file."""

from __future__ import annotations

import sys
from pathlib import Path


def program(command: str) -> str:
    """Return the name of `command` (as in `caffe-harness COMMAND`) for its usage line."""
    file = f"{command.replace('-', '_')}.py"
    return f"harness/{file}" if Path(sys.argv[0]).name == file else f"caffe-harness {command}"


def command_line(command: str) -> str:
    """Return what the user types to start `command`, for the examples of its help."""
    name = program(command)
    return f"python {name}" if name.endswith(".py") else name
