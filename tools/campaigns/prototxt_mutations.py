"""Mutations of a prototxt: of its text, which may then be no prototxt, and of the message that it describes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import cast

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_TOKEN = re.compile(r'"[^"\n]*"|[\w.+-]+|\S')
_NUMBERS = ("0", "1", "-1", "2", "3", "7", "1000000000", "2147483647", "2147483648", "4294967295", "4294967296",
            "9223372036854775808", "1" * 40, "0.5", "-0.5", "1e38", "1e39", "1e400", "1e-50", "nan", "inf", "-inf",
            "0x10", "010", "1.5.2", "5f", "٣")  # fmt: skip
_WORDS = ("layer {", "}", "{", "layers { type: RELU }", 'type: "ReLU"', "true", "#", '"', "'", "\\", ":", ";", ",", "<",
          ">", "[", "]", "\t", "é", "\u2028", "\x1b[31m", "[/red]", "[bold]", "\ufeff", "\r", "name: 'x'", "net: 'x'",
          "phase: TEST",
          "include { phase: TRAIN }", "loss_weight: 1", "propagate_down: false", "TEST", "MAX")  # fmt: skip
_STRINGS = ("", "x", "data", "label", "loss", "ReLU", "Data", "Python", "xavier", "constant", "fixed", "/", ".",
            "/dev/null", "/dev/zero", "/proc/self/mem", "n" * 300, "a/" * 3000, "é", "\x00", "\n", "%s", "{x}",
            "[/red]", "\x1b[2J", "/tmp", "~", "-x", " ")  # fmt: skip


def mutated_text(text: str, chance: random.Random) -> tuple[str, str]:
    """Return what was done to `text` last, and the result of one to three such changes."""
    name = ""
    for _ in range(chance.randint(1, 3)):
        change = chance.choice(_TEXT_CHANGES)
        name, text = change.__name__.strip("_").replace("_", " "), change(text, chance)
    return name, text


def mutated_message(message: Message, chance: random.Random) -> str:
    """Make one to three changes in `message`, and return what was done last."""
    name = ""
    for _ in range(chance.randint(1, 3)):
        fields = list(_fields(message))
        if not fields:
            return "nothing"
        owner, field = chance.choice(fields)
        change = chance.choice(_MESSAGE_CHANGES)
        name = change.__name__.strip("_").replace("_", " ")
        change(message, owner, field, chance)
    return name


def _fields(message: Message) -> Iterator[tuple[Message, FieldDescriptor]]:
    """Yield all fields that are set in `message` and in the messages inside, each with the message that has it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _fields(inner)


# -- text -------------------------------------------------------------------------------------------------------------


def _change_characters(text: str, chance: random.Random) -> str:
    characters = list(text)
    for _ in range(chance.randint(1, 4)):
        if characters:
            position = chance.randrange(len(characters))
            characters[position : position + chance.randint(0, 2)] = chance.choice(("", chr(chance.randrange(1, 256))))
    return "".join(characters)


def _change_a_token(text: str, chance: random.Random) -> str:
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return text
    old = chance.choice(tokens)
    new = chance.choice((*_WORDS, chance.choice(tokens)[0], old[0] * 2, old[0][1:], old[0].swapcase(), ""))
    return text[: old.start()] + new + text[old.end() :]


def _change_a_number(text: str, chance: random.Random) -> str:
    numbers = list(re.finditer(r"(?<=: )-?[\d.e-]+\b", text))
    if not numbers:
        return text
    old = chance.choice(numbers)
    return text[: old.start()] + chance.choice(_NUMBERS) + text[old.end() :]


def _delete_lines(text: str, chance: random.Random) -> str:
    lines, first = _lines(text, chance)
    del lines[first : first + chance.randint(1, 4)]
    return "".join(lines)


def _repeat_lines(text: str, chance: random.Random) -> str:
    lines, first = _lines(text, chance)
    return "".join([*lines[: first + 1], *lines[first : first + chance.randint(1, 3)], *lines[first + 1 :]])


def _move_lines(text: str, chance: random.Random) -> str:
    lines, first = _lines(text, chance)
    moved = lines[first : first + 1]
    del lines[first : first + 1]
    place = chance.randint(0, len(lines))
    return "".join([*lines[:place], *moved, *lines[place:]])


def _cut_off(text: str, chance: random.Random) -> str:
    return text[: chance.randint(0, len(text))]


def _exchange_two_tokens(text: str, chance: random.Random) -> str:
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) < 2:
        return text
    first, second = sorted(chance.sample(tokens, 2), key=lambda token: token.start())
    return (text[: first.start()] + second[0] + text[first.end() : second.start()] + first[0]
            + text[second.end() :])  # fmt: skip


def _nest_deeply(text: str, chance: random.Random) -> str:
    depth = chance.choice((10, 200, 100_000))
    return text + "layer { include { " * depth


def _lines(text: str, chance: random.Random) -> tuple[list[str], int]:
    lines = text.splitlines(keepends=True) or [""]
    return lines, chance.randrange(len(lines))


_TEXT_CHANGES: tuple[Callable[[str, random.Random], str], ...] = (
    *(_change_characters, _change_a_token, _change_a_number, _change_a_number, _exchange_two_tokens),
    *(_delete_lines, _repeat_lines, _move_lines, _cut_off, _nest_deeply),
)

# -- messages ---------------------------------------------------------------------------------------------------------


def _clear_a_field(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    owner.ClearField(field.name)


def _change_a_value(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if field.message_type is not None:
        return
    value = _value(root, field, chance)
    try:
        if field.is_repeated:
            values = getattr(owner, field.name)
            values[chance.randrange(len(values))] = value
        else:
            setattr(owner, field.name, value)
    except (ValueError, TypeError):  # not in the field's range
        owner.ClearField(field.name)


def _add_a_field(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    """Set another field of the same message, also one that does not belong to the type of the layer."""
    new: FieldDescriptor = chance.choice(list(cast(Descriptor, owner.DESCRIPTOR).fields))
    try:
        if new.message_type is not None:
            inner = getattr(owner, new.name)
            (inner.add() if new.is_repeated else inner).SetInParent()
        elif new.is_repeated:
            getattr(owner, new.name).append(_value(root, new, chance))
        else:
            setattr(owner, new.name, _value(root, new, chance))
    except (ValueError, TypeError):
        owner.ClearField(new.name)


def _repeat_an_element(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if field.is_repeated:
        values = getattr(owner, field.name)
        values.extend([values[chance.randrange(len(values))]])


def _remove_an_element(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if field.is_repeated:
        values = getattr(owner, field.name)
        del values[chance.randrange(len(values))]


def _exchange_two_elements(root: Message, owner: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if field.is_repeated:
        values = list(getattr(owner, field.name))
        chance.shuffle(values)
        owner.ClearField(field.name)
        getattr(owner, field.name).extend(values)


def _value(root: Message, field: FieldDescriptor, chance: random.Random) -> object:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        known = re.findall(r'"([^"\\]*)"', text_format.MessageToString(root)) or [""]
        text = chance.choice((*_STRINGS, *known))
        return chance.choice((text, text[:-1], text + text[-1:], chance.choice(known)))
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return chance.choice(list(field.enum_type.values)).number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return chance.choice((0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"), -float("inf")))
    return chance.choice((0, 1, 2, 3, 5, 100, -1, -2, 10**6, 10**9, 2**31 - 1, 2**32 - 1, -(2**31)))


_MESSAGE_CHANGES = (
    *(_clear_a_field, _change_a_value, _change_a_value, _change_a_value, _add_a_field),
    *(_repeat_an_element, _remove_an_element, _exchange_two_elements),
)
