"""Typed edits of a solver and of its nets from the command line: `--set FIELD=VALUE`, `--set-layer GLOB:FIELD=VALUE`.

What a field is called and what it may hold comes from Caffe's own descriptors (caffe.proto), so every field can be
set. FIELD is a path: `base_lr`, `train_state.level`, `param[1].lr_mult`, or `param.1.lr_mult`. VALUE is a number, true
or false, an enum's name, a string with or without quotes; commas separate a list; nothing gives the default back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from harness.caffe_files.field_values import format_field, parse_value, split_list
from harness.caffe_files.layer_types import blob_count, is_known, parameters
from harness.caffe_files.messages import pb
from harness.errors import BadInput, nearest

FieldPath = tuple[tuple[str, int | None], ...]  # fields from the outside in, each with the element where it is a list

_MULTIPLIERS = ("lr_mult", "decay_mult")
_OTHER_NAME = {"type": "solver_type", "solver_type": "type"}  # Caffe aborts where both are given
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
_REFUSED = dict.fromkeys(_NETS, "Change layers of the run's nets with --set-layer GLOB:FIELD=VALUE") | {
    "snapshot_prefix": "Snapshots go into the run directory: give that with --out"
}


@dataclass(frozen=True)
class Change:
    """One value that an edit has changed, in text format.

    Attributes:
        where: "solver", or "layer data (TRAIN)": the phase where the layer's `include` names one.
        field: its path, as in `dropout_param.dropout_ratio`.
        old: what it was; "(default) 0.5" where it was not set, "(none)" for an empty list.
        new: what it is, likewise.
    """

    where: str
    field: str
    old: str
    new: str


@dataclass(frozen=True)
class _Assignment:
    """What was asked for: `option` and its argument `text`, the latter also in parts."""

    option: str
    text: str
    path: FieldPath
    value: str
    glob: str = ""

    def refuse(self, problem: str, remedy: str) -> BadInput:
        return BadInput(problem, field=self.option, value=self.text, remedy=remedy)


def set_fields(solver: Any, assignments: Sequence[str]) -> tuple[Any, list[Change]]:
    """A copy of the SolverParameter `solver` in which each `FIELD=VALUE` of `assignments` holds, and what changed.

    Raises:
        BadInput: no such field, not a value of its type, or a field that a restart cannot change.
    """
    edited = _copy(solver)
    changes = []
    for text in assignments:
        assignment = _read("--set", text, r"(?P<field>[^=]*)=(?P<value>.*)", "FIELD=VALUE, as in base_lr=0.001")
        name = assignment.path[0][0]
        if name in _REFUSED:
            raise assignment.refuse(f"{name} cannot be changed at a restart", _REFUSED[name])
        other = _OTHER_NAME.get(name)
        if other and edited.HasField(other):
            cleared = _Assignment("--set", text, ((other, None),), "")
            changes.append(_assign("solver", edited, cleared.path, cleared))
        changes.append(_assign("solver", edited, assignment.path, assignment))
    return edited, changes


def set_layer_fields(nets: Sequence[Any], assignments: Sequence[str]) -> tuple[list[Any], list[Change]]:
    """Copies of the NetParameters `nets` in which each `GLOB:FIELD=VALUE` holds, and what changed.

    GLOB is a layer name, or a pattern for them (`*` matches slashes too), case and all. A layer is changed in every
    net that has it, and listed once. FIELD is a path from LayerParameter; or `lr_mult`, `decay_mult` for all of a
    layer's `param`; or what one of the messages for its type has, as `dropout_ratio`. Layers without it are left.

    Raises:
        BadInput: no layer has that name, or none of them has that field; not a value of its type; it is not clear
            which field is meant; layers that share a param would no longer agree about it.
    """
    edited = [_copy(net) for net in nets]
    changes: list[Change] = []
    for text in assignments:
        assignment = _read(
            "--set-layer",
            text,
            r"(?P<glob>.+?):(?P<field>[\w.\[\]]+)=(?P<value>.*)",
            "GLOB:FIELD=VALUE, as in 'loss*/classifier:lr_mult=1'",
        )
        disagreeing = [_disagreements(net) for net in edited]
        layers = _matching(edited, assignment)
        found = {
            _assign(_where(layer), layer, path, assignment): None
            for layer in layers
            for path in _paths(layer, assignment)
        }
        if not found:
            raise _nowhere(layers, assignment)
        for net, before in zip(edited, disagreeing, strict=True):
            for (name, field), sharing in _disagreements(net).items():
                if (name, field) not in before:
                    raise assignment.refuse(
                        f"layers {', '.join(sharing)} share the param {name}, and would have different {field}",
                        "Change all of them at once, with a GLOB that matches them",
                    )
        changes += found
    return edited, changes


def _read(option: str, text: str, form: str, described: str) -> _Assignment:
    parts = re.fullmatch(form, text, re.DOTALL)
    steps: list[tuple[str, int | None]] = []
    for part in re.sub(r"\[(\d+)\]", r".\1", parts["field"].strip()).split(".") if parts else ():
        if part.isdecimal() and steps and steps[-1][1] is None:
            steps[-1] = (steps[-1][0], int(part))
        elif re.fullmatch(r"[A-Za-z_]\w*", part):
            steps.append((part, None))
        else:
            parts = None
            break
    if parts is None:
        raise BadInput("not an assignment", field=option, value=text, remedy=f"Write {described}")
    return _Assignment(option, text, tuple(steps), parts["value"].strip(), parts.groupdict().get("glob", ""))


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


# -- one value -------------------------------------------------------------------------------------------------------


def _assign(where: str, message: Any, path: FieldPath, assignment: _Assignment) -> Change:
    """Have the field at `path` below `message` hold the value."""
    for name, index in path[:-1]:
        message = _inside(message, name, index, assignment)
    name, index = path[-1]
    field = _field(message, name, assignment)
    if index is not None:
        _check_index(field, index, len(getattr(message, name)) if field.is_repeated else None, assignment)
    old = format_field(message, field, index)
    value = assignment.value
    if index is not None and not value:
        raise assignment.refuse("one element of a list cannot be cleared", f"Clear the whole list with {name}=")
    if field.message_type is not None and value:
        inner = [f.name for f in field.message_type.fields]
        raise assignment.refuse(f"{name} is a message", f"Set one of its fields: {', '.join(inner)}")
    try:
        if index is not None:
            values = getattr(message, name)
            if index == len(values):
                values.append(parse_value(field, value))
            else:
                values[index] = parse_value(field, value)
        elif not value:
            message.ClearField(name)
        elif field.is_repeated:
            values = [parse_value(field, element) for element in split_list(value)]
            message.ClearField(name)
            getattr(message, name).extend(values)
        else:
            setattr(message, name, parse_value(field, value))
    except BadInput as error:
        raise assignment.refuse(error.problem, error.remedy) from None
    steps = (step if element is None else f"{step}[{element}]" for step, element in path)
    return Change(where, ".".join(steps), old, format_field(message, field, index))


def _field(message: Any, name: str, assignment: _Assignment) -> Any:
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise assignment.refuse(f"{message.DESCRIPTOR.name} has no field {name}", nearest(name, fields))
    return fields[name]


def _inside(message: Any, name: str, index: int | None, assignment: _Assignment) -> Any:
    """The message in field `name` of `message`; one behind the last of a list is added."""
    field = _field(message, name, assignment)
    if field.message_type is None:
        raise assignment.refuse(f"{name} has no fields of its own", f"Write {name}=VALUE")
    value = getattr(message, name)
    if not field.is_repeated:
        if index is not None:
            _check_index(field, index, None, assignment)
        return value
    _check_index(field, index, len(value), assignment)
    return value.add() if index == len(value) else value[index]


def _check_index(field: Any, index: int | None, length: int | None, assignment: _Assignment) -> None:
    name = field.name
    if length is None:
        raise assignment.refuse(f"{name} is not a list", f"Leave the [{index}] out")
    if index is None or index > length:
        has = f"{name} is a list with {length} element{'' if length == 1 else 's'}"
        last = f" to {name}[{length}], which adds one" if length else ", which adds one"
        raise assignment.refuse(has, f"Name one: {name}[0]{last}")


# -- which layers, and where in them ---------------------------------------------------------------------------------


def _matching(nets: Sequence[Any], assignment: _Assignment) -> list[Any]:
    glob = assignment.glob
    layers = [layer for net in nets for layer in net.layer]
    found = [layer for layer in layers if layer.name == glob or fnmatchcase(layer.name, glob)]
    if not found:
        bare = re.sub(r"[*?!\[\]]", "", glob)
        raise assignment.refuse(f"no layer is called {glob}", nearest(bare, {layer.name for layer in layers}))
    return found


def _paths(layer: Any, assignment: _Assignment) -> list[FieldPath]:
    """Where in `layer` the field is; empty where `layer` has no such field."""
    path = assignment.path
    name, index = path[0]
    if path[0] == path[-1] and name in _MULTIPLIERS and index is None:
        count = blob_count(layer)
        if count is None and not layer.param:
            raise assignment.refuse(
                f"how many blobs layer {layer.name} has is not known for its type, {layer.type}",
                f"Name each one, --set-layer '{layer.name}:param[0].{name}={assignment.value}', or narrow the GLOB",
            )
        count = len(layer.param) if count is None else count
        return [(("param", blob), (name, None)) for blob in range(_with_params(layer, count))]
    if name == "param" and index is not None:
        count = blob_count(layer)
        if count is not None and index >= count:
            return []
        _with_params(layer, index if count is not None else 0)
    if name in pb.LayerParameter.DESCRIPTOR.fields_by_name:
        foreign = name.endswith("_param") and is_known(layer.type) and name not in parameters(layer)
        return [] if foreign else [path]
    owners = [owner for owner in parameters(layer) if name in _fields_of(owner)]
    if "transform_param" in owners:
        owners = ["transform_param"]  # what data layers had of their own before 2014, and no longer read
    if len(owners) > 1:
        full = ", ".join(f"{owner}.{name}" for owner in owners)
        raise assignment.refuse(f"layer {layer.name} ({layer.type}) has several: {full}", "Give the full path")
    return [((owner, None), *path) for owner in owners]


def _with_params(layer: Any, count: int) -> int:
    """See to it that `layer` has `count` `param`; one that is not written is one of defaults (Net::AppendParam)."""
    while len(layer.param) < count:
        layer.param.add()
    return count


def _nowhere(layers: Sequence[Any], assignment: _Assignment) -> BadInput:
    known = {*_MULTIPLIERS, *pb.LayerParameter.DESCRIPTOR.fields_by_name}
    known -= {name for name in known if name.endswith("_param")}
    for layer in layers:
        known.update(parameters(layer), *(_fields_of(name) for name in parameters(layer)))
    name, _ = assignment.path[0]
    which = ", ".join(dict.fromkeys(f"{layer.name} ({layer.type})" for layer in layers[:5]))
    more = f" and {len(layers) - 5} more" if len(layers) > 5 else ""
    remedy = "Their type has no such blob" if name in known else nearest(name, known)
    return assignment.refuse(f"no layer that matches has it: {which}{more}", remedy)


def _fields_of(parameter: str) -> list[str]:
    message_type = pb.LayerParameter.DESCRIPTOR.fields_by_name[parameter].message_type
    assert message_type is not None
    return list(message_type.fields_by_name)


def _where(layer: Any) -> str:
    phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
    return f"layer {layer.name}" + (f" ({pb.Phase.Name(phases.pop())})" if len(phases) == 1 else "")


def _disagreements(net: Any) -> dict[tuple[str, str], list[str]]:
    """Shared params, by name and multiplier, on which layers do not agree: Caffe aborts (Net::AppendParam, net.cpp)."""
    given: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for layer in net.layer:
        for param in layer.param:
            for field in _MULTIPLIERS:
                if param.name and param.HasField(field):
                    given[param.name, field][layer.name] = getattr(param, field)
    return {key: list(values) for key, values in given.items() if len(set(values.values())) > 1}
