"""The first iteration at which a change can act on the weights, from the run.json of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.diagnosis.first_change import unchanged_through
from harness.experiments.run_state import why_not_exact
from harness.reports.text.exactness import first_difference, verification
from harness.schemas.data_position import GeneratorState, StreamPosition, TrainingPosition
from harness.schemas.run_info import Parent, RunInfo, Verification
from tests.helpers.run_infos import run_info

SOLVER = 'base_lr: 0.01 lr_policy: "multistep" gamma: 0.1 stepvalue: 40 max_iter: 60 test_interval: 10 test_iter: 3 '
NET = 'layer { name: "ip" type: "InnerProduct" inner_product_param { num_output: 3 } } '
DATA = 'layer { name: "data" type: "Data" data_param { source: "PLACE" } } '
TEST = 'layer { name: "drop" type: "Dropout" } '


def training(extra: str = "", net: str = NET, test: str = TEST, **fields: Any) -> RunInfo:
    return run_info(solver=SOLVER + extra, net=net, test_nets=(test,), **fields)


def placed(fingerprint: str, source: str, first: int = 20) -> RunInfo:
    place = StreamPosition(0, "data", source, fingerprint, 8, 0)
    point = TrainingPosition(first, 1, GeneratorState(first, "words"), (place,))
    return training(net=DATA.replace("PLACE", source) + NET, first=first, point=point)


def changed(before: str, after: str) -> str:
    assert before in SOLVER
    return SOLVER.replace(before, after)


@pytest.mark.parametrize(
    ("now", "through"),
    [
        (training(first=20), None),
        (training("snapshot: 3 display: 2 average_loss: 9 debug_info: true", first=20), None),
        (training("weight_decay: 0.1", first=20), 20),
        (training("random_seed: 5", first=20), 20),
        (training(net=NET + TEST, first=20), 20),
        (training(test=TEST + NET, first=20), None),
        (training(first=20, blas_threads=7, mode="GPU 0"), None),  # what a comparison is made for
        (run_info(solver=changed("base_lr: 0.01", "base_lr: 0.1"), net=NET, test_nets=(TEST,), first=20), 20),
        (run_info(solver=changed("stepvalue: 40", "stepvalue: 30"), net=NET, test_nets=(TEST,), first=20), 30),
        (run_info(solver=changed("stepvalue: 40", "stepvalue: 70"), net=NET, test_nets=(TEST,), first=20), 40),
        (run_info(solver=changed("max_iter: 60", "max_iter: 90"), net=NET, test_nets=(TEST,), first=20), None),
        (run_info(solver=changed("interval: 10", "interval: 3"), net=NET, test_nets=(TEST,), first=20), None),
        (training(first=20, parent=Parent("run", 20, history="reset")), 20),
        (training(first=20, parent=Parent("run", 20, skip="25:30")), 25),
        (training(first=20, point=TrainingPosition(20, 1, GeneratorState(20), ())), 20),  # --data caffe
    ],
)
def test_a_change_acts_from_some_iteration_on(now: RunInfo, through: int | None) -> None:
    assert unchanged_through(training(), now) == through


@pytest.mark.parametrize(
    ("now", "through"),
    [
        (training(), None),
        (training("weight_decay: 0.1"), 0),
        (training("random_seed: 5"), -1),
        (training(net=NET.replace("num_output: 3", "num_output: 4")), -1),
        (training(net=NET.replace("} } ", "} param { lr_mult: 3 } } ")), 0),
        (training(test=TEST + NET), 0),  # its fillers draw before the first iteration
    ],
)
def test_at_iteration_0_initialization_can_be_changed(now: RunInfo, through: int | None) -> None:
    assert unchanged_through(training(), now) == through


@pytest.mark.parametrize(
    "layer",
    [
        'layer { type: "DummyData" }',
        'layer { type: "Python" }',
        'layer { type: "HDF5Data" hdf5_data_param { source: "list" shuffle: true } }',  # from the train net's generator
        'layer { type: "Dropout" phase: TRAIN }',
        'layer { type: "BatchNorm" batch_norm_param { use_global_stats: false } }',
    ],
)
def test_test_passes_act_where_a_test_net_draws_or_keeps_a_state(layer: str) -> None:
    then = training(test=layer)
    other = changed("interval: 10", "interval: 3")
    now = run_info(solver=other, net=NET, test_nets=(layer,), first=20)
    assert unchanged_through(then, now) == 20


def test_test_passes_do_not_act_where_batch_norm_only_reads_its_averages() -> None:
    layer = 'layer { type: "BatchNorm" batch_norm_param { use_global_stats: true } }'
    now = run_info(solver=changed("interval: 10", "interval: 3"), net=NET, test_nets=(layer,), first=20)
    assert unchanged_through(training(test=layer), now) is None


def test_arms_of_a_run_whose_test_passes_act_say_so() -> None:
    """Shuffled rows of a test net act on those of the train net, which arms take from a store."""
    rows = 'layer { type: "HDF5Data" hdf5_data_param { source: "list" shuffle: true } }'
    averages = 'layer { type: "BatchNorm" batch_norm_param { use_global_stats: false } }'
    found = list(why_not_exact(Path("run"), run_info(test_nets=(rows, averages))))
    assert found == ["The passes of test net #1 act on training, and replays make none."]


def test_the_poly_rate_depends_on_max_iter() -> None:
    solver = 'base_lr: 0.01 lr_policy: "poly" power: 1 max_iter: '
    assert unchanged_through(run_info(solver=f"{solver}60"), run_info(solver=f"{solver}90", first=20)) == 20
    assert unchanged_through(run_info(solver=f"{solver}60"), run_info(solver=f"{solver}90")) == 1  # the same rate at 0


def test_moved_data_are_the_same_data() -> None:
    assert unchanged_through(placed("aa", "here"), placed("aa", "there")) is None
    assert unchanged_through(placed("aa", "here"), placed("bb", "here")) == 20


# -- sentences -------------------------------------------------------------------------------------------------------

SEEN = Verification(against=("runs/a",), first=20, through=39, compared=20, equal=20)


def with_(**fields: Any) -> Verification:
    given = {name: getattr(SEEN, name) for name in SEEN.__struct_fields__}
    return Verification(**given | fields)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (SEEN, "Verified: its digests equal those of runs/a at 20 of 20 iterations that both recorded (20…39)."),
        (with_(final=True), "(20…39), and so do the final weights."),
        (with_(through=20, compared=1, equal=1, unchanged_through=20), "acts on the weights after iteration 20."),
        (with_(equal=3, first_difference=23), "Its digests equal those of runs/a at 3 of 20 iterations"),
        (with_(equal=3, first_difference=23), "the first weights that differ are those of iteration 23."),
        (with_(problem="cut short"), "Nothing further was compared: cut short."),
        (Verification(problem="no such file"), "Not verified: no such file."),
        (Verification(against=("runs/a",)), "Not verified: runs/a recorded none of its iterations."),
    ],
)
def test_the_result_is_one_sentence(found: Verification, said: str) -> None:
    assert said in verification(found)


def test_a_difference_is_explained_by_what_is_known() -> None:
    found = with_(equal=3, first_difference=23)
    text, compare = first_difference(found, run_info(first=20), Path("runs/b"))
    assert text.startswith(
        "Iteration 23: the weights differ from those that runs/a recorded, although nothing that acts"
    )
    assert "the update of iteration 22 was another one" in text
    assert "states no reason" in text
    assert compare.endswith(f" compare {Path('runs/a').absolute()} {Path('runs/b').absolute()}")
    for fields, said in (
        ({"not_exact": ("two threads",)}, "Known reasons: two threads."),
        ({"exact_if": ("it rains",)}, "It is exact only if it rains."),
    ):
        assert said in first_difference(found, run_info(first=20, **fields), Path("b"))[0]
    assert "the weights at the start" in first_difference(with_(first_difference=20), run_info(first=20), Path("b"))[0]
