"""Edits of solvers and nets from the command line, for every field of Caffe's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import given
from hypothesis import strategies as st

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.layer_types import blob_count, parameters
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.schemas.run_info import Change
from tests.helpers.nets import small_net
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("one_blas_thread")

NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")
FIELDS = {field.name: field for field in pb.SolverParameter.DESCRIPTOR.fields}
SCALARS = {name: field for name, field in FIELDS.items() if field.message_type is None}


def solver(**fields: Any) -> pb.SolverParameter:
    values: dict[str, Any] = {"net": "net.prototxt", "base_lr": 0.01, "lr_policy": "fixed"}
    return pb.SolverParameter(**values | fields)


def net(text: str) -> pb.NetParameter:
    return text_format.Parse(text, pb.NetParameter())


def parsed(kind: Any, text: str) -> Any:
    return text_format.Parse(text, kind())


def refused(*said: str, changes: Any) -> None:
    with pytest.raises(BadInput) as error:
        changes()
    for part in said:
        assert part in str(error.value)


# -- the solver -------------------------------------------------------------------------------------------------------


def example(field: Any) -> tuple[str, str]:
    """A value for `field`, as typed by a user and as written in a prototxt."""
    kinds = {
        Field.CPPTYPE_INT32: ("-7", "-7"),
        Field.CPPTYPE_INT64: ("123456789012", "123456789012"),
        Field.CPPTYPE_UINT32: ("4000000000", "4000000000"),
        Field.CPPTYPE_FLOAT: ("2.5e-3", "0.0025"),
        Field.CPPTYPE_BOOL: ("true", "true"),
        Field.CPPTYPE_STRING: ("some/where a.b", '"some/where a.b"'),
    }
    if field.cpp_type == Field.CPPTYPE_ENUM:
        last = field.enum_type.values[-1].name
        return last, last
    return kinds[field.cpp_type]


@pytest.mark.parametrize("name", [name for name in SCALARS if name not in (*NETS, "snapshot_prefix")])
def test_every_field_can_be_set_and_cleared(name: str) -> None:
    field, before = FIELDS[name], solver()
    typed, written = example(field)
    edited, changes = set_fields(before, [f"{name}={typed},{typed}" if field.is_repeated else f"{name}={typed}"])
    assert before == solver()
    text = text_format.MessageToString(before)
    text = "".join(line for line in text.splitlines(True) if not line.startswith(f"{name}:"))
    assert edited == parsed(pb.SolverParameter, text + f"{name}: {written}\n" * (1 + field.is_repeated))
    assert parsed(pb.SolverParameter, text_format.MessageToString(edited)) == edited
    assert [(change.where, change.field) for change in changes] == [("solver", name)]
    assert changes[0].new == (f"[{written}, {written}]" if field.is_repeated else written)
    cleared, [change] = set_fields(edited, [f"{name}="])
    assert name not in [listed.name for listed, _ in cleared.ListFields()]
    assert change.old == changes[0].new
    assert change.new == "(none)" if field.is_repeated else change.new.startswith("(default) ")


def test_messages_are_set_by_path() -> None:
    assert {name for name in FIELDS if name not in SCALARS} == {"train_state", "test_state"} | {
        name for name in NETS if name.endswith("_param")
    }
    edited, changes = set_fields(
        solver(),
        ["train_state.level=2", "train_state.stage=a,b", "test_state[0].stage=x", "test_state.1.phase=TRAIN"],
    )
    expected = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed"
        train_state { level: 2 stage: "a" stage: "b" } test_state { stage: "x" } test_state { phase: TRAIN }"""
    assert edited == parsed(pb.SolverParameter, expected)
    assert changes == [
        Change("solver", "train_state.level", "(default) 0", "2"),
        Change("solver", "train_state.stage", "(none)", '["a", "b"]'),
        Change("solver", "test_state[0].stage", "(none)", '["x"]'),
        Change("solver", "test_state[1].phase", "(default) TEST", "TRAIN"),
    ]
    assert set_fields(edited, ["train_state=", "test_state="])[0] == solver()


def test_defaults_are_marked_as_defaults() -> None:
    _, changes = set_fields(solver(), ["base_lr=0.001", "momentum2=0.9", "clip_gradients=35", "stepvalue=1,2"])
    assert [(change.old, change.new) for change in changes] == [
        ("0.01", "0.001"),
        ("(default) 0.999", "0.9"),
        ("(default) -1.0", "35.0"),
        ("(none)", "[1, 2]"),
    ]


def test_lists_are_set_whole_by_element_and_cleared() -> None:
    before = solver(stepvalue=[5, 6])
    assert list(set_fields(before, ["stepvalue=1000, 2000"])[0].stepvalue) == [1000, 2000]
    assert list(set_fields(before, ["stepvalue=[7]"])[0].stepvalue) == [7]
    assert list(set_fields(before, ["stepvalue[1]=9", "stepvalue[2]=10"])[0].stepvalue) == [5, 9, 10]
    assert list(set_fields(before, ["stepvalue="])[0].stepvalue) == []
    assert list(set_fields(before, ["weights='a,b',c"])[0].weights) == ["a,b", "c"]
    for wrong in ("1,,2", ",1", "1,"):
        refused("--set", "element of the list is empty", changes=lambda w=wrong: set_fields(before, [f"stepvalue={w}"]))


def test_strings_may_be_quoted() -> None:
    for typed in ("inv", '"inv"', "'inv'", r'"in\x76"', " inv "):
        assert set_fields(solver(), [f"lr_policy={typed}"])[0].lr_policy == "inv"
    assert set_fields(solver(), ["lr_policy=a=b"])[0].lr_policy == "a=b"
    edited, [change] = set_fields(solver(), ['lr_policy=""'])
    assert edited.HasField("lr_policy")
    assert change.new == '""'


def test_setting_type_clears_solver_type_and_the_reverse() -> None:
    edited, changes = set_fields(solver(solver_type=pb.SolverParameter.ADAM), ["type=Nesterov"])
    assert edited == solver(type="Nesterov")
    assert [change.field for change in changes] == ["solver_type", "type"]
    assert set_fields(edited, ["solver_type=NESTEROV"])[0] == solver(solver_type=pb.SolverParameter.NESTEROV)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("base_lt=1", ["SolverParameter has no field base_lt", "Did you mean base_lr"]),
        ("train_state.levl=1", ["NetState has no field levl", "level"]),
        ("base_lr=fast", ["fast is not a number"]),
        ("base_lr=1e39", ["base_lr cannot be 1e39", "3.4e+38"]),
        ("base_lr=nan", ["base_lr cannot be nan"]),
        ("base_lr=inf", ["base_lr cannot be inf"]),
        ("base_lr=0.1 momentum: 2", ["is not a number"]),
        ("max_iter=1e5", ["1e5 is not a whole number"]),
        ("max_iter=2147483648", ["max_iter cannot be 2147483648", "-2147483648 to 2147483647"]),
        ("random_seed=9223372036854775808", ["9223372036854775807"]),
        ("debug_info=yes", ["yes is neither true nor false", "Give true or false"]),
        ("debug_info=1", ["1 is neither true nor false"]),
        ("snapshot_format=HDF", ["SnapshotFormat has no value HDF", "HDF5"]),
        ("solver_mode=0", ["SolverMode has no value 0", "CPU, GPU"]),
        ('lr_policy="inv', ["quotes do not match"]),
        ('lr_policy="a" type: "b"', ["quotes do not match"]),
        ("stepvalue=1,x", ["x is not a whole number"]),
        ("stepvalue[1]=5", ["stepvalue is a list with 0 elements", "stepvalue[0], which adds one"]),
        ("stepvalue[0]=", ["one element of a list cannot be cleared"]),
        ("base_lr[0]=5", ["base_lr is not a list"]),
        ("train_state[0].level=5", ["train_state is not a list"]),
        ("train_state=5", ["train_state is a message", "phase, level, stage"]),
        ("test_state.level=5", ["test_state is a list with 0 elements"]),
        ("base_lr.x=5", ["base_lr has no fields of its own"]),
        ("base_lr", ["not an assignment", "FIELD=VALUE"]),
        ("=5", ["not an assignment"]),
        ("base lr=5", ["not an assignment"]),
        ("stepvalue[-1]=5", ["not an assignment"]),
        ("[0]=5", ["not an assignment"]),
        ("snapshot_prefix=x", ["cannot be changed", "--out"]),
    ],
)
def test_a_wrong_assignment_is_refused_with_the_reason(assignment: str, said: list[str]) -> None:
    refused(f"--set {assignment}: ", *said, changes=lambda: set_fields(solver(), [assignment]))


@pytest.mark.parametrize("name", NETS)
def test_the_net_fields_cannot_be_changed(name: str) -> None:
    refused(f"{name} cannot be changed", "--set-layer", changes=lambda: set_fields(solver(), [f"{name}=x"]))
    refused(f"{name} cannot be changed", changes=lambda: set_fields(solver(), [f"{name}="]))


@given(st.text(max_size=30))
def test_any_text_is_an_edit_or_is_refused(text: str) -> None:
    for assignments in ([text], [f"base_lr={text}"], [f"stepvalue={text}"], [f"type={text}"], [f"weights={text}"]):
        try:
            edited, _ = set_fields(solver(), assignments)
        except BadInput:
            continue
        assert parsed(pb.SolverParameter, text_format.MessageToString(edited)) == edited


# -- layers -----------------------------------------------------------------------------------------------------------

NET = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 10 } data_param { source: "a" batch_size: 32 crop_size: 3 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } data_param { batch_size: 7 } }
layer { name: "in/1x1" type: "Convolution" convolution_param { num_output: 6 } param { lr_mult: 1 decay_mult: 1 } }
layer { name: "in/3x3" type: "Convolution" convolution_param { num_output: 6 bias_term: false } }
layer { name: "norm" type: "BatchNorm" param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }
layer { name: "relu" type: "ReLU" }
layer { name: "drop" type: "Dropout" dropout_param { dropout_ratio: 0.4 } }
layer { name: "drop2" type: "Dropout" }
layer { name: "loss1/classifier" type: "InnerProduct" inner_product_param { num_output: 5 }
  param { lr_mult: 10 decay_mult: 1 } param { lr_mult: 20 decay_mult: 0 } }
layer { name: "loss3/classifier" type: "InnerProduct" inner_product_param { num_output: 5 } }
layer { name: "loss1/loss1" type: "SoftmaxWithLoss" loss_weight: 0.3 }
layer { name: "gain" type: "InfogainLoss" }
layer { name: "own" type: "Python" python_param { module: "m" } }
layer { name: "memory" type: "LSTM" }
"""


def edit(*assignments: str) -> tuple[Any, list[Change]]:
    [edited], changes = set_layer_fields([net(NET)], assignments)
    return edited, changes


def layer(edited: Any, name: str, nth: int = 0) -> Any:
    return [layer for layer in edited.layer if layer.name == name][nth]


def test_lr_mult_is_set_for_every_param() -> None:
    before = net(NET)
    [edited], changes = set_layer_fields([before], ["loss*/classifier:lr_mult=1"])
    assert before == net(NET)
    assert changes == [
        Change("layer loss1/classifier", "param[0].lr_mult", "10.0", "1.0"),
        Change("layer loss1/classifier", "param[1].lr_mult", "20.0", "1.0"),
        Change("layer loss3/classifier", "param[0].lr_mult", "(default) 1.0", "1.0"),
        Change("layer loss3/classifier", "param[1].lr_mult", "(default) 1.0", "1.0"),
    ]
    assert [param.decay_mult for param in layer(edited, "loss1/classifier").param] == [1, 0]
    assert [param.lr_mult for param in layer(edited, "loss3/classifier").param] == [1, 1]


def test_a_layer_gets_as_many_params_as_it_has_blobs() -> None:
    edited, changes = edit("in/*:decay_mult=0.5")
    assert [param.decay_mult for param in layer(edited, "in/1x1").param] == [0.5, 0.5]
    assert [param.decay_mult for param in layer(edited, "in/3x3").param] == [0.5]
    assert len(changes) == 3
    edited, changes = edit("in/*:param[1].lr_mult=0")  # in/3x3 has no bias
    assert [change.where for change in changes] == ["layer in/1x1"]
    edited, _ = edit("loss3/classifier:param.1.lr_mult=2")
    assert list(layer(edited, "loss3/classifier").param) == [pb.ParamSpec(), pb.ParamSpec(lr_mult=2)]


def test_layers_without_learnable_blobs_are_not_changed() -> None:
    edited, changes = edit("[!om]*:lr_mult=0.1")
    assert {change.where.removeprefix("layer ") for change in changes} == {
        *("in/1x1", "in/3x3", "loss1/classifier", "loss3/classifier")
    }
    assert layer(edited, "norm") == layer(net(NET), "norm")  # Caffe aborts where it has another rate than 0
    refused("none of the matching layers has this field", "relu (ReLU)", changes=lambda: edit("relu:lr_mult=1"))


@pytest.mark.parametrize("name", ["own", "memory"])
def test_layers_with_an_unknown_number_of_blobs_need_an_index(name: str) -> None:
    refused("not known for its type", f"'{name}:param[0].lr_mult=2'", changes=lambda: edit(f"{name}:lr_mult=2"))
    edited, _ = edit(f"{name}:param[0].lr_mult=2", f"{name}:param[1].lr_mult=3", f"{name}:lr_mult=4")
    assert [param.lr_mult for param in layer(edited, name).param] == [4, 4]
    refused("0 elements", "param[0]", changes=lambda: edit(f"{name}:param[1].lr_mult=2"))


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("drop:dropout_ratio=0.7", [("layer drop", "dropout_param.dropout_ratio", "0.4", "0.7")]),
        ("drop2:dropout_ratio=0.7", [("layer drop2", "dropout_param.dropout_ratio", "(default) 0.5", "0.7")]),
        (
            "*:batch_size=16",
            [
                ("layer data (TRAIN)", "data_param.batch_size", "32", "16"),
                ("layer data (TEST)", "data_param.batch_size", "7", "16"),
            ],
        ),
        (
            "data:data_param.batch_size=16",
            [
                ("layer data (TRAIN)", "data_param.batch_size", "32", "16"),
                ("layer data (TEST)", "data_param.batch_size", "7", "16"),
            ],
        ),
        (
            "data:crop_size=8",
            [
                ("layer data (TRAIN)", "transform_param.crop_size", "10", "8"),
                ("layer data (TEST)", "transform_param.crop_size", "(default) 0", "8"),
            ],
        ),
        (
            "data:mean_value=104,117,123",
            [
                ("layer data (TRAIN)", "transform_param.mean_value", "(none)", "[104.0, 117.0, 123.0]"),
                ("layer data (TEST)", "transform_param.mean_value", "(none)", "[104.0, 117.0, 123.0]"),
            ],
        ),
        ("loss?/loss?:loss_weight=0.1", [("layer loss1/loss1", "loss_weight", "[0.3]", "[0.1]")]),
        ("loss1/loss1:ignore_label=3", [("layer loss1/loss1", "loss_param.ignore_label", "(default) 0", "3")]),
        ("in/3x3:num_output=9", [("layer in/3x3", "convolution_param.num_output", "6", "9")]),
        (
            "in/3x3:weight_filler.std=0.1",
            [("layer in/3x3", "convolution_param.weight_filler.std", "(default) 1.0", "0.1")],
        ),
        ("relu:negative_slope=0.1", [("layer relu", "relu_param.negative_slope", "(default) 0.0", "0.1")]),
        ("memory:recurrent_param.num_output=9", [("layer memory", "recurrent_param.num_output", "(default) 0", "9")]),
        ("own:param_str=a:b=c", [("layer own", "python_param.param_str", '(default) ""', '"a:b=c"')]),
        ("own:dropout_param.dropout_ratio=0.1", [("layer own", "dropout_param.dropout_ratio", "(default) 0.5", "0.1")]),
        ("gain:softmax_param.axis=2", [("layer gain", "softmax_param.axis", "(default) 1", "2")]),
        ("relu:type=Sigmoid", [("layer relu", "type", '"ReLU"', '"Sigmoid"')]),
    ],
)
def test_a_field_is_found_in_the_parameters_of_the_layer(
    assignment: str, expected: list[tuple[str, str, str, str]]
) -> None:
    edited, changes = edit(assignment)
    assert changes == [Change(*parts) for parts in expected]
    assert edited != net(NET)
    for where, path, _, new in expected:
        name, nth = where.removeprefix("layer ").split(" ")[0], int("TEST" in where)
        message = layer(edited, name, nth)
        *outer, last = path.split(".")
        for step in outer:
            message = getattr(message, step)
        assert parsed(type(message), f"{last}: {new}").ListFields()[0][1] == getattr(message, last)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("los1/classifier:lr_mult=1", ["no layer is called los1/classifier", "loss1/classifier"]),
        ("Loss*:lr_mult=1", ["no layer is called Loss*"]),
        ("drop:dropout_ration=1", ["none of the matching layers has this field: drop (Dropout)", "dropout_ratio"]),
        ("drop:batch_size=1", ["none of the matching layers has this field"]),
        ("drop:data_param.batch_size=1", ["none of the matching layers has this field: drop (Dropout)"]),
        ("in*:param[2].lr_mult=1", ["none of the matching layers has this field"]),
        ("in/1x1:param.lr_mult=1", ["param is a list with 1 element", "param[0] to param[1], which adds one"]),
        ("in/1x1:param[0].lr_mul=1", ["ParamSpec has no field lr_mul", "lr_mult"]),
        ("in/1x1:lr_mult=x", ["x is not a number"]),
        ("data:batch_size=-1", ["batch_size cannot be -1", "from 0"]),
        ("data:backend=LMBD", ["DB has no value LMBD", "LMDB"]),
        ("gain:axis=1", ["layer gain (InfogainLoss) has several", "infogain_loss_param.axis, softmax_param.axis"]),
        ("lr_mult=1", ["not an assignment", "GLOB:FIELD=VALUE"]),
        (":lr_mult=1", ["not an assignment"]),
        ("drop:=1", ["not an assignment"]),
    ],
)
def test_a_wrong_layer_assignment_is_refused_with_the_reason(assignment: str, said: list[str]) -> None:
    refused(f"--set-layer {assignment}: ", *said, changes=lambda: edit(assignment))


def test_a_layer_in_several_nets_is_listed_once() -> None:
    nets, changes = set_layer_fields([net(NET), net(NET)], ["drop:dropout_ratio=0.7"])
    assert len(changes) == 1
    assert [layer(edited, "drop").dropout_param.dropout_ratio for edited in nets] == [pytest.approx(0.7)] * 2


def test_layers_that_share_a_param_must_agree(digit_data: Path) -> None:
    shared = net(small_net(digit_data))
    refused(
        "layers conv2/a, conv2/b share the param shared_w",
        "Change all of them",
        changes=lambda: set_layer_fields([shared], ["conv2/b:lr_mult=3"]),
    )
    assert len(set_layer_fields([shared], ["conv2/*:lr_mult=3"])[1]) == 4


@pytest.mark.parametrize(
    ("assignment", "name"), [("*:name=x", "x"), ("conv2/*:name=x", "x"), ("drop:name=relu1", "relu1")]
)
def test_layers_keep_different_names(digit_data: Path, assignment: str, name: str) -> None:
    small = net(small_net(digit_data))
    refused(
        f"several layers of a net would have the name {name}",
        changes=lambda: set_layer_fields([small], [assignment]),
    )


def test_a_layer_can_be_renamed(digit_data: Path) -> None:
    (edited,), _ = set_layer_fields([net(small_net(digit_data))], ["drop:name=other"])
    assert layer(edited, "other").type == "Dropout"


def test_the_types_of_real_nets_are_known() -> None:
    nets = [path for path in (ROOT / "prototxt").glob("*/*.prototxt") if "solver" not in path.name]
    assert nets
    for path in nets:
        for each in parsed(pb.NetParameter, path.read_text()).layer:
            count = blob_count(each)
            assert count is not None, each.type
            assert len(each.param) <= count
            assert all(field.name in parameters(each) for field, _ in each.ListFields() if "_param" in field.name)
