"""Caffe's protobuf messages, and reading a user's prototxt with errors that say where and what.

`import caffe.proto.caffe_pb2` would run `caffe/__init__.py` and load the C++ library; here that one module is loaded by
itself, so that the harness process stays free of Caffe.
"""

from __future__ import annotations

import codecs
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import message, text_format

from harness.errors import BadInput, nearest


def caffe_directory() -> Path:
    """Where the caffe package lies, without importing it.

    Raises:
        BadInput: there is none.
    """
    spec = importlib.util.find_spec("caffe")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput("the caffe package is not installed for this Python", remedy="Run tools/setup")
    return Path(next(iter(spec.submodule_search_locations)))


def _load() -> ModuleType:
    name = "caffe.proto.caffe_pb2"  # its own name: a later `import caffe` finds it, and does not register it again
    if name in sys.modules:
        return sys.modules[name]
    path = caffe_directory() / "proto" / "caffe_pb2.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(
            "not a pycaffe build (PyPI's `caffe` is an empty placeholder)", file=path.parent, remedy="Run tools/setup"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# The build's caffe_pb2 module. Its classes are made at run time, so they have no types to check against.
pb: Any = _load()


def read_text(path: Path, kind: type[message.Message], what: str) -> Any:
    """The message of type `kind` in the prototxt file `path`; `what` names it in errors ("solver", "net").

    Raises:
        BadInput: no such file, not readable, a syntax error, an unknown field, a value of the wrong type.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise BadInput(f"a directory, not a {what} prototxt", file=path, remedy="Name the file") from None
    except OSError as error:
        raise BadInput(
            f"cannot read the {what} file ({error.strerror})",
            file=path,
            remedy=f"Relative paths count from the current directory ({Path.cwd()}), as for caffe train",
        ) from None
    if b"\0" in data:
        raise BadInput(
            f"not a text file (byte {data.index(0)})", file=path, remedy=f"Give a {what} prototxt, not a binary"
        )
    if data.startswith(codecs.BOM_UTF8):
        raise BadInput(
            "starts with a byte order mark, which Caffe cannot read", file=path, remedy="Save it as UTF-8 without one"
        )
    return parse_text(data.decode(errors="replace"), kind, path)  # a comment may be in any encoding


def parse_text(text: str, kind: type[message.Message], path: Path) -> Any:
    """As `read_text`, from a string."""
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        raise _syntax_error(error, path) from None


def _syntax_error(error: text_format.ParseError, path: Path) -> BadInput:
    line, column = error.GetLine(), error.GetColumn()
    problem = re.sub(r"^\d+:\d+ : ", "", str(error))
    where = f"{path}:{line}:{column}" if line is not None else str(path)
    unknown = re.search(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<field>\w+)"', problem)
    if unknown is None:
        return BadInput(problem.rstrip("."), file=where, remedy="Correct the prototxt there")
    fields = [f.name for f in _descriptor(unknown["type"]).fields]
    return BadInput(
        f"{unknown['type'].removeprefix('caffe.')} has no field of that name",
        file=where,
        field=unknown["field"],
        remedy=nearest(unknown["field"], fields),
    )


def _descriptor(full_name: str) -> Any:
    return pb.DESCRIPTOR.pool.FindMessageTypeByName(full_name)


def read_binary(path: Path, kind: type[message.Message], what: str) -> Any:
    """The binary message of type `kind` in `path`.

    Raises:
        BadInput: not readable, or not such a message.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the {what} ({error.strerror})", file=path, remedy="Check the path") from None
    parsed = kind()
    try:
        parsed.ParseFromString(data)
    except message.DecodeError:
        raise BadInput(
            f"not a {what}: the file is damaged, cut short, or something else ({len(data)} bytes)",
            file=path,
            remedy=f"Give a {what} that Caffe wrote",
        ) from None
    return parsed
