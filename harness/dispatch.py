"""Import and run a command by its name."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType

from harness.errors import BadInput
from harness.exit_codes import Exit


def start(command: str, arguments: Sequence[str]) -> int:
    """Import `command` and run it. Returns its exit code; Ctrl-C during the import prints no traceback."""
    try:
        code: int = module_of(command).main(list(arguments))
    except BadInput as error:  # raised by an import: Caffe is not installed, for example
        print(f"error: {error}", file=sys.stderr)
        return Exit.BAD_INPUT
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: {error.filename}: {error.strerror}. Give a shorter path", file=sys.stderr)
        return Exit.BAD_INPUT
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    if code == Exit.INTERRUPTED:
        # The interpreter's own end may wait forever for an executor whose shutdown was interrupted.
        with suppress(OSError, AttributeError):  # a closed pipe; closed from the start
            sys.stdout.flush()
        os._exit(code)
    return code


def module_of(command: str) -> ModuleType:
    """Import the module of `command`, as in `caffe-harness COMMAND`."""
    return importlib.import_module(f"harness.{command.replace('-', '_')}")
