"""The one statement on exactness, and its sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.diagnosis.exactness import Exactness, exactness, of_restarts, recorded_exactness
from harness.reports.text.exactness import at_the_start, summary
from harness.schemas.data_position import GeneratorState, StreamPosition, TrainingPosition
from harness.schemas.run_info import Parent, RunInfo, SnapshotInfo, TrainingSetup, Verification
from tests.helpers.run_infos import run_info

FILE = Path("run.json")
PLAIN = 'layer { name: "data" type: "Data" top: "data" }'
SETUP = TrainingSetup.__struct_fields__


def net(*layers: tuple[str, str]) -> str:
    return "".join(f'layer {{ name: "{name}" type: "{kind}" }}\n' for name, kind in layers)


def snapshot_of(info: RunInfo) -> SnapshotInfo:
    facts = {name: getattr(info, name) for name in SETUP}
    return SnapshotInfo(**facts, iteration=20, weight_digest="0", caffemodel="m", solverstate="s")


def stated(found: Exactness, info: RunInfo) -> RunInfo:
    return msgspec.structs.replace(info, not_exact=found.reasons, exact_if=found.conditions)


def test_a_new_training_states_nothing() -> None:
    info = run_info(net=net(("labels", "HDF5Data"), ("own", "Python")))
    assert exactness(info, None) == Exactness()
    assert at_the_start(info) == []


@pytest.mark.parametrize("kind", ["MemoryData", "Python"])
def test_layers_that_cannot_be_positioned_repeat_from_iteration_0_only(kind: str) -> None:
    info = run_info(net=net(("data", "Data"), ("labels", kind)))
    assert exactness(info, info).exact
    later = msgspec.structs.replace(info, first=20)
    (reason,) = exactness(later, snapshot_of(info)).reasons
    assert f"layer labels ({kind})" in reason
    assert at_the_start(stated(exactness(later, snapshot_of(info)), later)) == [f"Not exact: {reason}"]
    found = of_restarts(info)
    assert found.from_start is not None
    assert found.from_start.exact
    assert found.from_snapshots.reasons == (reason,)
    text = summary(info, FILE)
    assert text.startswith("A restart from iteration 0 repeats it bit for bit")
    assert text.endswith(f"A restart from a snapshot is not exact: {reason}.")


def test_what_a_python_layer_does_is_a_condition() -> None:
    info = run_info(net=net(("own", "Python")))
    (condition,) = exactness(info, info).conditions
    assert "layer own (Python)" in condition
    assert at_the_start(stated(exactness(info, info), info)) == [f"Exact if {condition}"]


def test_a_snapshot_of_caffe_train_is_exact_under_a_condition() -> None:
    info = run_info(net=PLAIN, first=20)
    found = exactness(info, None)
    assert found.exact
    (condition,) = found.conditions
    assert "cannot be known from the snapshot" in condition
    (said,) = at_the_start(stated(found, info))
    assert said.startswith(f"Resuming at iteration 20 exactly if {condition}: ")
    assert condition in summary(stated(found, info), FILE)


def test_a_seed_that_was_drawn_is_not_that_of_the_snapshot() -> None:
    info = run_info(net=PLAIN, first=20, random_seed_drawn=True)
    (reason,) = exactness(info, None).reasons
    assert "no random_seed" in reason
    assert exactness(info, snapshot_of(info)).exact


DROP = 'layer { name: "drop" type: "Dropout" bottom: "data" }'


def test_the_number_of_draws_must_be_known() -> None:
    """Where random numbers are drawn again, each batch must take as many as it did."""
    images = 'layer { name: "data" type: "Data" top: "data" data_param { batch_size: 1 } }'
    chosen = 'layer { name: "chosen" type: "Filter" bottom: "data" bottom: "label" }'
    alone = exactness(run_info(net=images, first=20), None)
    assert alone.exact
    assert len(alone.conditions) == 1  # on what `caffe train` did
    found = exactness(run_info(net=images + DROP, first=20), None)
    assert found.exact
    assert "all images of layer data have one size" in found.conditions[-1]
    (reason,) = exactness(run_info(net=images + chosen + DROP, first=20), None).reasons
    assert "layer chosen (Filter)" in reason
    assert exactness(run_info(net=images + DROP + chosen, first=20), None).exact
    known = TrainingPosition(20, 1, GeneratorState(20, "00" * 4 * 624, 3), ())
    now = run_info(net=images + chosen + DROP, first=20, point=known)
    assert exactness(now, snapshot_of(now)) == Exactness()


def test_a_hidden_state_that_is_not_stored_is_a_reason() -> None:
    lstm = 'layer { name: "cell" type: "LSTM" bottom: "data" bottom: "cont" }'
    info = run_info(net=PLAIN + lstm, first=20, resume="a.solverstate")
    assert exactness(info, snapshot_of(info)).exact
    assert exactness(msgspec.structs.replace(info, first=0), info, layer_state=False).exact
    for now, then, where in (
        (info, None, "Caffe's snapshots do not hold"),
        (info, snapshot_of(info), "this snapshot does not hold"),
        (msgspec.structs.replace(info, resume=None), snapshot_of(info), "this window does not hold"),
    ):
        (reason,) = exactness(now, then, layer_state=False).reasons
        assert reason.startswith(f"layer cell (LSTM) keeps its hidden state from batch to batch, which {where}: ")
    assert of_restarts(info).from_snapshots.exact


def test_data_as_caffe_has_one_reason() -> None:
    info = run_info(net=net(("labels", "MemoryData")), first=20, blas_threads=2)
    (reason,) = exactness(info, run_info(), as_caffe=True).reasons
    assert "the position in the data and the random state are not" in reason
    assert exactness(run_info(net=PLAIN), run_info(net=PLAIN), as_caffe=True).exact


def test_differences_of_the_setup_are_reasons_from_iteration_0_on() -> None:
    then = run_info(net=PLAIN)
    now = run_info(net=PLAIN, random_seed=2, blas_threads=3, caffe={"version": "other"}, mode="GPU 0")
    assert [reason.split(":")[0] for reason in exactness(now, then).reasons] == [
        "seed 2 instead of 1",
        "3 BLAS threads instead of 1",
        "another build of Caffe",
        "GPU 0 instead of CPU",
    ]
    place = StreamPosition(0, "data", "lmdb", "aaaa", 8, 0)
    reads = msgspec.structs.replace(then, point=TrainingPosition(0, 1, GeneratorState(0), (place,)))
    (reason,) = exactness(reads, then).reasons
    assert "layer data has no position in the training that goes on" in reason
    other = TrainingPosition(0, 1, GeneratorState(0), (replace(place, fingerprint="bbbb"),))
    (reason,) = exactness(reads, msgspec.structs.replace(then, point=other)).reasons
    assert reason == "layer data reads other data, from its first record on"


def test_a_run_on_a_gpu_is_never_called_exact() -> None:
    info = run_info(net=PLAIN, mode="GPU 0")
    assert "bit for bit" not in summary(info, FILE)
    assert summary(info, FILE).startswith("A restart is not exact: a GPU")


def test_a_difference_of_digests_is_a_reason() -> None:
    found = Verification(against=("runs/a",), first=20, through=39, compared=20, equal=3, first_difference=23)
    info = run_info(net=PLAIN, first=20, verified=found)
    (reason,) = recorded_exactness(info).reasons
    assert reason == "its weights differ from those that runs/a recorded, at iteration 23"
    assert of_restarts(info).from_snapshots.reasons == (reason,)
    assert "bit for bit" not in summary(info, FILE)
    explained = msgspec.structs.replace(info, not_exact=("other kernels",))
    assert recorded_exactness(explained).reasons == ("other kernels", reason)
    assert of_restarts(explained).from_snapshots.exact  # with its own kernels


def test_a_run_that_begins_later_states_how_it_continues() -> None:
    info = run_info(net=PLAIN, first=20, not_exact=("3 BLAS threads instead of 1",))
    text = summary(info, FILE)
    assert text.startswith("Not exact: 3 BLAS threads instead of 1. A restart from a snapshot repeats it bit for bit")
    assert of_restarts(info).from_start is None


@pytest.mark.parametrize(
    ("history", "momentum"),
    [("keep", "momentum"), ("rescale", "rescaled momentum"), ("reset", "momentum set to zero")],
)
def test_a_restart_says_what_becomes_of_the_momentum(history: str, momentum: str) -> None:
    info = run_info(net=PLAIN, first=20, parent=Parent("run", 20, history=history))
    (said,) = at_the_start(info)
    assert said == f"Resuming at iteration 20 exactly: weights, {momentum}, position in the data and random state"


def test_a_layer_of_train_and_test_net_is_named_once() -> None:
    lstm = net(("lstm", "LSTM"))
    info = run_info(net=lstm, test_nets=(lstm,), first=20)
    reasons = exactness(info, None, layer_state=False).reasons
    assert len([reason for reason in reasons if "hidden state" in reason]) == 1
