"""Import and run a command by its name, to its exit code."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import signal
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import ParamSpec

from harness import output
from harness.errors import HarnessError
from harness.exit_codes import Exit
from harness.missing_packages import guarded

Arguments = ParamSpec("Arguments")


def start(command: str, arguments: Sequence[str]) -> int:
    """Import `command` and run it. Returns its exit code; Ctrl-C during the import prints no traceback.

    SIGTERM ends the command as Ctrl-C does, until it handles both, and after that.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return guarded(lambda: _start(command, arguments))


def returns_code(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Have the function `main` of a command return the exit code of an error that ends it; the user is told."""

    @functools.wraps(main)
    def ending(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except HarnessError as error:
            if not error.is_shown:
                _complain(error)
            return error.code
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            _complain(f"{error.filename}: {error.strerror}. Give a shorter path")
            return Exit.BAD_INPUT
        except KeyboardInterrupt:
            return Exit.INTERRUPTED

    return ending


@returns_code
def _run(command: str, arguments: Sequence[str]) -> int:
    code: int = module_of(command).main(list(arguments))  # an import may fail with BadInput: Caffe is not installed
    return code


def _start(command: str, arguments: Sequence[str]) -> int:
    output.open_standard_files()
    output.show_exceptions()
    try:
        code = _run(command, arguments)
    finally:
        output.flush_or_discard()
    if code == Exit.INTERRUPTED:
        # The interpreter's own end may wait forever for an executor whose shutdown was interrupted.
        os._exit(code)
    return code


def _complain(error: object) -> None:
    from harness.reports.console import complain  # rich takes a while to import

    complain(error)


def module_of(command: str) -> ModuleType:
    """Import the module of `command`, as in `caffe-harness COMMAND`."""
    return importlib.import_module(f"harness.{command.replace('-', '_')}")
