"""Caffe's protobuf messages, and reading them from files, with errors that name the line and the field.

`import caffe.proto.caffe_pb2` would run `caffe/__init__.py` and load the C++ library. Here that one module is loaded by
itself, so that every process but the worker stays free of Caffe. Its classes are created at run time, with their types
in caffe_pb2.pyi. Where Caffe is not installed, caffe_pb2.py of this package takes its place: logs and recordings can be
read there. tools/message_stubs.py writes both from the pinned Caffe.
"""

from __future__ import annotations

import codecs
import importlib.util
import os
import re
import select
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from harness.caffe_files.paths import is_file
from harness.errors import BadInput, nearest
from harness.invocation import setup_command

if TYPE_CHECKING:
    from harness.caffe_files import caffe_pb2 as pb

__all__ = ["caffe_directory", "decode", "has_field", "is_utf8", "parse_text", "pb", "read_binary", "read_text"]

_LARGEST = 2**31 - 1  # bytes of a binary message, in protobuf

MessageT = TypeVar("MessageT", bound=Message)

_LARGEST_TEXT = 64 << 20  # bytes; the prototxt of a large net has some hundred thousand
_PATIENCE = 5.0  # seconds that the writer of a pipe may take for the next part of a prototxt

_AS_LATIN_1 = "caffe-harness.latin-1"  # the name of an error handler
_ESCAPE = re.compile(rb"\\(\\|[23][0-7]{2}|[xX][89a-fA-F][0-9a-fA-F])")  # in a string: a byte that is not ASCII


def caffe_directory() -> Path:
    """Find the directory of the caffe package without importing it.

    Raises:
        BadInput: the package is not installed, or is another one.
    """
    spec = importlib.util.find_spec("caffe")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput("the caffe package is not installed for this Python", remedy=f"Run {setup_command()}")
    path = Path(next(iter(spec.submodule_search_locations)))
    if not is_file(path / "proto/caffe_pb2.py"):
        raise BadInput(
            "not a pycaffe build (PyPI's `caffe` is an empty placeholder)", file=path, remedy=f"Run {setup_command()}"
        )
    return path


def _load() -> ModuleType:
    name = "caffe.proto.caffe_pb2"  # under its own name, a later `import caffe` finds it and does not register it again
    if name in sys.modules:
        return sys.modules[name]
    try:
        path = caffe_directory() / "proto/caffe_pb2.py"
    except BadInput:
        path = Path(__file__).with_name("caffe_pb2.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    pb = _load()  # the caffe_pb2 module of the build


def decode(text: bytes) -> str:
    """Decode UTF-8, and each byte that is not UTF-8 as Latin-1.

    Caffe takes names and comments in any encoding: C++ protobuf does not check the strings of proto2.
    """
    return text.decode(errors=_AS_LATIN_1)


def is_utf8(text: bytes) -> bool:
    """Check whether `text` is UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_AS_LATIN_1, _decode_latin_1)


def _as_byte(escape: re.Match[bytes]) -> bytes:
    number = escape[1]
    if number == b"\\":
        return escape[0]
    return bytes([int(number[1:], 16) if number[:1] in b"xX" else int(number, 8)])


def has_field(message: Message, name: str) -> bool:
    """Check whether the field `name` is set; HasField of a typed message takes only literal names."""
    return message.HasField(name)


def read_text(path: Path, kind: type[MessageT], what: str) -> MessageT:
    """Read a message of type `kind` from the prototxt file `path`; `what` names it in errors ("solver", "net").

    Raises:
        BadInput: no such file, not readable, a syntax error, an unknown field, a value of the wrong type.
    """
    try:
        data = _read_start(path)
    except TimeoutError:
        raise BadInput(
            f"a pipe or a device into which nothing was written for {_PATIENCE:.0f} s",
            file=path,
            remedy=f"Give a {what} prototxt",
        ) from None
    except IsADirectoryError:
        raise BadInput(f"a directory, not a {what} prototxt", file=path, remedy="Name the file") from None
    except OSError as error:
        raise BadInput(
            f"cannot read the {what} file ({error.strerror})",
            file=path,
            remedy=f"Relative paths are resolved from the current directory ({Path.cwd()}), as for caffe train",
        ) from None
    if len(data) > _LARGEST_TEXT and b"\0" not in data:
        raise BadInput(f"larger than {_LARGEST_TEXT >> 20} MiB", file=path, remedy=f"Give a {what} prototxt")
    if b"\0" in data:
        raise BadInput(
            f"not a text file (byte {data.index(0)})", file=path, remedy=f"Give a {what} prototxt, not a binary"
        )
    if data.startswith(codecs.BOM_UTF8):
        raise BadInput(
            "starts with a byte order mark, which Caffe cannot read", file=path, remedy="Save it as UTF-8 without one"
        )
    return parse_text(decode(data), kind, path)


def _read_start(path: Path) -> bytes:
    """Read `path`: of a device that never ends, only as much as tells that it is no prototxt.

    Raises:
        TimeoutError: of a pipe, nothing came for `_PATIENCE` seconds.
        OSError: it cannot be read.
    """
    data = bytearray()
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # a pipe may have no writer
    with os.fdopen(opened, "rb", buffering=0) as file:
        ready = select.poll()
        ready.register(file, select.POLLIN)
        while len(data) <= _LARGEST_TEXT:
            if not ready.poll(1000 * _PATIENCE):
                raise TimeoutError
            part = file.read(_LARGEST_TEXT + 1 - len(data))
            if not part:
                break
            data += part
    return bytes(data)


def parse_text(text: str, kind: type[MessageT], path: Path) -> MessageT:
    """Parse a message of type `kind` from prototxt; `path` is where `text` comes from, for errors.

    Raises:
        BadInput: a syntax error, an unknown field, a value of the wrong type.
    """
    try:
        return kind.FromString(_parsed(text, kind))  # type: ignore[arg-type]  # a class can be hashed
    except text_format.ParseError as error:
        if "codec can't decode" not in str(error):
            raise _syntax_error(error, path) from None
    unescaped = decode(_ESCAPE.sub(_as_byte, text.encode()))
    try:
        return text_format.Parse(unescaped, kind())
    except text_format.ParseError as error:
        raise _syntax_error(error, path) from None


@lru_cache(maxsize=8)
def _parsed(text: str, kind: type[Message]) -> bytes:
    """Parse a message, and serialize it. A train net and its test nets are read from one file."""
    return text_format.Parse(text, kind()).SerializePartialToString()


def _syntax_error(error: text_format.ParseError, path: Path) -> BadInput:
    line, column = error.GetLine(), error.GetColumn()
    problem = re.sub(r"^\d+:\d+ : ", "", str(error))
    where = f"{path}:{line}:{column}" if line is not None else str(path)
    value = re.search(r'Enum type "(?P<type>[\w.]+)" has no value (?:named|with number) (?P<name>[\w-]+)', problem)
    if value is not None:
        names = pb.DESCRIPTOR.pool.FindEnumTypeByName(value["type"]).values_by_name
        return BadInput(
            f"{value['type'].removeprefix('caffe.')} has no such value",
            file=where,
            value=value["name"],
            remedy=nearest(value["name"], names),
        )
    unknown = re.search(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<field>\w+)"', problem)
    if unknown is None:
        return BadInput(problem.rstrip("."), file=where, remedy="Correct the prototxt there")
    fields = [field.name for field in pb.DESCRIPTOR.pool.FindMessageTypeByName(unknown["type"]).fields]
    return BadInput(
        f"{unknown['type'].removeprefix('caffe.')} has no field of that name",
        file=where,
        field=unknown["field"],
        remedy=nearest(unknown["field"], fields),
    )


def read_binary(path: Path, kind: type[MessageT], what: str) -> MessageT:
    """Read a binary message of type `kind` from `path`; `what` names it in errors ("caffemodel").

    Raises:
        BadInput: not readable, or not such a message.
    """
    try:
        if path.exists() and not path.is_file():  # reading a named pipe would wait forever
            raise BadInput(f"a directory or a device, not a {what}", file=path, remedy="Check the path")
        if path.stat().st_size > _LARGEST:
            raise BadInput(
                f"not a {what}: it is larger than 2 GiB, which no message can be",
                file=path,
                remedy=f"It is damaged: give a {what} that Caffe wrote",
            )
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the {what} ({error.strerror})", file=path, remedy="Check the path") from None
    try:
        return kind.FromString(data)
    except DecodeError:
        raise BadInput(
            f"not a {what}: the file is damaged, cut short, or something else ({len(data)} bytes)",
            file=path,
            remedy=f"Give a {what} that Caffe wrote",
        ) from None
