"""Faults are planted into real trainings, and what is said to be true of them is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.recording import Recording
from tools.bench.__main__ import main
from tools.bench.faults.breaks import find_break, is_healthy
from tools.bench.faults.data import generated
from tools.bench.faults.nets import NETS
from tools.bench.faults.plant_settings import schedule
from tools.bench.faults.probe import Probe
from tools.bench.faults.recording import recorded_losses
from tools.bench.faults.result_file import read_result
from tools.bench.faults.search import Search
from tools.bench.faults.truth_file import read_truth


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record out of range, and a bit that is flipped, both planted and explained."""
    work = tmp_path_factory.mktemp("faults")
    assert main(["faults", "--work", str(work), "--only", "batchnorm-nan-1", "lenet-machine-1"]) == 0
    return work


def test_the_record_that_breaks_a_training_is_the_one_that_was_changed(planted: Path) -> None:
    home = planted / "batchnorm-nan-1"
    truth = read_truth(home)
    assert truth.kinds == ("record",)
    with lmdb.open(str(home / "data"), readonly=True, lock=False) as data, data.begin() as reader:
        values = {key.decode(): pb.Datum.FromString(value).float_data for key, value in reader.cursor()}
    assert [key for key, floats in values.items() if floats] == list(truth.records)
    assert np.isnan(values[truth.records[0]]).sum() == 1
    assert truth.iterations == (truth.at, truth.at)
    assert not np.isfinite(recorded_losses(home / "run")[truth.at])
    healing = {undo.name: undo.heals for undo in truth.undos}
    assert not healing["nothing"]
    assert healing["its records replaced"]
    assert not healing["a tenth of the learning rate"]
    assert truth.control


def test_a_flipped_bit_is_in_the_recording_and_not_in_a_replay(planted: Path) -> None:
    truth = read_truth(planted / "lenet-machine-1")
    assert truth.control is False
    assert truth.at is not None
    assert [undo.breaks for undo in truth.undos] == [0]
    with Recording(planted / "lenet-machine-1" / "run") as recording:
        row = int(np.searchsorted(recording.iterations, truth.at))
        largest = recording.stat("weight_max", slice(row - 2, row + 1)).values.max(axis=1)
    assert largest[0] < 10
    assert largest[-1] > 1e30


def test_explain_finds_them(planted: Path) -> None:
    for name in ("batchnorm-nan-1", "lenet-machine-1"):
        truth, result = read_truth(planted / name), read_result(planted / name)
        assert result is not None
        assert result.answer.kind in truth.kinds, result
        assert result.answer.identical is truth.control


def test_what_is_there_is_not_made_again(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in planted.rglob("*.json")}
    assert main(["faults", "--work", str(planted), "--only", "batchnorm-nan-1", "lenet-machine-1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in planted.rglob("*.json")} == before
    assert "| nan |" in capsys.readouterr().out


def test_trainings_of_an_expensive_net_continue_from_weights_that_are_kept(tmp_path: Path) -> None:
    net = replace(NETS["lenet"], iterations=240, warm_up=120, records=lambda count, seed: generated(count, 1))
    kept = tmp_path / "lenet.caffemodel"
    with Probe() as probe:
        found = next(Search(probe, tmp_path / "scratch", tmp_path).find(schedule, net, 1))
        made = kept.stat().st_mtime_ns
        search = Search(probe, tmp_path / "scratch", tmp_path)
        broken = search.losses(found.planting.training)
        (twin,) = found.planting.without
        healthy = search.losses(twin)
    assert kept.stat().st_mtime_ns == made
    assert np.median(healthy[:20]) < net.chance / 3
    assert is_healthy(healthy, net.chance, net.iterations)
    again = find_break(broken, net.chance, net.iterations)
    assert found.broke is not None
    assert again is not None
    assert again.iteration == pytest.approx(found.broke.iteration, abs=5)
