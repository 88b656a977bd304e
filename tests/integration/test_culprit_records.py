"""Planted culprit records are found exactly, from replays of a real broken run."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.records import Culprits, find_culprits
from harness.schemas.arm import ArmResult
from tests.helpers.commands import train
from tests.helpers.investigating import case_of, drive
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

ONSET, BATCH, CLASSES = 80, 8, 5
FIRST = ONSET - 12
TIMES = {1: 60, 4: 30, 5: 60, 6: 120}  # position in the batch of the onset: its pixels are so many times as large
INNOCENT = 5  # has the label that the net expects, and so no gradient

NET = """name: "planted"
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 10 }}
  data_param {{ source: "{source}" batch_size: 8 backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "conv" top: "ip1"
  inner_product_param {{ num_output: 16 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "ip1" top: "ip1" }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"""


def write_records(path: Path) -> Path:
    """Write float datums of five classes; in the batch of the onset there are outliers, all but one mislabeled."""
    random = np.random.default_rng(5)
    classes = random.normal(0, 0.6, (CLASSES, 1, 12, 12))
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        for number in range((ONSET + 40) * BATCH):
            label = int(random.integers(CLASSES))
            image = classes[label] + random.normal(0, 0.3, (1, 12, 12))
            iteration, position = divmod(number, BATCH)
            if iteration == ONSET and position in TIMES:
                image *= TIMES[position]
                label = label if position == INNOCENT else (label + 1) % CLASSES
            datum = pb.Datum(channels=1, height=12, width=12, float_data=image.ravel().tolist(), label=label)
            transaction.put(f"{number:08d}".encode(), datum.SerializeToString())
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("culprits")
    (home / "net.prototxt").write_text(NET.format(source=write_records(home / "records")))
    fields = {"lr_policy": '"fixed"', "power": None, "test_iter": None, "test_interval": None, "snapshot": 20}
    solver = home / "solver.prototxt"
    solver.write_text(solver_text(home / "net.prototxt", home / "native", max_iter=ONSET + 60, **fields))
    return train(solver, home / "run", "--black-box-mib", 0, "--on-alarm", "continue").run


@pytest.fixture(scope="module")
def replayed() -> list[ArmResult]:
    """The results of all arms that the search took."""
    return []


@pytest.fixture(scope="module")
def found(run: Path, replayed: list[ArmResult]) -> Culprits:
    return drive(find_culprits(case_of(run, FIRST, ONSET), (ONSET,)), run, FIRST, replayed=replayed)


def test_all_culprits_are_found_and_the_innocent_outlier_is_none(found: Culprits) -> None:
    assert [(r.iteration, r.index) for r in found.records] == [(ONSET, p) for p in TIMES if p != INNOCENT]
    assert found.tried == BATCH
    assert [(batch.iteration, batch.is_outlier) for batch in found.batches] == [(ONSET, True)]
    for record in found.records:
        assert record.effect is not None
        assert record.usual_effect is not None
        assert record.effect > 0.1 > abs(record.usual_effect)
        assert record.gradient_l2 is not None
        assert record.usual_gradient_l2 is not None
        assert record.gradient_l2 > 10 * record.usual_gradient_l2


def test_the_set_is_necessary_and_breaks_other_batches(found: Culprits) -> None:
    sets = found.sets
    assert sets is not None
    assert sets.placebo is not None
    assert sets.elsewhere is not None
    assert (sets.replaced.heals, sets.replaced.breaks) == (8, 0)
    assert (sets.placebo.heals, sets.placebo.breaks) == (0, 3)
    assert len(sets.elsewhere.results) == 5
    assert sets.elsewhere.breaks >= 4
    assert sets.suffice == 2


def test_most_replays_have_two_iterations(replayed: list[ArmResult]) -> None:
    assert sum(result.arm.horizon == 2 for result in replayed) == BATCH
