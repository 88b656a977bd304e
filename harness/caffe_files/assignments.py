"""One assignment from the command line, such as `base_lr=0.001`: parse it, and apply it to a protobuf message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from harness.caffe_files.field_values import format_field, parse_value, split_list
from harness.errors import BadInput, nearest
from harness.schemas.run_info import Change

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

FieldPath = tuple[tuple[str, int | None], ...]  # field names from the outside in, each with an index into a list


@dataclass(frozen=True)
class Assignment:
    """The argument `text` of a command-line `option`, and its parts."""

    option: str
    text: str
    path: FieldPath
    value: str
    glob: str = ""

    @classmethod
    def parse(cls, option: str, text: str, pattern: str, expected: str) -> Assignment:
        """Parse `text` by `pattern`, which has groups `field`, `value` and perhaps `glob`; `expected` describes it.

        Raises:
            BadInput: it does not match, or FIELD is not a path.
        """
        match = re.fullmatch(pattern, text, re.DOTALL)
        path = _parse_path(match["field"]) if match else None
        if match is None or path is None:
            raise BadInput("not an assignment", field=option, value=text, remedy=f"Write {expected}")
        return cls(option, text, path, match["value"].strip(), match.groupdict().get("glob", ""))

    def error(self, problem: str, remedy: str) -> BadInput:
        return BadInput(problem, field=self.option, value=self.text, remedy=remedy)


def _parse_path(text: str) -> FieldPath | None:
    steps: list[tuple[str, int | None]] = []
    for part in re.sub(r"\[(\d+)\]", r".\1", text.strip()).split("."):
        if part.isdecimal() and steps and steps[-1][1] is None:
            steps[-1] = (steps[-1][0], int(part))
        elif re.fullmatch(r"[A-Za-z_]\w*", part):
            steps.append((part, None))
        else:
            return None
    return tuple(steps)


def assign(where: str, message: Message, path: FieldPath, assignment: Assignment) -> Change:
    """Set the field at `path` below `message` to the value of `assignment`; an empty value restores the default.

    Raises:
        BadInput: no such field, or not a value of its type.
    """
    for name, index in path[:-1]:
        message = _submessage(message, name, index, assignment)
    name, index = path[-1]
    field = _field(message, name, assignment)
    value = assignment.value
    if index is not None:
        _check_index(field, index, len(getattr(message, name)) if field.is_repeated else None, assignment)
        if not value:
            raise assignment.error("one element of a list cannot be cleared", f"Clear the whole list with {name}=")
    if field.message_type is not None and value:
        inner = [f.name for f in field.message_type.fields]
        raise assignment.error(f"{name} is a message", f"Set one of its fields: {', '.join(inner)}")
    old = format_field(message, field, index)
    try:
        _set_value(message, field, index, value)
    except BadInput as error:
        raise assignment.error(error.problem, error.remedy) from None
    steps = (step if element is None else f"{step}[{element}]" for step, element in path)
    return Change(where, ".".join(steps), old, format_field(message, field, index))


def _set_value(message: Message, field: FieldDescriptor, index: int | None, text: str) -> None:
    name = field.name
    if index is not None:
        values = getattr(message, name)
        if index == len(values):
            values.append(parse_value(field, text))
        else:
            values[index] = parse_value(field, text)
    elif not text:
        message.ClearField(name)
    elif field.is_repeated:
        values = [parse_value(field, element) for element in split_list(text)]
        message.ClearField(name)
        getattr(message, name).extend(values)
    else:
        setattr(message, name, parse_value(field, text))


def _field(message: Message, name: str, assignment: Assignment) -> FieldDescriptor:
    descriptor = cast(Descriptor, message.DESCRIPTOR)
    if name not in descriptor.fields_by_name:
        raise assignment.error(f"{descriptor.name} has no field {name}", nearest(name, descriptor.fields_by_name))
    return descriptor.fields_by_name[name]


def _submessage(message: Message, name: str, index: int | None, assignment: Assignment) -> Message:
    """Return the message in field `name` of `message`; an index one past the end of a list adds an element."""
    field = _field(message, name, assignment)
    if field.message_type is None:
        raise assignment.error(f"{name} has no fields of its own", f"Write {name}=VALUE")
    inner: Message = getattr(message, name)
    if not field.is_repeated:
        if index is not None:
            _check_index(field, index, None, assignment)
        return inner
    elements: RepeatedCompositeFieldContainer[Message] = getattr(message, name)
    _check_index(field, index, len(elements), assignment)
    return elements.add() if index is None or index == len(elements) else elements[index]


def _check_index(field: FieldDescriptor, index: int | None, length: int | None, assignment: Assignment) -> None:
    """Check an index into `field`, a list of `length` elements or, with None, not a list."""
    name = field.name
    if length is None:
        raise assignment.error(f"{name} is not a list", f"Omit the [{index}]")
    if index is None or index > length:
        has = f"{name} is a list with {length} element{'' if length == 1 else 's'}"
        last = f" to {name}[{length}], which adds one" if length else ", which adds one"
        raise assignment.error(has, f"Name one: {name}[0]{last}")
