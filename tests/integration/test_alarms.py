"""Alarms on real Caffe: faults planted at a known iteration and place, and their healthy twins."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.diagnose import diagnose
from harness.invocation import next_command
from harness.recording import Recording
from harness.schemas.layout import Alarm
from tests.helpers.commands import RUN, caffe_train, restart, train
from tests.helpers.lmdbs import CLASSES
from tests.helpers.nets import solver_text
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, started

pytestmark = pytest.mark.usefixtures("one_blas_thread")

BATCH, RECORDS, FAULT = 8, 6000, 400  # the fault is in the batch of this iteration
DISPLAY = 20


def noisy_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images that are learned slowly: uint8 (RECORDS, 1, 12, 12), and labels."""
    random = np.random.default_rng(1)
    labels = random.integers(0, CLASSES, RECORDS)
    images = random.integers(0, 200, (RECORDS, 1, 12, 12))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 3, 3:9] += 55
    return images.astype(np.uint8), labels


def write(path: Path, images: np.ndarray, labels: np.ndarray, scale: dict[int, float] | None = None) -> Path:
    """Write an LMDB; the records in `scale` are stored as floats, multiplied by that factor."""
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            datum = pb.Datum(channels=1, height=12, width=12, label=int(label))
            if scale and number in scale:
                datum.float_data.extend((image.ravel() * scale[number]).tolist())
            else:
                datum.data = image.tobytes()
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    return path


def net_text(source: Path, bias: float = 0.0) -> str:
    return f"""name: "plant"
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ scale: 0.0078125 }}
  data_param {{ source: "{source}" batch_size: {BATCH} backend: LMDB }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param {{ num_output: 8 kernel_size: 3
  weight_filler {{ type: "xavier" }} bias_filler {{ type: "constant" value: {bias} }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "conv1" top: "ip1"
  inner_product_param {{ num_output: 16 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "ip1" top: "ip1" }}
layer {{ name: "classifier" type: "InnerProduct" bottom: "ip1" top: "classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "classifier" bottom: "label" top: "loss" }}
"""


class Plant:
    """A run with a planted fault: its alarms, losses and diagnosis."""

    def __init__(
        self, home: Path, source: Path, arguments: tuple[object, ...], bias: float, fields: dict[str, object]
    ) -> None:
        home.mkdir()
        net, self.solver, self.run = home / "net.prototxt", home / "solver.prototxt", home / "run"
        net.write_text(net_text(source, bias))
        usual = {"base_lr": 0.01, "lr_policy": '"fixed"', "power": None, "max_iter": 500, "display": DISPLAY}
        usual |= {"average_loss": DISPLAY, "test_iter": None, "test_interval": None, "snapshot": 0}
        self.solver.write_text(solver_text(net, home / "native", **usual | fields))
        self.done = train(self.solver, self.run, *arguments, code=None)
        with Recording(self.run) as recording:
            self.alarms = recording.alarms
            self.losses = recording.series("loss")
            self.diagnosis = diagnose(recording, DISPLAY, read_limits())
        self.ended = json.loads((self.run / "run.json").read_text())["ended"]

    def first(self, rule: str) -> Alarm:
        return next(alarm for alarm in self.alarms if alarm.rule == rule)

    @property
    def rules(self) -> set[str]:
        return {alarm.rule for alarm in self.alarms}

    def log(self) -> dict[str, Any]:
        """The findings of readlog.py on its log alone."""
        done = harness_command("readlog", self.run / "solver.log", "--json")
        assert done.code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


Planted = Callable[..., Plant]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plants")


@pytest.fixture(scope="module")
def healthy_data(home: Path) -> Path:
    return write(home / "healthy_data", *noisy_digits())


@pytest.fixture(scope="module")
def wild_data(home: Path) -> Path:
    """Four records of iteration FAULT are a hundred times too bright and wrongly labelled."""
    images, labels = noisy_digits()
    wild = range(FAULT * BATCH + 2, FAULT * BATCH + 6)
    labels[wild] = (labels[wild] + 1) % CLASSES
    return write(home / "wild_data", images, labels, dict.fromkeys(wild, 100.0))


@pytest.fixture(scope="module")
def planted(home: Path, healthy_data: Path) -> Planted:
    def plant(name: str, *arguments: object, source: Path = healthy_data, bias: float = 0.0, **fields: object) -> Plant:
        return Plant(home / name, source, arguments, bias, fields)

    return plant


@pytest.fixture(scope="module")
def wild(planted: Planted, wild_data: Path) -> Plant:
    return planted("wild", source=wild_data, snapshot=200)


# -- planted faults ---------------------------------------------------------------------------------------------------


def test_a_record_with_outlier_values_raises_loss_jump(wild: Plant) -> None:
    jump = wild.first("loss_jump")
    assert jump.subject == "loss"
    assert jump.limit == pytest.approx(0.95 * math.log(CLASSES))
    assert FAULT < jump.iteration <= FAULT + 3
    assert wild.losses[jump.iteration] > jump.limit
    assert wild.ended["onset"]["iteration"] == FAULT
    assert wild.ended["onset"]["blob"] == "data"
    assert wild.ended["onset"]["param"] == "conv1/0"
    assert {alarm.subject for alarm in wild.alarms if alarm.rule == "dead_relu"} == {"conv1", "ip1"}
    log = wild.log()
    assert (log["verdict"], log["jump_iteration"]) == ("uniform-softmax", FAULT)
    assert log["onset"] == {"estimate": FAULT, "low": FAULT - DISPLAY + 1, "high": FAULT}


def test_a_run_that_recovers_and_breaks_later_is_dated_at_the_later_break(home: Path, planted: Planted) -> None:
    """Iterations 250 and 600 hold wild records, the later ones ten times wilder. The net recovers from the first."""
    images, labels = noisy_digits()
    shock, fault = (range(t * BATCH + 2, t * BATCH + 6) for t in (250, 600))
    labels[[*shock, *fault]] = (labels[[*shock, *fault]] + 1) % CLASSES
    source = write(home / "shocks", images, labels, dict.fromkeys(shock, 10.0) | dict.fromkeys(fault, 100.0))
    run = planted("twice", source=source, max_iter=720, snapshot=200)
    assert 250 < run.first("loss_jump").iteration <= 253
    assert np.median(run.losses[500:600]) < run.first("loss_jump").limit / 2
    assert run.ended["onset"]["iteration"] == 600
    assert run.diagnosis.onset is not None
    assert run.diagnosis.onset.iteration == 600
    assert run.diagnosis.last_good is not None
    assert run.diagnosis.last_good.iteration == 400
    log = run.log()
    assert log["onset"]["low"] <= 600 <= log["onset"]["high"]
    assert log["jump_iteration"] == 600


def test_inputs_far_beyond_all_before_raise_input_range(wild: Plant) -> None:
    alarm = wild.first("input_range")
    assert (alarm.iteration, alarm.subject) == (FAULT, "data")
    with Recording(wild.run) as recording:
        largest = recording.input_stat("maximum")["data"]
    assert alarm.value == largest[FAULT]
    assert alarm.limit == pytest.approx(5 * largest[:FAULT].max(), rel=0.05)
    ratio = largest[FAULT] / largest[FAULT - 200 : FAULT].max()
    sentence = f"the largest value in input data at iteration {FAULT}, {largest[FAULT]:.4g}, is {ratio:.0f} times"
    assert f"; {sentence} the largest of the 200 before" in wild.ended["onset"]["reason"]
    assert wild.diagnosis.onset is not None
    assert sentence in wild.diagnosis.onset.reason
    assert f"ALARM input_range at iteration {FAULT}: the largest magnitude in input data is" in wild.done.stderr


def test_a_bad_batch_between_two_displays_is_named(planted: Planted, wild_data: Path) -> None:
    """At displays, when the net's blobs are looked at, the inputs were as always."""
    plant = planted("between", "--until", FAULT + 60, source=wild_data, display=30)
    assert plant.ended["onset"]["iteration"] == FAULT
    assert plant.ended["onset"]["blob"] == "data"
    assert plant.diagnosis.onset is not None
    assert plant.diagnosis.onset.blob == "data"


def test_the_alarm_the_onset_and_the_next_commands_are_printed(wild: Plant) -> None:
    said = wild.done.stderr
    assert wild.done.code == 0
    alarm = next(line for line in said.splitlines() if line.startswith("ALARM loss_jump"))
    assert f"at iteration {wild.first('loss_jump').iteration}: the loss stays at" in alarm
    assert "(chance level: 1.609)" in alarm
    assert "Look at the records of the batches at the onset" in alarm
    assert f"Onset: iteration {FAULT}: loss" in said
    look = f"--watch {FAULT - 5}:{FAULT + 40} --until {FAULT + 40}"
    options = (f"--skip {FAULT}:{FAULT + 1}", "--set clip_gradients=", "--set base_lr=0.001\n", f"{look}\n")
    places = [said.index(f"    {next_command('restart')} {wild.run} {option}") for option in options]
    assert places == sorted(places)  # ranked: its input left its range, then what the gradients say


def test_a_rate_that_the_schedule_raises_tenfold_raises_lr_jump(planted: Planted) -> None:
    plant = planted("rate", base_lr=0.02, lr_policy='"multistep"', gamma=10, stepvalue=FAULT)
    jump = plant.first("lr_jump")
    assert (jump.iteration, jump.subject) == (FAULT, "lr")
    assert jump.value == pytest.approx(0.2)
    assert jump.limit == pytest.approx(0.03)
    assert FAULT < plant.first("loss_jump").iteration <= FAULT + 15
    assert FAULT <= plant.ended["onset"]["iteration"] <= plant.first("loss_jump").iteration
    log = plant.log()
    assert log["onset"]["low"] <= FAULT + 1 <= log["onset"]["high"]
    assert log["schedule"]["agrees_with_solver"]
    assert log["schedule"]["rises"]


@pytest.fixture(scope="module")
def nan_data(home: Path) -> Path:
    """A record of iteration FAULT has NaN in place of its pixels."""
    return write(home / "nan_data", *noisy_digits(), {FAULT * BATCH + 2: math.nan})


@pytest.fixture(scope="module")
def nan_record(planted: Planted, nan_data: Path) -> Plant:
    return planted("nan", source=nan_data)


def test_a_nan_in_a_record_raises_non_finite(planted: Planted, nan_data: Path) -> None:
    plant = planted("nan_on", "--on-alarm", "continue", "--black-box-mib", "0", source=nan_data)
    assert len(plant.losses) == 500
    assert f"rewind {plant.run} --watch {FAULT - 5}:{FAULT + 1}\n" in plant.done.stderr  # nothing after it is finite
    alarms = [alarm for alarm in plant.alarms if alarm.rule == "non_finite"]
    assert [(alarm.iteration, alarm.subject, alarm.value) for alarm in alarms] == [(FAULT, "input data", 144)]
    assert plant.ended["onset"]["iteration"] == FAULT
    assert plant.ended["onset"]["blob"] == "data"
    log = plant.log()
    assert log["verdict"] == "nan"
    assert log["onset"]["low"] <= FAULT <= log["onset"]["high"]


def test_the_first_nan_stops_a_run_after_a_snapshot(nan_record: Plant) -> None:
    plant = nan_record
    assert plant.done.code == 3
    assert len(plant.losses) == FAULT + 1
    assert (plant.run / f"snapshots/native_iter_{FAULT + 1}.solverstate").exists()
    last = plant.done.stderr.splitlines()[-1]
    assert last.startswith(f"Diverged (non_finite at iteration {FAULT}), stopped before iteration {FAULT + 1}")
    assert "--on-alarm continue would train on" in last
    assert "with a snapshot (--on-alarm non_finite)" in plant.done.stderr
    assert f"restart {plant.run} --from 0" in plant.done.stderr


def test_a_divergence_that_stays_finite_stops_no_run_by_default(wild: Plant) -> None:
    assert {"loss_jump", "dead_relu"} <= wild.rules
    assert (wild.done.code, len(wild.losses)) == (0, 500)


def test_a_nan_in_a_weight_raises_non_finite(planted: Planted, home: Path, healthy_data: Path) -> None:
    first = planted("before", "--until", "20")
    model = pb.NetParameter()
    model.ParseFromString((first.run / "snapshots/native_iter_20.caffemodel").read_bytes())
    ip1 = next(layer for layer in model.layer if layer.name == "ip1")
    ip1.blobs[1].data[3] = math.nan
    (home / "nan.caffemodel").write_bytes(model.SerializeToString())
    plant = planted("nan_weight", "--weights", home / "nan.caffemodel")
    assert plant.done.code == 3
    alarm = plant.alarms[0]
    assert (alarm.iteration, alarm.rule, alarm.subject) == (0, "non_finite", "weight ip1/1")
    assert len(plant.losses) == 1  # the solver waits for the verdict on a NaN before it goes on
    assert plant.ended["onset"]["iteration"] == 0


def test_negative_biases_raise_dead_relu(planted: Planted) -> None:
    plant = planted("bias", bias=-1000.0, max_iter=1100)
    dead = [alarm for alarm in plant.alarms if alarm.rule == "dead_relu"]
    assert [(alarm.iteration, alarm.subject, alarm.value) for alarm in dead] == [(0, "conv1", 1.0), (0, "ip1", 1.0)]
    lazy = plant.first("loss_not_decreasing")
    assert (lazy.iteration, lazy.subject) == (1000, "loss")
    assert plant.rules == {"dead_relu", "loss_not_decreasing"}  # a loss at ln K from the start on is no collapse
    log = plant.log()
    assert (log["verdict"], log["jump_iteration"], log["onset"]) == ("uniform-softmax", None, None)


def test_a_stretch_of_one_class_raises_loss_spike(planted: Planted, home: Path) -> None:
    images, labels = noisy_digits()
    order = np.arange(RECORDS)
    first, last = 300, 450  # iterations
    order[first * BATCH : last * BATCH] = np.resize(np.flatnonzero(labels == 0), (last - first) * BATCH)
    plant = planted("stretch", source=write(home / "stretch_data", images[order], labels[order]), max_iter=700)
    spike = plant.first("loss_spike")
    assert (spike.iteration, spike.subject) == (last, "loss")  # the other classes are back
    assert plant.rules == {"loss_spike", "label_runs"}
    runs = plant.first("label_runs")
    assert runs.subject == "label"
    assert first < runs.iteration < first + 40
    assert plant.ended["onset"] is None
    assert plant.log()["verdict"] == "healthy"


def test_records_sorted_by_class_raise_label_runs(planted: Planted, home: Path) -> None:
    images, labels = noisy_digits()
    order = np.argsort(labels[: 100 * BATCH], kind="stable")  # an epoch of 100 iterations
    source = write(home / "sorted_data", images[order], labels[order])
    plant = planted("sorted", source=source)
    alarm = plant.first("label_runs")
    assert alarm.subject == "label"
    assert alarm.iteration < 60
    assert 10 <= alarm.value <= 25
    (found,) = plant.diagnosis.order
    assert (found.period, found.is_epoch, found.loss_repeats) == (100, True, True)
    assert f"The labels (label) of iterations 0 to {found.runs[0].last} are all 0, of " in found.sentence
    assert (
        "records come in the order of their class. The order and the loss repeat every 100 iterations, one epoch."
        in (found.sentence)
    )


def test_a_negative_weight_decay_raises_saturated_softmax(planted: Planted) -> None:
    plant = planted("decay", weight_decay=-1.0, max_iter=250)
    jump, saturated = plant.first("loss_jump"), plant.first("saturated_softmax")
    assert jump.iteration < saturated.iteration < 250
    assert saturated.subject == "loss"
    assert saturated.value >= 0.9 * (1 - 1 / CLASSES) * 87.3365
    assert plant.ended["onset"]["iteration"] <= jump.iteration
    level = np.median(plant.losses[: plant.ended["onset"]["iteration"]])
    assert np.median(plant.losses[jump.iteration :]) > 3 * level
    assert plant.log()["verdict"] == "saturated-softmax"


# -- healthy twins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bias", "fields"),
    [
        ("twin", 0.0, {}),
        ("twin_bias", -0.1, {}),
        ("twin_rate", 0.0, {"base_lr": 0.02, "lr_policy": '"multistep"', "gamma": 0.1, "stepvalue": FAULT}),
        ("twin_decay", 0.0, {"weight_decay": 0.001, "max_iter": 250}),
    ],
)
def test_healthy_twins_raise_no_alarm(planted: Planted, name: str, bias: float, fields: dict[str, object]) -> None:
    plant = planted(name, bias=bias, **fields)
    assert plant.alarms == ()
    assert plant.ended["onset"] is None
    assert "ALARM" not in plant.done.stderr
    assert np.median(plant.losses[-50:]) < 0.5 * math.log(CLASSES)
    assert plant.log()["verdict"] == "healthy"


def test_twenty_thousand_healthy_iterations_raise_no_alarm(planted: Planted) -> None:
    plant = planted("long", max_iter=20_000, lr_policy='"poly"', power=0.5)
    assert len(plant.losses) == 20_000
    # in batches of eight, one in 20,000 is worse than guessing: told, and not taken for a divergence
    assert plant.rules <= {"loss_spike"}
    assert len(plant.alarms) <= 2
    assert plant.ended["onset"] is None


# -- what is done about it --------------------------------------------------------------------------------------------


def test_stop_takes_a_snapshot_and_exits_with_3(planted: Planted, wild_data: Path, wild: Plant) -> None:
    plant = planted("stop", "--on-alarm", "stop", source=wild_data, max_iter=20_000)
    jump = plant.first("loss_jump")
    assert plant.done.code == 3
    assert jump == wild.first("loss_jump")
    stopped = len(plant.losses)
    assert jump.iteration < stopped < 20_000
    assert (plant.run / f"snapshots/native_iter_{stopped}.solverstate").exists()
    assert plant.ended["code"] == 3
    assert plant.ended["onset"]["iteration"] == FAULT
    assert f"Diverged (loss_jump at iteration {jump.iteration})" in plant.done.stderr


def test_a_restart_has_the_baseline_of_its_parent(wild: Plant, home: Path) -> None:
    """It starts ten iterations before the divergence, too few for a baseline of its own."""
    restart(wild.run, "--watch", f"{FAULT - 11}:{FAULT + 3}", "--from", 200, "--out", home / "watched")
    child = home / "late"
    restart(home / "watched", "--from", FAULT - 10, "--on-alarm", "stop", "--out", child, code=3)
    with Recording(child) as recording:
        assert recording.iterations[0] == FAULT - 10
        assert [a for a in recording.alarms if a.rule == "loss_jump"] == [wild.first("loss_jump")]


def test_a_restart_after_the_divergence_raises_at_once(planted: Planted, wild_data: Path, home: Path) -> None:
    broken = planted("broken", source=wild_data, snapshot=150, max_iter=700)
    child = home / "after"
    done = restart(broken.run, "--from", 450, "--on-alarm", "stop", "--out", child, code=3)
    with Recording(child) as recording:
        assert [(a.iteration, a.rule) for a in recording.alarms if a.rule == "loss_jump"] == [(450, "loss_jump")]
        assert set(diagnose(recording, DISPLAY, read_limits()).alarms) == set(recording.alarms)
    assert "this run has no snapshot from before the onset; restart the run that it continues" in done.stderr
    again = restart(child, code=2)
    assert "nothing good to restart from" in again.stderr


@pytest.mark.parametrize("native", [False, True], ids=["our snapshot", "caffe's snapshot"])
def test_a_resume_just_before_the_divergence_finds_it(
    planted: Planted, wild_data: Path, home: Path, native: bool
) -> None:
    until = FAULT - 8
    before = planted(f"until-{native}", "--until", until, source=wild_data, snapshot=until)
    state = before.run / f"snapshots/native_iter_{until}.solverstate"
    if native:
        caffe_train(before.solver)
        state = home / f"until-{native}/native_iter_{until}.solverstate"
    train(before.solver, home / f"resumed-{native}", "--resume", state, "--on-alarm", "stop", code=3)
    with Recording(home / f"resumed-{native}") as recording:
        jump = next(alarm for alarm in recording.alarms if alarm.rule == "loss_jump")
        assert FAULT < jump.iteration <= FAULT + 3


@pytest.mark.parametrize("later", [1, 2, 3, 5])
def test_the_onset_is_found_in_a_run_that_stops_right_after_the_alarm(
    planted: Planted, wild_data: Path, wild: Plant, later: int
) -> None:
    until = wild.first("loss_jump").iteration + later
    plant = planted(f"stopped-{later}", "--until", until, source=wild_data)
    assert plant.first("loss_jump") == wild.first("loss_jump")
    assert plant.ended["onset"]["iteration"] == FAULT


def test_the_onset_is_found_in_a_run_interrupted_after_the_alarm(
    planted: Planted, wild_data: Path, wild: Plant, home: Path
) -> None:
    """Users press Ctrl-C when they read of a divergence."""
    solver, run = home / "forever.prototxt", home / "ctrl-c"
    text = wild.solver.read_text().replace("max_iter: 500", "max_iter: 5000000")
    solver.write_text(text)
    with started(sys.executable, RUN, "--solver", solver, "--out", run, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("ALARM loss_jump"):
                process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert json.loads((run / "run.json").read_text())["ended"]["onset"]["iteration"] == FAULT
    assert f"Onset: iteration {FAULT}" in "".join(said[-20:])


def test_a_loss_summed_over_the_batch_has_no_classes(home: Path, healthy_data: Path) -> None:
    """Without normalisation the loss of 48 images is 48 times as large, which is no saturated softmax."""
    text = net_text(healthy_data).replace('top: "loss" }', 'top: "loss" loss_param { normalization: NONE } }')
    (home / "sum.prototxt").write_text(text.replace(f"batch_size: {BATCH}", "batch_size: 48"))
    fields = {"base_lr": 0.0005, "lr_policy": '"fixed"', "power": None, "max_iter": 400, "display": DISPLAY}
    fields |= {"test_iter": None, "test_interval": None, "snapshot": 0}
    (home / "sum_solver.prototxt").write_text(solver_text(home / "sum.prototxt", home / "sum", **fields))
    train(home / "sum_solver.prototxt", home / "sum_run", "--on-alarm", "stop")
    with Recording(home / "sum_run") as recording:
        assert recording.heads[0].classes is None
        assert recording.series("loss")[0] > 70
        assert recording.alarms == ()


def test_the_recording_gives_the_alarms_of_its_run(wild: Plant) -> None:
    assert set(wild.diagnosis.alarms) == set(wild.alarms)
    assert wild.diagnosis.onset is not None
    assert wild.diagnosis.onset.iteration == wild.ended["onset"]["iteration"]


def test_alarms_do_not_change_the_weights(wild: Plant, home: Path) -> None:
    caffe_train(wild.solver)
    native = pb.NetParameter()
    native.ParseFromString((home / "wild/native_iter_500.caffemodel").read_bytes())
    ours = pb.NetParameter()
    ours.ParseFromString((wild.run / "snapshots/native_iter_500.caffemodel").read_bytes())
    assert [list(blob.data) for layer in ours.layer for blob in layer.blobs] == [
        list(blob.data) for layer in native.layer for blob in layer.blobs
    ]


# -- limits -----------------------------------------------------------------------------------------------------------


def test_limits_from_a_file_are_used(planted: Planted, home: Path, wild_data: Path) -> None:
    rules = home / "rules.toml"
    rules.write_text("[loss_jump]\nenabled = false\n[dead_relu]\nstops = true\nzeros = 0.9\n")
    plant = planted("limits", "--rules", rules, "--on-alarm", "stop", source=wild_data)
    assert plant.done.code == 3
    assert "loss_jump" not in plant.rules
    assert "Diverged (dead_relu at iteration" in plant.done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[loss_jumps]\nwindow = 3\n", ["loss_jumps", "Did you mean loss_jump"]),
        ("[loss_jump]\nwindows = 3\n", ["loss_jump.windows", "Did you mean window?"]),
        ("[loss_jump]\nwindow = 2.5\n", ["loss_jump.window = 2.5", "whole number above 0"]),
        ("[loss_jump]\nsigmas = -1\n", ["loss_jump.sigmas = -1", "a number above 0"]),
        ("[lr_jump]\nenabled = 1\n", ["lr_jump.enabled = 1", "true or false"]),
        ("loss_jump = 3\n", ["loss_jump", "no such rule"]),
        ("[loss_jump\n", ["cannot be read", "thresholds.toml"]),
    ],
)
def test_wrong_limits_are_bad_input(tmp_path: Path, wild: Plant, text: str, said: list[str]) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text(text)
    done = train(wild.solver, tmp_path / "run", "--rules", rules, code=2)
    assert all(part in done.stderr for part in [str(rules), *said]), done.stderr
    assert not (tmp_path / "run").exists()
