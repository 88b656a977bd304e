"""Commands as the user types them: their name, `caffe-harness run` or `harness/run.py`, and paths as arguments."""

from __future__ import annotations

import shlex
import shutil
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
    """Return `path` as an argument for the user's shell to copy: absolute, for a shell elsewhere, and quoted."""
    return shlex.quote(str(Path(path).absolute()))


def next_command(command: str) -> str:
    """Return what starts `command` in the user's shell, in whatever directory, for suggestions.

    That is `caffe-harness COMMAND` if the PATH leads to the caffe-harness beside this Python, else its full path; where
    there is none (a checkout that is not installed), this Python with the file of the command.
    """
    script = Path(sys.executable).with_name("caffe-harness")
    if not script.is_file():
        file = Path(__file__).with_name(f"{command.replace('-', '_')}.py")
        return f"{shlex.quote(sys.executable)} {path_argument(file)}"
    found = shutil.which("caffe-harness")
    on_path = found is not None and script.samefile(found)
    return f"{'caffe-harness' if on_path else path_argument(script)} {command}"


def setup_command() -> str:
    """Return what starts tools/setup of this checkout in the user's shell; its name if this is an installed package."""
    script = Path(__file__).resolve().parents[1] / "tools/setup"
    return path_argument(script) if script.is_file() else "tools/setup"
