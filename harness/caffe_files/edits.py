"""Typed edits of a solver and of its nets from the command line: `--set FIELD=VALUE`, `--set-layer GLOB:FIELD=VALUE`.

Names and types of fields come from Caffe's own descriptors (caffe.proto), so every field can be set. FIELD is a path:
`base_lr`, `train_state.level`, `param[1].lr_mult`, or `param.1.lr_mult`. VALUE is a number, true or false, an enum's
name, a string with or without quotes; commas separate a list; an empty value restores the default.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from google.protobuf.message import Message

from harness.caffe_files.assignments import Assignment, FieldPath, assign
from harness.caffe_files.layer_types import blob_count, is_known, parameters
from harness.caffe_files.messages import has_field, pb
from harness.caffe_files.synonyms import layer_field, solver_field
from harness.errors import BadInput, nearest
from harness.schemas.run_info import Change

MessageT = TypeVar("MessageT", bound=Message)

_MULTIPLIERS = ("lr_mult", "decay_mult")
_OTHER_NAME = {"type": "solver_type", "solver_type": "type"}  # Caffe aborts if both are given
_LAYER_FIELDS = {
    inner.name
    for field in pb.LayerParameter.DESCRIPTOR.fields
    if field.message_type is not None and field.name.endswith("_param")
    for inner in field.message_type.fields
}
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
_REFUSED = dict.fromkeys(_NETS, "Change layers of the run's nets with --set-layer GLOB:FIELD=VALUE") | {
    "snapshot_prefix": "Snapshots go into the run directory, which --out names"
}


def set_fields(solver: pb.SolverParameter, assignments: Sequence[str]) -> tuple[pb.SolverParameter, list[Change]]:
    """Copy `solver`, set each `FIELD=VALUE` of `assignments` in the copy, and list the changes.

    Raises:
        BadInput: no such field, not a value of its type, or a field that a restart cannot change.
    """
    edited = _copy(solver)
    changes = []
    for text in assignments:
        assignment = Assignment.parse(
            "--set", text, r"(?P<field>[^=]*)=(?P<value>.*)", "FIELD=VALUE, as in base_lr=0.001"
        )
        name = assignment.path[0][0]
        if name in _REFUSED:
            raise assignment.error(f"{name} cannot be changed at a restart", _REFUSED[name])
        if name not in pb.SolverParameter.DESCRIPTOR.fields_by_name:
            _explain_other_name(assignment)
        other = _OTHER_NAME.get(name)
        if other and has_field(edited, other):
            cleared = Assignment("--set", text, ((other, None),), "")
            changes.append(assign("solver", edited, cleared.path, cleared))
        changes.append(assign("solver", edited, assignment.path, assignment))
    return edited, changes


def _explain_other_name(assignment: Assignment) -> None:
    """Raise an error that names the right field, if one is known for a name that the solver does not have."""
    name, value = assignment.path[0][0], assignment.value
    problem = f"SolverParameter has no field {name}"
    if name in _MULTIPLIERS or name in _LAYER_FIELDS:
        raise assignment.error(problem, f"It is a field of layers: --set-layer 'GLOB:{name}={value}'")
    meant = solver_field(name)
    if meant is not None:
        raise assignment.error(problem, f"Caffe calls it {meant}: --set {meant}={value}")


def set_layer_fields(
    nets: Sequence[pb.NetParameter], assignments: Sequence[str]
) -> tuple[list[pb.NetParameter], list[Change]]:
    """Copy `nets`, set each `GLOB:FIELD=VALUE` of `assignments` in the copies, and list the changes.

    GLOB is a layer name or a case-sensitive pattern (`*` also matches slashes). A layer is changed in every net that
    has it, and listed once. FIELD is a path from LayerParameter; or `lr_mult` or `decay_mult`, for all of a layer's
    `param`; or a field of one of the messages for its type, such as `dropout_ratio`. Layers without the field stay as
    they are.

    Raises:
        BadInput: no layer has that name, or none of them has that field; not a value of its type; the field is
            ambiguous; layers that share a param would have different multipliers for it; several layers would get one
            name.
    """
    edited = [_copy(net) for net in nets]
    changes: list[Change] = []
    for text in assignments:
        assignment = Assignment.parse(
            "--set-layer",
            text,
            r"(?P<glob>.+?):(?P<field>[\w.\[\]]+)=(?P<value>.*)",
            "GLOB:FIELD=VALUE, as in 'loss*/classifier:lr_mult=1'",
        )
        disagreeing = [_disagreements(net) for net in edited]
        names = [_shared_names(net) for net in edited]
        layers = _matching(edited, assignment)
        found = {
            assign(where_of(layer), layer, path, assignment): None
            for layer in layers
            for path in _paths(layer, assignment)
        }
        if not found:
            raise _no_layer_has_it(layers, assignment)
        for net, before in zip(edited, disagreeing, strict=True):
            for (name, field), sharing in _disagreements(net).items():
                if (name, field) not in before:
                    raise assignment.error(
                        f"layers {', '.join(sharing)} share the param {name} and would have different {field}",
                        "Change all of them at once, with a GLOB that matches them",
                    )
        for net, shared in zip(edited, names, strict=True):
            if more := _shared_names(net) - shared:
                raise assignment.error(
                    f"several layers of a net would have the name {min(more)}",
                    "Name one layer; a layer's weights are found by its name",
                )
        changes += found
    return edited, changes


def _copy(message: MessageT) -> MessageT:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _matching(nets: Sequence[pb.NetParameter], assignment: Assignment) -> list[pb.LayerParameter]:
    glob = assignment.glob
    layers = [layer for net in nets for layer in net.layer]
    found = [layer for layer in layers if layer.name == glob or fnmatchcase(layer.name, glob)]
    if not found:
        bare = re.sub(r"[*?!\[\]]", "", glob)
        raise assignment.error(f"no layer is called {glob}", nearest(bare, {layer.name for layer in layers}))
    return found


def _paths(layer: pb.LayerParameter, assignment: Assignment) -> list[FieldPath]:
    """List the paths in `layer` that the assignment means; none if `layer` has no such field."""
    path = assignment.path
    name, index = path[0]
    if path[0] == path[-1] and name in _MULTIPLIERS and index is None:
        count = blob_count(layer)
        if count is None and not layer.param:
            raise assignment.error(
                f"the number of blobs of layer {layer.name} is not known for its type, {layer.type}",
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
        owners = ["transform_param"]  # data layers had these fields themselves before 2014, and no longer read them
    if len(owners) > 1:
        full = ", ".join(f"{owner}.{name}" for owner in owners)
        raise assignment.error(f"layer {layer.name} ({layer.type}) has several: {full}", "Give the full path")
    return [((owner, None), *path) for owner in owners]


def _with_params(layer: pb.LayerParameter, count: int) -> int:
    """Give `layer` at least `count` `param`; one that is not written has the defaults (Net::AppendParam)."""
    while len(layer.param) < count:
        layer.param.add()
    return count


def _no_layer_has_it(layers: Sequence[pb.LayerParameter], assignment: Assignment) -> BadInput:
    known = {*_MULTIPLIERS, *pb.LayerParameter.DESCRIPTOR.fields_by_name}
    known -= {name for name in known if name.endswith("_param")}
    for layer in layers:
        known.update(parameters(layer), *(_fields_of(name) for name in parameters(layer)))
    name, value = assignment.path[0][0], assignment.value
    which = ", ".join(dict.fromkeys(f"{layer.name} ({layer.type})" for layer in layers[:5]))
    more = f" and {len(layers) - 5} more" if len(layers) > 5 else ""
    if name in known:
        remedy = "Their type has no such blob"
    elif name in pb.SolverParameter.DESCRIPTOR.fields_by_name:
        remedy = f"It is a field of the solver: --set {name}={value}"
    elif meant := layer_field(name):
        remedy = f"Caffe calls it {meant}: --set-layer '{assignment.glob}:{meant}={value}'"
    else:
        remedy = nearest(name, known)
    return assignment.error(f"none of the matching layers has this field: {which}{more}", remedy)


def _fields_of(parameter: str) -> list[str]:
    message_type = pb.LayerParameter.DESCRIPTOR.fields_by_name[parameter].message_type
    assert message_type is not None
    return list(message_type.fields_by_name)


def _shared_names(net: pb.NetParameter) -> set[str]:
    return {name for name, count in Counter(layer.name for layer in net.layer).items() if count > 1}


def where_of(layer: pb.LayerParameter) -> str:
    """Name a layer as the changes of `set_layer_fields` do."""
    phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
    return f"layer {layer.name}" + (f" ({pb.Phase.Name(phases.pop())})" if len(phases) == 1 else "")


def _disagreements(net: pb.NetParameter) -> dict[tuple[str, str], list[str]]:
    """Find shared params, by name and multiplier, that layers set differently: Caffe aborts (Net::AppendParam)."""
    given: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for layer in net.layer:
        for param in layer.param:
            for field in _MULTIPLIERS:
                if param.name and has_field(param, field):
                    given[param.name, field][layer.name] = getattr(param, field)
    return {key: list(values) for key, values in given.items() if len(set(values.values())) > 1}
