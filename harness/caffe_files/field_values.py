"""Values of protobuf fields: parse them from command-line text and format them as in a prototxt."""

from __future__ import annotations

import io
import math
import re
from collections import Counter

import numpy as np
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from harness.caffe_files.messages import pb
from harness.errors import BadInput, nearest

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_RANGES = {
    Field.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    Field.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    Field.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    Field.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_LARGEST = {
    Field.CPPTYPE_FLOAT: float(np.finfo(np.float32).max),
    Field.CPPTYPE_DOUBLE: float(np.finfo(np.float64).max),
}


def split_list(text: str) -> list[str]:
    """Split a list at its commas, except inside quotes; brackets around it are optional.

    Raises:
        BadInput: an element is empty.
    """
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    parts = [part.strip() for part in re.findall(rf"((?:{_QUOTED}|[^,])+|(?<=,)(?=,|$)|^(?=,))", inner)]
    if "" in parts:
        raise BadInput("an element of the list is empty", remedy='Write VALUE,VALUE…, and "" for an empty string')
    return parts


def parse_value(field: Field, text: str) -> bool | int | float | str:
    """Parse `text` as a value, or one element, of the scalar `field`.

    Raises:
        BadInput: not a value of its type, or out of its range.
    """
    kind = field.cpp_type
    if kind in _RANGES:
        low, high = _RANGES[kind]
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise BadInput(f"{text or 'nothing'} is not a whole number", remedy=f"Give a whole number for {field.name}")
        if not low <= int(text) <= high:
            raise BadInput(f"{field.name} cannot be {text}", remedy=f"Give a number from {low} to {high}")
        return int(text)
    if kind in _LARGEST:
        return _number(field, text)
    if kind == Field.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            raise BadInput(f"{text or 'nothing'} is neither true nor false", remedy="Give true or false")
        return text == "true"
    if kind == Field.CPPTYPE_ENUM:
        assert field.enum_type is not None
        values = field.enum_type.values_by_name
        if text not in values:
            raise BadInput(f"{field.enum_type.name} has no value {text or '(nothing)'}", remedy=nearest(text, values))
        return values[text].number
    return _string(text)


def _number(field: Field, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"{text or 'nothing'} is not a number", remedy=f"Give a number for {field.name}") from None
    if not math.isfinite(value) or abs(value) > _LARGEST[field.cpp_type]:
        limit = f"{_LARGEST[field.cpp_type]:.3g}"
        raise BadInput(f"{field.name} cannot be {text}", remedy=f"Give a number from -{limit} to {limit}")
    return value


def _string(text: str) -> str:
    if text[:1] not in ('"', "'"):
        return text
    if not re.fullmatch(_QUOTED, text, re.DOTALL):
        raise BadInput("the quotes do not match", remedy="Omit them, or give them on both sides")
    try:
        return text_format.Parse(f"name: {text}", pb.LayerParameter()).name
    except text_format.ParseError as error:
        raise BadInput(f"{text} is not a string ({error})", remedy="Write it as in a prototxt") from None


def format_field(message: Message, field: Field, index: int | None = None) -> str:
    """Format the value of `field` in `message`, or its element `index`, in protobuf's text format."""
    value = getattr(message, field.name)
    if field.is_repeated:
        values = list(value) if index is None else list(value)[index : index + 1]
        texts = [_text(field, element) for element in values]
        if index is not None and texts:
            return texts[0]
        return f"[{', '.join(texts)}]" if texts else "(none)"
    if message.HasField(field.name):
        return _text(field, value)
    return "(not set)" if field.message_type is not None else f"(default) {_text(field, value)}"


def _text(field: Field, value: object) -> str:
    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_one_line=True)
    return out.getvalue().strip()


def flatten(message: Message, root: str = "") -> dict[str, str]:
    """Return the values of all fields that are set in `message`, by their path below `root`.

    A layer is identified by its name. From the second element on, a repeated field has its number: `bottom #2`.
    """
    found: dict[str, str] = {}
    layers: Counter[str] = Counter()
    for field, value in message.ListFields():
        for number, element in enumerate(value if field.is_repeated else [value]):
            name = field.name
            is_layer = isinstance(element, pb.LayerParameter)  # PythonParameter has a string of that field name
            if is_layer:
                name = element.name or "layer"
                layers[name] += 1
            elif name == "name" and message.DESCRIPTOR.name == "LayerParameter":
                continue
            count = layers[name] if is_layer else number + 1
            path = f"{root}{name}" if count == 1 else f"{root}{name} #{count}"
            if field.message_type is not None:
                found |= flatten(element, f"{path}.")
            else:
                found[path] = _text(field, element).strip('"')
    return found
