"""Say in one line what to do where this Python lacks the packages that the harness needs.

Nothing but the standard library is imported here, and the syntax is that of old versions of Python.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

_OLDEST = (3, 11)
_BAD_INPUT = 2
_EXTRAS = {"distributed": "cluster"}


def guarded(run: Callable[[], int]) -> int:
    """Return what `run` returns, or print an error and return the exit code for bad input if a package is missing."""
    if sys.version_info < _OLDEST:
        needs = ".".join(map(str, _OLDEST))
        return _fail(f"this is Python {sys.version.split()[0]}, and the harness needs {needs} or newer", _remedy())
    try:
        return run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in ("harness", "caffe"):
            raise
        remedy = _extra_remedy(package) if package in _EXTRAS else _remedy()
        return _fail(f"this Python ({sys.executable}) has no package {package}", remedy)


def _fail(problem: str, remedy: str) -> int:
    print(f"error: {problem}. {remedy}", file=sys.stderr)
    return _BAD_INPUT


def _extra_remedy(package: str) -> str:
    python = f"{shlex.quote(sys.executable)} -m pip install"
    if (Path(__file__).resolve().parents[1] / "pyproject.toml").is_file():  # a checkout
        return f"Install it: {python} {package}"
    return f"Install it: {python} 'caffe-harness[{_EXTRAS[package]}]'"


def _remedy() -> str:
    root = Path(__file__).resolve().parents[1]
    setup, environment = root / "tools/setup", root / ".venv"
    if not setup.is_file():
        return "Install the requirements of caffe-harness with its own Python: pip install caffe-harness"
    command = shlex.quote(str(environment / "bin/caffe-harness"))
    if (environment / "bin/caffe-harness").is_file() and Path(sys.prefix) != environment:
        activate = shlex.quote(str(environment / "bin/activate"))
        return f"Use {command}, or first run: source {activate}"
    return f"Run {shlex.quote(str(setup))}, then use {command}"
