"""What is recorded of nets in the matrix (tests/helpers/net_matrix): names, heads, multipliers, predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.diagnosis.live.rows import names_in
from harness.recording import Recording
from harness.supervisor.predict_client import predictions
from tests.helpers.commands import restart, train
from tests.helpers.net_matrix import losses, odd
from tests.helpers.net_matrix.checks import write
from tests.helpers.net_matrix.parts import HEAD, IMAGES, MatrixNet, conv, layer
from tests.helpers.paths import BIN
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory, matrix_data: Path) -> Path:
    """A run whose net has BatchNorm, and a loss layer without a top."""
    home = tmp_path_factory.mktemp("normalized")
    head = HEAD.replace('top: "loss"', "")
    net = MatrixNet(IMAGES + conv("data", "conv") + layer("BatchNorm", "conv", "x") + head, {"max_iter": 4})
    return train(write(net, matrix_data, home), home / "run", "--watch", "0:3").run


def test_a_loss_without_a_top_is_a_head(normalized: Path) -> None:
    with Recording(normalized) as recording:
        assert [(head.name, head.weight, head.classes) for head in recording.heads] == [("loss", 1, 5)]
        assert np.array_equal(recording.output("loss")[:, 0], recording.series("loss").astype(np.float32))
        assert [head.name for head in names_in(recording).heads] == ["loss"]  # the rules apply to it


def test_several_losses_without_a_top_are_told_apart(tmp_path: Path, matrix_data: Path) -> None:
    run = train(write(losses.NETS["losses without a top"], matrix_data, tmp_path), tmp_path / "run", "--until", 2).run
    with Recording(run) as recording:
        heads = {head.name: head.weight for head in recording.heads}
        assert heads == {"loss": 1, "ip#2": 0.5, "": 0.5}  # `ip` is another layer
        total = sum(weight * recording.output(name)[:, 0].astype(np.float64) for name, weight in heads.items())
        assert np.allclose(total, recording.series("loss"), rtol=1e-6)


def test_the_running_averages_have_the_multiplier_that_caffe_gives_them(normalized: Path) -> None:
    with Recording(normalized) as recording:
        multipliers = {(p.layer, p.index): (p.lr_mult, p.decay_mult) for p in recording.params}
    assert [multipliers["x", n] for n in range(3)] == [(0, 1)] * 3
    assert multipliers["ip", 0] == (1, 1)


def test_predictions_while_the_running_averages_are_empty(normalized: Path) -> None:
    """With the statistics of the batch, they are those of the training pass, whose loss was recorded."""
    with Recording(normalized) as recording:
        first, second = (predictions(recording, t)[0] for t in (0, 1))
        loss = recording.series("loss")
    assert first.batch_statistics == "x"
    assert first.before.loss.mean() == pytest.approx(loss[0], rel=1e-5)
    assert second.batch_statistics == ""


def test_layers_of_one_name_are_told_apart(tmp_path: Path, matrix_data: Path) -> None:
    net = odd.NETS["layers of one name"]
    run = train(write(net, matrix_data, tmp_path), tmp_path / "run", "--until", 2, "--watch", "0:2").run
    with Recording(run) as recording:
        names = [p.layer for p in recording.params if p.index == 0]
        assert names == ["ip", "ip#3", "ip#2", "ip#4"]  # the third layer has the name ip#2 itself
        shapes = [recording.weight(1, name).shape for name in names]
        digests = {recording.weight(1, name).tobytes() for name in names}
    assert shapes == [(5, 6), (5, 5), (5, 5), (5, 5)]
    assert len(digests) == 4


def test_a_missing_module_of_a_python_layer_is_named(tmp_path: Path, matrix_data: Path) -> None:
    done = train(write(losses.NETS["Python"], matrix_data, tmp_path), tmp_path / "run", code=None)
    assert done.code != 0
    assert "No module named 'matrix_layers'" in done.stderr
    assert "SystemError" not in done.stderr


def test_a_restart_keeps_the_state_or_changes_it(tmp_path: Path, matrix_data: Path) -> None:
    """A state that is set anew leaves out layers, which Caffe and the recording must agree on."""
    net = odd.NETS["level and stage"]
    run = train(write(net, matrix_data, tmp_path), tmp_path / "run", *net.options, "--until", 2).run
    names = {}
    for level in ("2", "4"):
        done = restart(run, "--from", 0, "--set", f"train_state.level={level}", "--out", tmp_path / level, code=None)
        assert "Traceback" not in done.stderr
        names[level] = done.code
    assert names == {"2": 0, "4": 2}  # without the classifier there is no net
    with Recording(run) as one, Recording(tmp_path / "2") as two:
        assert {p.layer for p in (*one.params, *two.params)} == {"ip"}
        assert np.array_equal(one.series("digest"), two.series("digest")[:2])


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ("layers without a name", "a layer without a name"),
        ("layers of one name", "several layers of one name (ip)"),
        ("names that are paths, names of folders, names in another alphabet", "a slash in a name"),
    ],
)
def test_hdf5_snapshots_that_caffe_cannot_write_are_refused(
    tmp_path: Path, matrix_data: Path, net: str, said: str
) -> None:
    odd_net = replace(odd.NETS[net], solver={"snapshot_format": "HDF5", "max_iter": 1})
    solver = write(odd_net, matrix_data, tmp_path)
    assert command(BIN / "caffe", "train", f"--solver={solver}").code != 0
    done = train(solver, tmp_path / "run", code=2)
    assert said in done.stderr
