"""Observing changes nothing: a run under the harness has the weights and the log of `caffe train`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.recording import Recording
from tests.helpers.caffe_output import spoken, weights_of
from tests.helpers.commands import caffe_train, train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT
from tests.helpers.weight_digests import expected_digest

_FIGURE = re.compile(r"(?<=[ (])[\d.]+(?:e[-+]\d+)?(?=$|[,)])")


def without_sums(said: list[str]) -> tuple[list[str], list[float]]:
    """Cut the figures of debug_info out of a log; return the log and the figures.

    They are sums that OpenBLAS (cblas_sasum, kernels for SkylakeX) adds up in an order that goes by where the array
    lies, at a multiple of 64 bytes or between two: two processes may differ in the last digit that is printed.
    """
    debug = [line for line in said if line.startswith("    [")]
    return (
        [_FIGURE.sub("#", line) if line.startswith("    [") else line for line in said],
        [float(figure) for line in debug for figure in _FIGURE.findall(line)],
    )


VARIANTS: dict[str, dict[str, object]] = {
    "sgd": {},
    "sgd, to NaN": {"base_lr": 0.05},
    "iter_size, clipping, nesterov": {"iter_size": 2, "clip_gradients": 0.5, "type": '"Nesterov"', "max_iter": 41},
    "adam, multistep": {
        "type": '"Adam"', "base_lr": 0.002, "momentum2": 0.99, "lr_policy": '"multistep"', "gamma": 0.1,
        "stepvalue": 20, "test_initialization": "false", "average_loss": None,
    },
    "multistep, a step that comes twice": {
        "lr_policy": '"multistep"', "gamma": 0.5, "max_iter": 45,
        "stepvalue": "0\nstepvalue: 5\nstepvalue: 6\nstepvalue: 6\nstepvalue: 17",
    },
    "rmsprop, step": {"type": '"RMSProp"', "momentum": None, "rms_decay": 0.9, "lr_policy": '"step"', "gamma": 0.5,
                      "stepsize": 25, "base_lr": 0.002},
    "adadelta": {"type": '"AdaDelta"', "base_lr": 1, "momentum": 0.95, "delta": 1e-6, "regularization_type": '"L1"'},
    "adagrad, old field, hdf5": {"solver_type": "ADAGRAD", "momentum": None, "snapshot_format": "HDF5",
                                 "lr_policy": '"inv"', "gamma": 0.01, "max_iter": 63, "debug_info": "true"},
}  # fmt: skip


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_weights_and_log_equal_those_of_caffe_train(small: Path, fields: dict[str, object]) -> None:
    if "snapshot_format" in fields:  # Caffe cannot write layer names with slashes to HDF5
        net = small / "net.prototxt"
        net.write_text(re.sub(r"(conv\d|loss\d)/", r"\1", net.read_text()))
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "native", **fields))
    native = caffe_train(small / "solver.prototxt")
    train(small / "solver.prototxt", small / "run", "--watch", "10:14", "--on-alarm", "continue")
    ours, theirs = spoken((small / "run/solver.log").read_text()), spoken(native)
    (our_words, our_sums), (their_words, their_sums) = without_sums(ours), without_sums(theirs)
    assert our_words == their_words
    assert bool(our_sums) == ("debug_info" in fields)
    np.testing.assert_allclose(our_sums, their_sums, rtol=1e-5, atol=1e-6)

    last = fields.get("max_iter", 60)
    suffix = ".caffemodel.h5" if "snapshot_format" in fields else ".caffemodel"
    mine, its = (small / f"{d}_iter_{last}{suffix}" for d in ("run/snapshots/native", "native"))
    if suffix.endswith("h5"):
        with h5py.File(mine) as a, h5py.File(its) as b:
            for blob in ("conv13x3/0", "conv2a/0", "loss3classifier/0", "loss3classifier/1"):
                assert np.array_equal(a["data"][blob][()], b["data"][blob][()])
    else:
        assert weights_of(mine) == weights_of(its)
    # every snapshot on the way, too
    assert {p.name for p in (small / "run/snapshots").glob("*.solverstate*")} == {
        p.name for p in small.glob("native_iter_*.solverstate*")
    }


def test_the_recorded_numbers_are_those_that_caffe_printed(small: Path) -> None:
    train(small / "solver.prototxt", small / "run")
    log = (small / "run/solver.log").read_text()
    with Recording(small / "run") as recording:
        smoothed, lr = recording.series("smoothed_loss"), recording.series("lr")
        assert list(recording.iterations) == list(range(60))
        shown = re.findall(r"Iteration (\d+) \(.*, loss = (\S+)", log)
        assert [int(n) for n, _ in shown] == list(range(0, 60, 7))
        assert [f"{smoothed[int(n)]:g}" for n, _ in shown] == [loss for _, loss in shown]
        rates = re.findall(r"Iteration (\d+), lr = (\S+)", log)
        assert [f"{lr[int(n)]:g}" for n, _ in rates] == [rate for _, rate in rates]
        outputs = re.findall(r"Train net output #\d+: (\S+) = (\S+)", log)
        for name in ("loss1/loss1", "loss3/loss3"):
            values = recording.output(name)[:, 0]
            assert [f"{values[t]:g}" for t in range(0, 60, 7)] == [v for n, v in outputs if n == name]
        total = np.float32(0.3) * recording.output("loss1/loss1") + recording.output("loss3/loss3")
        assert np.array_equal(total[:, 0].astype(np.float64), recording.series("loss"))
        tests = re.findall(r"Test net output #\d+: (\S+) = (\S+)", log)
        for name in recording.test_outputs():
            iterations, values = recording.test(name)
            assert list(iterations) == [0, 20, 40, 60]
            assert [f"{v:g}" for v in values[:, 0]] == [v for n, v in tests if n == name]


def test_the_digest_equals_that_of_the_snapshot(small: Path) -> None:
    train(small / "solver.prototxt", small / "run")
    about = json.loads((small / "run/snapshots/native_iter_25.json").read_text())
    weights = weights_of(small / "run/snapshots/native_iter_25.caffemodel")
    layers = ("conv1/3x3", "frozen", "conv2/a", "loss1/classifier", "loss3/classifier")
    digest = expected_digest(blob for name in layers for blob in weights[name])
    with Recording(small / "run") as recording:
        assert recording.series("digest")[25] == digest == int(about["weight_digest"], 16)
        assert recording.digest_kind == about["digest_kind"] == "multilinear"
        labels = [f"{p.layer}/{p.index}" for p in recording.params]
    assert labels == [f"{n}/{i}" for n in ("conv1/3x3", "frozen", "conv2/a", "loss1/classifier", "loss3/classifier")
                      for i in (0, 1)]  # fmt: skip


def test_resuming_with_data_caffe_equals_caffes_own(small: Path) -> None:
    caffe_train(small / "solver.prototxt")
    straight = weights_of(small / "native_iter_60.caffemodel")
    state = small / "native_iter_25.solverstate"
    native = caffe_train(small / "solver.prototxt", f"--snapshot={state}")
    done = train(small / "solver.prototxt", small / "run", "--resume", state, "--data", "caffe")
    assert "position in the data" in done.stderr.replace("\n", " ")
    assert spoken((small / "run/solver.log").read_text()) == spoken(native)
    resumed = weights_of(small / "run/snapshots/native_iter_60.caffemodel")
    assert resumed == weights_of(small / "native_iter_60.caffemodel")
    assert resumed != straight  # which is why --data exact is there
    with Recording(small / "run") as recording:
        assert list(recording.iterations) == list(range(25, 60))


def test_fine_tuning_copies_by_name_and_lists_it(small: Path, digit_data: Path) -> None:
    caffe_train(small / "solver.prototxt")
    model = small / "native_iter_50.caffemodel"
    (small / "net.prototxt").write_text(small_net(digit_data).replace("loss3/classifier", "loss3/classifier280"))
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "tuned", max_iter=20))
    native = caffe_train(small / "solver.prototxt", f"--weights={model}")
    done = train(small / "solver.prototxt", small / "run", "--weights", model)
    assert "copied 5 (conv1/3x3, frozen, conv2/a, conv2/b, loss1/classifier)" in done.stderr
    assert "left as initialised: 1 (loss3/classifier280)" in done.stderr
    assert "in the file only: 1 (loss3/classifier)" in done.stderr
    assert spoken((small / "run/solver.log").read_text()) == spoken(native)
    name = "tuned_iter_20.caffemodel"
    assert weights_of(small / "run/snapshots" / name) == weights_of(small / name)


def test_several_test_nets_and_inline_nets(small: Path, digit_data: Path) -> None:
    net = small_net(digit_data)
    solver = solver_text(small / "net.prototxt", small / "native", net=None, test_iter=None, max_iter=22)
    solver += f'train_net: "{small / "net.prototxt"}"\ntest_net_param {{ {net} }}\n'
    solver += f'test_net: "{small / "net.prototxt"}"\ntest_iter: 2\ntest_iter: 4\n'
    (small / "solver.prototxt").write_text(solver)
    native = caffe_train(small / "solver.prototxt")
    train(small / "solver.prototxt", small / "run")
    log = (small / "run/solver.log").read_text()
    assert spoken(log) == spoken(native)
    blocks = re.split(r"Testing net \(#(\d)\)", log)
    with Recording(small / "run") as recording:
        for net_id in (0, 1):
            _, losses = recording.test("loss3/loss3", net_id)
            printed = [
                re.search(r"loss3/loss3 = (\S+)", text)[1]  # type: ignore[index]
                for number, text in zip(blocks[1::2], blocks[2::2], strict=True)
                if int(number) == net_id
            ]
            assert [f"{loss:g}" for loss in losses[:, 0]] == printed


def test_the_fine_tuning_of_glyphs280_equals_that_of_caffe_train(tmp_path: Path, glyph_data: Path) -> None:
    """The case in small, shortened to 40 iterations, with the last loss and the last test pass."""
    assert glyph_data.is_dir()
    text = (ROOT / "prototxt/glyphs280/quick_solver.prototxt").read_text()
    text = re.sub(r"max_iter: \d+", "max_iter: 40", text)
    text = re.sub(r"test_interval: \d+", "test_interval: 20", text)
    text = re.sub(r"test_iter: \d+", "test_iter: 4", text)
    weights = ROOT / "prototxt/glyphs280/base.caffemodel"
    text = re.sub(r'snapshot_prefix: ".*"', f'snapshot_prefix: "{tmp_path}/native"', text)
    (tmp_path / "solver.prototxt").write_text(text)
    native = caffe_train(tmp_path / "solver.prototxt", f"--weights={weights}")
    train(tmp_path / "solver.prototxt", tmp_path / "run", "--weights", weights, "--watch", "37:40")
    assert spoken((tmp_path / "run/solver.log").read_text()) == spoken(native)
    name = "native_iter_40.caffemodel"
    assert weights_of(tmp_path / "run/snapshots" / name) == weights_of(tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "extra"),
    [(".solverstate", 0), *((".solverstate.h5", n) for n in range(4))],  # there, Caffe reads a path up to its NUL
)
def test_a_snapshot_of_the_harness_can_be_resumed_by_both(small: Path, suffix: str, extra: int) -> None:
    net = small / "net.prototxt"
    net.write_text(re.sub(r"(conv\d|loss\d)/", r"\1", net.read_text()))
    solver = small / "solver.prototxt"
    form = "HDF5" if suffix.endswith("h5") else "BINARYPROTO"
    solver.write_text(solver_text(net, small / "native", snapshot_format=form, max_iter=30))
    out = small / f"run{'x' * extra}"
    train(solver, out, "--until", 25)
    state = out / f"snapshots/native_iter_25{suffix}"
    caffe_train(solver, f"--snapshot={state}")
    train(solver, small / "again", "--resume", state, "--data", "caffe")
    about = json.loads((small / "again/snapshots/native_iter_30.json").read_text())
    assert about["iteration"] == 30
    if form == "BINARYPROTO":
        name = "native_iter_30.caffemodel"
        assert weights_of(small / "again/snapshots" / name) == weights_of(small / name)


def test_a_drawn_seed_is_recorded_and_repeats_the_run(small: Path) -> None:
    solver = small / "solver.prototxt"
    solver.write_text(solver_text(small / "net.prototxt", small / "native", random_seed=None, max_iter=8))
    assert "was drawn" in train(solver, small / "one").stderr
    seed = json.loads((small / "one/run.json").read_text())["random_seed"]
    train(solver, small / "two", "--seed", seed)
    train(solver, small / "other", "--seed", seed + 1)
    digests = [Recording(small / run).series("digest") for run in ("one", "two", "other")]
    assert np.array_equal(digests[0], digests[1])
    assert not np.array_equal(digests[0], digests[2])


def test_the_last_snapshot_has_the_data_position_and_the_last_loss_is_caffes(small: Path) -> None:
    solver = small / "solver.prototxt"
    solver.write_text(solver_text(small / "net.prototxt", small / "native", snapshot=None, display=20))
    train(solver, small / "run", "--snapshot-every", 40)
    points = {t: json.loads((small / f"run/snapshots/native_iter_{t}.json").read_text())["point"] for t in (40, 60)}
    records = {t: [place["records"] for place in point["places"]] for t, point in points.items()}
    assert records == {40: [40 * 8, 2 * 3 * 7], 60: [60 * 8, 3 * 3 * 7]}
    ended = json.loads((small / "run/run.json").read_text())["ended"]
    assert f"Iteration 60, loss = {ended['last_loss']:g}" in (small / "run/solver.log").read_text()
    solver.write_text(solver_text(small / "net.prototxt", small / "native", snapshot=None))  # 7 does not divide 60
    train(solver, small / "odd")
    assert "last_loss" not in json.loads((small / "odd/run.json").read_text())["ended"]
