"""Commands as the user types them: their name, `caffe-harness run` or `harness/run.py`, and paths as arguments."""

from __future__ import annotations

import shlex
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


def path_argument(path: Path | str) -> str:
    """Return `path` as an argument for the user's shell to copy: quoted, and never an option by its first character."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


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
