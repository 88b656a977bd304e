"""Import and run a command by its name."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Sequence
from types import ModuleType

from harness import output
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.missing_packages import guarded


def start(command: str, arguments: Sequence[str]) -> int:
    """Import `command` and run it. Returns its exit code; Ctrl-C during the import prints no traceback."""
    return guarded(lambda: _start(command, arguments))


def _start(command: str, arguments: Sequence[str]) -> int:
    output.open_standard_files()
    output.show_exceptions()
    try:
        code: int = module_of(command).main(list(arguments))
    except (BadInput, output.ResultFailed) as error:  # BadInput of an import: Caffe is not installed, for example
        code = _fail(error, Exit.BAD_INPUT if isinstance(error, BadInput) else Exit.RECORDING_FAILED)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        code = _fail(f"{error.filename}: {error.strerror}. Give a shorter path", Exit.BAD_INPUT)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    finally:
        output.flush_or_discard()
    if code == Exit.INTERRUPTED:
        # The interpreter's own end may wait forever for an executor whose shutdown was interrupted.
        os._exit(code)
    return code


def _fail(error: object, code: Exit) -> Exit:
    from harness.reports.console import complain  # rich takes a while to import

    complain(error)
    return code


def module_of(command: str) -> ModuleType:
    """Import the module of `command`, as in `caffe-harness COMMAND`."""
    return importlib.import_module(f"harness.{command.replace('-', '_')}")
