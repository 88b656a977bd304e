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


def next_command(command: str) -> str:
    """Return what the user types next to start `command`, for suggestions.

    In a checkout this is `python harness/COMMAND.py`, unless this process was started as `caffe-harness`; for a harness
    that is installed elsewhere there is only `caffe-harness COMMAND`.
    """
    by_entry_point = Path(sys.argv[0]).name in ("caffe-harness", "__main__.py")
    in_checkout = (Path(__file__).parents[1] / "pyproject.toml").is_file()
    if by_entry_point or not in_checkout:
        return f"caffe-harness {command}"
    return f"python harness/{command.replace('-', '_')}.py"
