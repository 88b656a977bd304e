"""The message with which Caffe, or the Python around it, died."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 500  # characters of a line
_FATAL = re.compile(r"F\d{4,8} ")  # glog's severity and date
_INFO = re.compile(r"I\d{4,8} ")
_PYTHON_ERROR = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|BadInput)\b")
_WRAPPER = "SystemError: <Boost.Python"  # what Boost.Python makes of the error above it
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r"\s*(?:PC: )?@ +(?:0x[0-9a-f]+|\(nil\)|\(unknown\))|\*\*\* ")  # glog's stack trace, and its titles
_HEADER = re.compile(r"^F\d+ \S+ +\d+ ")


def death_message(output: Iterable[str]) -> list[str]:
    """Extract the explanation of a process's death from the lines that it printed.

    Returns:
        Caffe's FATAL lines; without one, the last line of a Python error; without that, the last three lines that are
        not INFO lines of Caffe's. Stack frames are left out. Empty where there is nothing of the kind.
    """
    lines = [line[:_LONGEST] for line in output if not _FRAME.match(line)]
    fatal = [line for line in lines if _FATAL.match(line)]
    wrapped = [number for number, line in enumerate(lines) if line.startswith(_WRAPPER)]
    if wrapped and not fatal:  # the error lies above the traceback of the wrapper; its name may be any
        traceback = max((n for n, line in enumerate(lines[: wrapped[-1]]) if line.startswith(_TRACEBACK)), default=0)
        above = [line for line in lines[:traceback] if line.strip() and line[0] != " " and not _INFO.match(line)]
        return above[-1:] or lines[wrapped[-1] :][:1]
    errors = [line for line in lines if _PYTHON_ERROR.match(line)]
    return fatal or errors[-1:] or [line for line in lines if line.strip() and not _INFO.match(line)][-3:]


def without_header(line: str) -> str:
    """Drop the severity, time and thread from a FATAL line."""
    return _HEADER.sub("", line)
