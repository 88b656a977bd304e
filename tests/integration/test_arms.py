"""Arms do what they say, bit for bit; the oracle is plain pycaffe with Caffe's own data layer."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import lmdb
import pytest

from harness.errors import BadInput
from harness.experiments.control import Compared, compare
from harness.recording import Recording
from harness.schemas.arm import (
    AnyChange,
    Arm,
    ArmResult,
    HistoryScaled,
    LayerField,
    LayerRedrawn,
    Place,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    Replacement,
    SolverField,
    StreamShifted,
    UpdateWithheld,
    WeightsJittered,
    WeightsLimited,
    WeightsScaled,
)
from tests.helpers.arms import arms_of, recorded_digests, replay_all
from tests.helpers.commands import train
from tests.helpers.lmdbs import CLASSES, RECORDS
from tests.helpers.nets import data_layer, solver_text
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

FIRST, COUNT, BATCH = 30, 10, 8
JITTER = 0.01
LIMIT = 0.05  # most weights are beyond it

NET = """name: "arms"
{train}
{test}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "relu" type: "ReLU" bottom: "pool" top: "pool" }}
layer {{ name: "drop" type: "Dropout" bottom: "pool" top: "drop" dropout_param {{ dropout_ratio: {dropout} }} }}
layer {{ name: "aside" type: "InnerProduct" bottom: "pool" top: "aside"
  param {{ lr_mult: 0 }} param {{ lr_mult: 0 }}
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  param {{ lr_mult: {lr_mult} }} param {{ lr_mult: {lr_mult} }}
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss1" type: "SoftmaxWithLoss" bottom: "aside" bottom: "label" top: "loss1" loss_weight: 0.3 }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""

# Each case replays from FIRST on: the native solver reads the batches before it, and draws what training would draw,
# in forward passes; then it takes weights and history from the snapshot of the run.
ORACLE = """
import json, sys
from pathlib import Path
import caffe, numpy as np
from google.protobuf import text_format
from caffe.proto import caffe_pb2
from tests.helpers.weight_digests import expected_digest

home, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
jitter, limit = float(sys.argv[4]), float(sys.argv[5])
state = home / "run/snapshots" / f"native_iter_{first}.solverstate"
caffe.set_mode_cpu()


def blobs(solver):
    return [blob for layer in solver.net.params.values() for blob in layer]


def digest(solver):
    return expected_digest(blob.data.tobytes() for blob in blobs(solver))


def begun(name, state=state):
    solver = caffe.SGDSolver(str(home / f"{name}.prototxt"))
    for _ in range(first):
        for _ in range(2 if name == "halves" else 1):
            solver.net.forward()
    if state is not None:
        solver.restore(str(state))
    return solver


def run(solver, before=lambda t: None, after=lambda t: None):
    found = [digest(solver)]
    losses = []
    for t in range(first, first + count):
        before(t)
        solver.step(1)
        after(t)
        found.append(digest(solver))
        losses.append(float(solver.net.blobs["loss"].data) )
    return {"digests": found, "losses": losses}


def without_history():
    solver = begun("slow", None)
    solver.net.copy_from(str(state.with_suffix(".caffemodel")))
    return run(solver)


def half_history(first_blob=0):
    message = caffe_pb2.SolverState.FromString(state.read_bytes())
    for blob in message.history[first_blob:]:
        blob.data[:] = (np.array(blob.data, np.float32) * np.float32(0.5)).tolist()
    (home / "half.solverstate").write_bytes(message.SerializeToString())
    return run(begun("solver", home / "half.solverstate"))


def shifted():
    solver = begun("solver")
    return run(solver, lambda t: [solver.net._forward(0, 0) for _ in range(3)] if t == first + 3 else None)


def withheld():
    solver, kept = begun("solver"), {}
    mine = solver.net.params["ip"][0]
    def before(t):
        kept["w"] = mine.data.copy()
    def after(t):
        if first + 2 <= t < first + 5:
            mine.data[...] = kept["w"]
    return run(solver, before, after)


def jittered():
    solver = begun("solver")
    random = np.random.MT19937()
    random._legacy_seeding(7)
    for name in ("conv", "ip"):  # those that learn
        for blob in solver.net.params[name]:
            u = random.random_raw(blob.count) / 2**32
            blob.data[...] = (blob.data * (1 + jitter * (2 * u - 1)).reshape(blob.data.shape)).astype(np.float32)
    return run(solver)


def limited():
    solver = begun("solver")
    weights = solver.net.params["conv"][0].data
    weights[weights > limit], weights[weights < -limit] = limit, -limit
    return run(solver)


def weights_scaled():
    solver = begun("solver")
    solver.net.params["conv"][0].data[...] *= np.float32(0.4)
    return run(solver)


def redrawn():
    message = caffe_pb2.SolverState.FromString(state.read_bytes())
    for blob in message.history[4:]:  # conv, aside, ip: two each
        blob.data[:] = [0] * len(blob.data)
    (home / "redrawn.solverstate").write_bytes(message.SerializeToString())
    caffe.set_random_seed(7)
    net = caffe.Net(str(home / "redrawn_net.prototxt"), caffe.TRAIN)
    solver = begun("solver", home / "redrawn.solverstate")
    for mine, drawn in zip(solver.net.params["ip"], net.params["ip"]):
        mine.data[...] = drawn.data
    return run(solver)


results = {
    name: run(begun(name)) for name in ("solver", "scaled", "held", "momentum", "multiplied", "dropped", "replaced")
}
results |= {"zero": without_history(), "half": half_history(), "shifted": shifted(), "withheld": withheld()}
results |= {"half of a layer": half_history(4)}  # conv, aside, ip: two blobs each
results |= {"jittered": jittered(), "limited": limited(), "redrawn": redrawn()}
results |= {"weights scaled": weights_scaled()}
print(json.dumps(results))
"""

REPLACED = {(33, 2): (50, 5), (33, 7): (41, 0), (36, 0): (33, 2)}

CASES: dict[str, Arm] = {
    "solver": Arm(FIRST, COUNT),
    "scaled": Arm(FIRST, COUNT, (RateScaled(0.5, 35),)),
    "held": Arm(FIRST, COUNT, (RateHeld(32, 0.0125),)),
    "momentum": Arm(FIRST, COUNT, (SolverField("momentum", "0.5"), SolverField("clip_gradients", "0.7"))),
    "multiplied": Arm(FIRST, COUNT, (LayerField("ip", "lr_mult", "3"),)),
    "dropped": Arm(FIRST, COUNT, (LayerField("drop", "dropout_ratio", "0.6"),)),
    "replaced": Arm(
        FIRST, COUNT, (RecordsReplaced(tuple(Replacement(Place(*p), Place(*s)) for p, s in REPLACED.items())),)
    ),
    "zero": Arm(FIRST, COUNT, (HistoryScaled(0),)),
    "half": Arm(FIRST, COUNT, (HistoryScaled(0.5),)),
    "half of a layer": Arm(FIRST, COUNT, (HistoryScaled(0.5, "ip"),)),
    "shifted": Arm(FIRST, COUNT, (StreamShifted(33, 36),)),
    "withheld": Arm(FIRST, COUNT, (UpdateWithheld("ip", 32, 35, 0),)),
    "jittered": Arm(FIRST, COUNT, (WeightsJittered(JITTER),), seed=7),
    "limited": Arm(FIRST, COUNT, (WeightsLimited("conv", LIMIT, 0),)),
    "weights scaled": Arm(FIRST, COUNT, (WeightsScaled("conv", 0.4, 0),)),
    "redrawn": Arm(FIRST, COUNT, (LayerRedrawn("ip"),), seed=7),
}
OTHERS: dict[str, Arm] = {
    "overflow": Arm(FIRST, COUNT, (RateScaled(1e30, 31),)),
    "to NaN": Arm(FIRST, COUNT, (LayerField("conv", "lr_mult", "1e38"), RateScaled(1e10, 30))),
    "repeat": Arm(FIRST, COUNT, seed=1),
    "from later": Arm(37, COUNT),
    "aborts": Arm(FIRST, COUNT, (LayerField("pool", "pad", "5"),)),
    "repeat after the abort": Arm(FIRST, COUNT, seed=2),
    "does not fit": Arm(FIRST, COUNT, (LayerField("ip", "num_output", "9"),)),
    "not known": Arm(FIRST, COUNT, (UpdateWithheld("nowhere", 32),)),
    "without params": Arm(FIRST, COUNT, (LayerRedrawn("relu"),)),
    "rate": Arm(FIRST, COUNT, (RateScaled(3e38, 35), RateScaled(3e38, 35))),
    "looked at": Arm(FIRST, COUNT, look=True),
    "after all": Arm(FIRST, COUNT, seed=3),
}


def write(home: Path, source: Path, name: str, net: dict[str, object] | None = None, **fields: object) -> None:
    """Write the solver `name` and its net."""
    given = {"dropout": 0.3, "lr_mult": 1, "classes": CLASSES} | (net or {})
    layers = {
        "train": data_layer(source, "TRAIN", BATCH, "mirror: true crop_size: 10"),
        "test": data_layer(source, "TEST", BATCH, "crop_size: 10"),
    }
    (home / f"{name}_net.prototxt").write_text(NET.format(**given, **layers))
    values = {"base_lr": 0.05, "lr_policy": '"multistep"', "gamma": 0.5, "stepvalue": 20, "snapshot": FIRST}
    text = solver_text(home / f"{name}_net.prototxt", home / "native", **(values | {"power": None} | fields))
    (home / f"{name}.prototxt").write_text(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path, one_blas_thread: None) -> Path:
    """The run, and the solvers of the oracle; `results.json` has what those gave."""
    home = tmp_path_factory.mktemp("arms")
    source = digit_data / "train"
    write(home, source, "solver")
    write(home, source, "scaled", stepvalue="20 stepvalue: 35")
    write(home, source, "held", stepvalue="20 stepvalue: 32")
    write(home, source, "momentum", momentum=0.5, clip_gradients=0.7)
    write(home, source, "multiplied", {"lr_mult": 3})
    write(home, source, "dropped", {"dropout": 0.6})
    write(home, source, "slow", lr_policy='"fixed"', base_lr=0.025)
    inputs = 'input: "data" input_shape { dim: 8 dim: 1 dim: 10 dim: 10 } input: "label" input_shape { dim: 8 }'
    alone = NET.format(train=inputs, test="", dropout=0, lr_mult=1, classes=CLASSES)  # no data layer draws seeds before
    (home / "redrawn_net.prototxt").write_text(alone)
    write(home, with_replaced(source, home / "replaced_lmdb"), "replaced")
    train(home / "solver.prototxt", home / "run", "--black-box-mib", 0)
    done = command(
        sys.executable,
        "-c",
        ORACLE,
        home,
        FIRST,
        COUNT,
        JITTER,
        LIMIT,
        env={"GLOG_minloglevel": "2"},
    )
    assert done.code == 0, done.stderr[-3000:]
    (home / "results.json").write_text(done.stdout.splitlines()[-1])
    return home


def with_replaced(source: Path, target: Path) -> Path:
    """Copy an LMDB, with the records that the arm replaces as they are in the arm."""

    def number(place: tuple[int, int]) -> int:
        return (place[0] * BATCH + place[1]) % RECORDS

    with lmdb.open(str(source), readonly=True) as environment, environment.begin() as transaction:
        records = list(transaction.cursor())
    values = {number(place): records[number(source)][1] for place, source in REPLACED.items()}
    assert len(values) == len(REPLACED)
    with lmdb.open(str(target), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for position, (key, value) in enumerate(records):
            transaction.put(key, values.get(position, value))
    return target


@pytest.fixture(scope="module")
def results(home: Path) -> dict[str, ArmResult]:
    """All arms, one after the other in one process."""
    names = [*CASES, *OTHERS]
    return dict(zip(names, replay_all(home / "run", FIRST, (CASES | OTHERS).values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_weights_and_losses_are_those_of_plain_pycaffe(name: str, home: Path, results: dict[str, ArmResult]) -> None:
    expected, found = json.loads((home / "results.json").read_text())[name], results[name]
    assert found.ended == "completed", found.why
    assert [*found.digest, found.final_digest] == expected["digests"]
    assert list(found.outputs["loss"]) == expected["losses"]
    if name != "solver":
        assert found.final_digest != results["solver"].final_digest


@pytest.mark.parametrize("name", ["solver", "repeat", "from later", "repeat after the abort", "looked at", "after all"])
def test_a_control_has_the_recorded_digests_whatever_was_replayed_before(
    name: str, home: Path, results: dict[str, ArmResult]
) -> None:
    """Other data and solvers, NaN in MAX pooling, which must not damage the heap, a process that Caffe aborted."""
    found = results[name]
    recorded = recorded_digests(home / "run", found.arm.start, COUNT + 1)
    assert [*found.digest, found.final_digest] == recorded
    assert compare(home / "run", found) == Compared(COUNT + 1, None)


def test_the_first_difference_from_the_recording_is_found(home: Path, results: dict[str, ArmResult]) -> None:
    assert compare(home / "run", results["scaled"]) == Compared(COUNT + 1, 36)


def test_losses_rates_and_norms_are_those_of_the_recording(home: Path, results: dict[str, ArmResult]) -> None:
    found = results["solver"]
    with Recording(home / "run") as recording:
        rows = slice(FIRST, FIRST + COUNT)
        assert list(found.loss) == recording.series("loss", rows).tolist()
        assert list(found.rate) == recording.series("lr", rows).tolist()
        norms = recording.stat("gradient_l2", rows).values
        assert found.gradient_l2 == pytest.approx([math.hypot(*row) for row in norms], rel=1e-12)
        assert {*found.layer_gradient_l2} == {*found.layer_update_l2} == {"conv", "aside", "ip"}
        for layer in found.layer_gradient_l2:
            own = [column for column, param in enumerate(recording.params) if param.layer == layer]
            assert found.layer_gradient_l2[layer] == pytest.approx([math.hypot(*row[own]) for row in norms], rel=1e-12)
            updates = [math.hypot(*row[own]) for row in recording.stat("update_l2", rows).values]
            assert found.layer_update_l2[layer] == pytest.approx(updates, rel=1e-12)
        for name in ("loss1", "loss"):
            assert list(found.outputs[name]) == recording.output(name, rows).ravel().tolist()


def test_what_a_look_sees_is_what_the_run_recorded(home: Path, results: dict[str, ArmResult]) -> None:
    found, plain = results["looked at"], results["solver"]
    assert (found.loss, found.layer_update_l2) == (plain.loss, plain.layer_update_l2)
    assert not plain.blob_peak
    with Recording(home / "run") as recording:
        peaks, zeros = recording.activation("max"), recording.activation("zero_fraction")
    row, at = peaks.iterations.tolist().index(35), 35 - FIRST
    assert {name: values[at] for name, values in found.blob_peak.items()} == dict(
        zip(peaks.labels, peaks.values[row], strict=True)
    )
    column = zeros.labels.index("pool")
    assert {name: values[at] for name, values in found.zero_fraction.items()} == {"pool": zeros.values[row, column]}
    assert 0 < found.zero_fraction["pool"][at] < 1


def test_an_arm_ends_where_it_is_not_finite(results: dict[str, ArmResult]) -> None:
    """The update of 30 makes the weights of `conv` NaN: MAX pooling reads nothing else, and the loss is finite."""
    found = results["to NaN"]
    assert found.ended == "not finite"
    assert found.why == "In iteration 31, a MAX pooling layer read nothing but NaN somewhere."
    assert len(found.loss) == len(found.digest) == 2
    assert all(map(math.isfinite, found.loss))
    assert math.isnan(found.gradient_l2[1])
    assert math.isnan(found.layer_update_l2["conv"][1])
    assert results["overflow"].why == "In iteration 32, the loss is not finite."


def test_an_arm_that_caffe_aborts_died_and_the_others_continue(home: Path, results: dict[str, ArmResult]) -> None:
    found = results["aborts"]
    assert found.ended == "died"
    assert not found.killed
    assert "SIGABRT" in found.why
    assert "Check failed" in found.why


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("does not fit", "other param blobs"),
        ("not known", "layer nowhere has no param blob of its own"),
        ("without params", "layer relu has no param blob of its own"),
        ("rate", "the learning rate of iteration 35 is inf"),
    ],
)
def test_changes_that_do_not_fit_are_refused(name: str, words: str, results: dict[str, ArmResult]) -> None:
    assert results[name].ended == "refused"
    assert words in results[name].why


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (LayerField("data", "mirror", "false"), "the batches of a data layer are fixed"),
        (SolverField("random_seed", "5"), "cannot be changed in an arm"),
        (SolverField("momentum", "much"), "much is not a number"),
        (LayerField("nowhere", "lr_mult", "2"), "no layer is called nowhere"),
    ],
)
def test_fields_that_cannot_be_changed_are_bad_input(home: Path, change: AnyChange, words: str) -> None:
    with arms_of(home / "run", FIRST) as arms, pytest.raises(BadInput, match=words):
        arms.submit([Arm(FIRST, COUNT, (change,))])
